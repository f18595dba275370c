"""What the nodes of both applications share: take petitions in batches, settle them in one step."""

import logging
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import redis

from lab.applications.service import perform
from lab.brokers.locate import locate_redis
from lab.contract import Application, Architecture
from lab.errors import DeadlineExceeded, InternalError, InvalidRequest, LabError, Unavailable, as_text
from lab.jobs import BackgroundJob, heartbeat
from lab.limits import MAX_RESULTS, RESULT_TTL_SECONDS
from lab.operations import Operation
from lab.options import NodeOptions
from lab.store.redis_store import connect, translated

from . import _scripts as scripts
from ._wire import Keys, read_petition, reply_to_of, write_reply

log = logging.getLogger(__name__)

PULSE_SECONDS = 0.5
LEASE_SECONDS = 2.0
BATCH = 100
WAIT_SECONDS = 0.1
"""How long a node waits on its list before it looks at the entry list again."""
BACK_OFF_SECONDS = 0.25
CANARY_SECONDS = 10.0

Outcome = tuple[list[str], list[str]]
"""Pairs of reply list and reply, and pairs of petition id and filtered text, each flat."""


class PetitionServer:
    """Serves the petitions of *application*, up to *batch* at a time.

    One node serves the entry list. One of n has a list of its own, to which clients push while its lease
    holds, and drains the entry list as well. *on_demand*: submitted texts go to the store's waiting list.
    """

    def __init__(
        self,
        application: object,
        kind: Application,
        options: NodeOptions,
        *,
        batch: int,
        on_demand: bool = False,
    ) -> None:
        self._application = application
        self._kind = kind
        self._keys = Keys(options.namespace, kind)
        self._redis = _connect()
        self._batch = batch
        self._on_demand = on_demand
        self._has_own_list = options.architecture is Architecture.N_NODE and not on_demand
        self._turn = 0
        self._stopping = False
        self.identifier = ""
        self._pulse: BackgroundJob | None = None
        self._thread = threading.Thread(target=self._serve, name="petitions", daemon=True)

    @translated
    def start(self) -> None:
        """Take an identifier and begin to serve."""
        self.identifier = str(self._redis.incr(self._keys.identifiers))
        self._own = self._keys.node(self.identifier)
        self._register = self._redis.register_script(scripts.PULSE)
        self._settle = self._redis.register_script(scripts.SETTLE)
        self._pulse = heartbeat("pulse", PULSE_SECONDS, lambda: self._beat(self._has_own_list))
        self._beat(False)  # known as a member, so that what it takes is not lost, but not yet sent anything
        self._thread.start()

    def canary(self, petition: Callable[[str], str]) -> None:
        """Push what *petition* makes of a reply list to the node's own list, and wait for the reply."""
        reply_to = f"{self._keys.replies}canary-{uuid4().hex[:8]}"
        self._push_to_own(petition(reply_to))
        if not self._wait_for(reply_to):
            raise DeadlineExceeded(f"the canary petition was not answered in {CANARY_SECONDS:g} s")

    def join(self) -> None:
        """Let clients push here."""
        if self._pulse:
            self._beat(self._has_own_list)
            self._pulse.start()

    def drain(self, timeout_seconds: float) -> None:
        """Be sent nothing more, settle what was taken, hand the rest to the others."""
        self._stopping = True
        if self._pulse:
            self._pulse.stop(1.0)
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        try:
            self._redis.eval(scripts.LEAVE, 2, self._keys.entry, self._keys.nodes, self.identifier)
        except redis.RedisError as error:
            log.warning("left without saying so, the lease will tell: %s", error)
        self._redis.close()

    @translated
    def _beat(self, is_sent_petitions: bool) -> None:
        arguments: list[str | float] = [self.identifier, LEASE_SECONDS, int(is_sent_petitions)]
        moved = self._register(keys=[self._keys.entry, self._keys.nodes], args=arguments)
        if moved:
            log.info("took over %d petition(s) of dead nodes", moved)

    @translated
    def _push_to_own(self, petition: str) -> None:
        self._redis.rpush(self._own, petition)

    @translated
    def _wait_for(self, reply_to: str) -> bool:
        deadline = time.monotonic() + CANARY_SECONDS
        while time.monotonic() < deadline:
            if self._redis.blpop([reply_to], timeout=1):
                return True
        return False

    def _serve(self) -> None:
        batch: list[str] = []
        while batch or not self._stopping:
            outcome = self._outcome(batch)
            batch = self._settled(outcome, len(batch))

    def _settled(self, outcome: Outcome, size: int) -> list[str]:
        """Settle a batch and return the next, however often Redis goes away in between."""
        failed = False
        while True:
            try:
                taken = self._settle_and_take(outcome, size, take=not failed)
                # After a broken connection nobody knows what was moved here: the list itself tells.
                return self._redis.lrange(f"{self._own}:processing", 0, -1) if failed else taken  # type: ignore[return-value]
            except redis.RedisError as error:
                if not failed:
                    log.warning("Redis does not serve, trying again: %s", error)
                failed = True
                if self._stopping:
                    return []
                time.sleep(BACK_OFF_SECONDS)

    def _settle_and_take(self, outcome: Outcome, size: int, *, take: bool) -> list[str]:
        replies, results = outcome
        wanted = self._batch if take and not self._stopping else 0
        if size or wanted:
            limits = (MAX_RESULTS, RESULT_TTL_SECONDS, len(replies) // 2)
            taken: list[str] = self._settle(
                keys=[self._keys.prefix, self._own, self._keys.entry],
                args=[self._turn, size, wanted, *limits, *replies, *results],
            )
            self._turn += 1
            if taken or not wanted:
                return taken
            return self._waited()
        return []

    def _waited(self) -> list[str]:
        """Wait for a petition: on the node's own list, or on the entry list if it is the only node."""
        source = self._own if self._has_own_list else self._keys.entry
        raw = self._redis.blmove(source, f"{self._own}:processing", WAIT_SECONDS, "LEFT", "RIGHT")  # type: ignore[arg-type]
        return [] if raw is None else [str(raw)]  # an empty petition is one, too

    def _outcome(self, batch: list[str]) -> Outcome:
        replies: list[str] = []
        results: list[str] = []
        for raw in batch:
            self._answer(raw, replies, results)
        return replies, results

    def _answer(self, raw: str, replies: list[str], results: list[str]) -> None:
        """Work on a petition; what is to be written goes to *replies* and *results*."""
        answer: object
        try:
            petition = read_petition(raw, self._kind, self._keys)
        except InvalidRequest as error:
            reply_to, operation_id = reply_to_of(raw, self._keys)
            answer = error
        else:
            reply_to, operation_id = petition.reply_to, petition.operation_id
            is_filtered_now = petition.operation is Operation.SUBMIT and not self._on_demand
            operation = Operation.FILTER if is_filtered_now else petition.operation
            answer = self._performed(operation, dict(petition.arguments), operation_id)
            if is_filtered_now and not isinstance(answer, LabError):
                results += [operation_id or uuid4().hex, str(answer)]
        if reply_to:
            replies += [reply_to, write_reply(operation_id, answer)]
        elif isinstance(answer, LabError):
            log.info("refused a petition that names no place to reply to: %s", as_text(answer))

    def _performed(self, operation: Operation, arguments: dict[str, object], operation_id: str) -> object:
        while True:
            try:
                return perform(self._application, operation, arguments, operation_id)
            except Unavailable as error:
                if self._stopping:
                    return error
                time.sleep(BACK_OFF_SECONDS)  # the store is where the petition came from: it will be back
            except LabError as error:
                return error
            except Exception:
                error_id = uuid4().hex[:12]
                log.exception("%s failed, error id %s", operation, error_id)
                return InternalError(error_id)


def _connect() -> "redis.Redis":
    """Connect so that bytes that are not UTF-8 come as lone surrogates, to be refused like any bad petition.

    Decoded strictly, one such petition would break every read of the list, at every node, for ever.
    """
    client = connect(locate_redis())
    client.connection_pool.connection_kwargs["encoding_errors"] = "surrogateescape"
    return client
