"""What the nodes of both applications share: take petitions in batches, settle them in one step."""

import logging
import threading
import time
from collections.abc import Callable
from uuid import uuid4

import redis

from lab.brokers.locate import locate_redis
from lab.contract import Application, Architecture
from lab.errors import DeadlineExceeded, Unavailable
from lab.limits import MAX_RESULTS, RESULT_TTL_SECONDS
from lab.options import NodeOptions
from lab.store.redis_store import connect, translated

from ._membership import Membership
from ._scripts import SETTLE
from ._wire import Keys
from ._work import Batch, Outcome, Work

log = logging.getLogger(__name__)

WAIT_SECONDS = 0.1
"""How long a node waits on its list before it looks at the entry list again."""
BACK_OFF_SECONDS = 0.25
CANARY_SECONDS = 10.0


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
        self._keys = Keys(options.namespace, kind)
        self._redis = _connect()
        self._settle = self._redis.register_script(SETTLE)
        self._batch = batch
        self._has_own_list = options.architecture is Architecture.N_NODE and not on_demand
        self._turn = 0
        self._stopping = False
        self._joined = False
        self._work = Work(
            application, kind, self._keys, lambda: self._stopping, self._is_redis_up, on_demand=on_demand
        )
        self._has_ended = False
        self._thread = threading.Thread(target=self._serve, name="petitions", daemon=True)
        self._membership = self._new_membership()

    @property
    def identifier(self) -> str:
        """What this node is called now; another one once it was taken over."""
        return self._membership.identifier

    def start(self) -> None:
        """Take an identifier and begin to serve, but be sent nothing yet."""
        self._membership.enter()
        self._thread.start()

    def canary(self, petition: Callable[[str], str]) -> None:
        """Push what *petition* makes of a reply list to the node's own list, and wait for the reply."""
        reply_to = f"{self._keys.replies}canary-{uuid4().hex[:8]}"
        self._push_to_own(petition(reply_to))
        if not self._wait_for(reply_to):
            raise DeadlineExceeded(f"the canary petition was not answered in {CANARY_SECONDS:g} s")

    def join(self) -> None:
        """Let clients push here."""
        self._joined = True
        if self._has_own_list:
            self._membership.open()

    def drain(self, timeout_seconds: float) -> None:
        """Be sent nothing more, settle what was taken, hand the rest to the others."""
        self._stopping = True
        if self._thread.is_alive():
            self._membership.shut()
            self._thread.join(timeout_seconds)
        self._membership.leave()
        self._redis.close()

    @translated
    def _push_to_own(self, petition: str) -> None:
        self._redis.rpush(self._membership.own, petition)

    @translated
    def _wait_for(self, reply_to: str) -> bool:
        deadline = time.monotonic() + CANARY_SECONDS
        while time.monotonic() < deadline:
            if self._redis.blpop([reply_to], timeout=1):
                return True
        return False

    def _serve(self) -> None:
        batch = Batch()
        try:
            while batch.petitions or not self._stopping:
                batch = self._settled(batch, self._work.outcome(batch))
        except Unavailable:
            log.warning("stopped while the store was away; what was taken waits for others")
        except Exception:
            log.exception("serves nothing any more; others take over")
        finally:
            self._has_ended = True

    def _settled(self, batch: Batch, outcome: Outcome) -> Batch:
        """Settle a batch and return the next, however often Redis goes away in between."""
        failing = False
        while True:
            try:
                return self._settle_and_take(batch, outcome)
            except (redis.RedisError, Unavailable) as error:
                if not failing:
                    log.warning("Redis does not serve, trying again: %s", error)
                failing = True
                if self._stopping:
                    return Batch()
                time.sleep(BACK_OFF_SECONDS)

    def _settle_and_take(self, batch: Batch, outcome: Outcome) -> Batch:
        wanted = 0 if self._stopping else self._batch
        if not batch.petitions and not wanted:
            return Batch()
        who = (self._keys.prefix, self.identifier)
        settling = (self._turn, len(batch.petitions), batch.in_vain)
        taking = (wanted, int(self._joined), MAX_RESULTS, RESULT_TTL_SECONDS)
        written = (*outcome.replies, *outcome.dead, *outcome.results)
        in_vain, *petitions = self._settle(
            keys=[self._keys.entry],
            args=[*who, *settling, *taking, len(outcome.replies) // 2, len(outcome.dead), *written],
        )
        self._turn += 1
        if in_vain < 0:
            self._enter_anew(len(batch.petitions))
            return Batch()
        if petitions or not wanted:
            return Batch(petitions, in_vain)
        return self._waited()

    def _waited(self) -> Batch:
        """Wait for a petition: on the node's own list, or on the entry list if it is the only node.

        Until it has joined a node serves its own canary only: what kills must not kill it before it is there.
        """
        own = self._membership.own
        source = own if self._has_own_list or not self._joined else self._keys.entry
        try:
            raw = self._redis.blmove(source, f"{own}:processing", WAIT_SECONDS, "LEFT", "RIGHT")  # type: ignore[arg-type]
        except redis.RedisError:
            # Not raised: the batch before is settled, and settled again it would take this petition with it.
            return Batch()  # if one was moved, it is on the processing list, which is looked at next
        return Batch() if raw is None else Batch([str(raw)])  # an empty petition is one, too

    def _enter_anew(self, dropped: int) -> None:
        """Go on under a new identifier: this node was silent for so long that it was taken over."""
        membership = self._new_membership()
        membership.enter(is_open=self._joined and self._has_own_list)
        log.warning(
            "node %s was taken over while it was silent; it drops %d petition(s) and goes on as %s",
            self.identifier,
            dropped,
            membership.identifier,
        )
        former, self._membership = self._membership, membership
        former.leave()

    def _new_membership(self) -> Membership:
        return Membership(self._keys, lambda: not self._has_ended)

    def _is_redis_up(self) -> bool:
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False


def _connect() -> "redis.Redis":
    """Connect so that bytes that are not UTF-8 come as lone surrogates, to be refused like any bad petition.

    Decoded strictly, one such petition would break every read of the list, at every node, for ever.
    """
    client = connect(locate_redis())
    client.connection_pool.connection_kwargs["encoding_errors"] = "surrogateescape"
    return client
