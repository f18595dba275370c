"""How a node takes petitions, performs them and answers: in batches, each settled in one step."""

import argparse
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import redis

from lab.client.retry import Backoff
from lab.contract import Application, Architecture
from lab.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LabError,
    Overloaded,
    Unavailable,
    as_text,
)
from lab.limits import MAX_BATCH, MAX_RESULTS, RESULT_TTL_SECONDS
from lab.operations import Operation, perform
from lab.options import NodeOptions, whole_number
from lab.settings import settings
from lab.store.protocol import IdReused, digest
from lab.store.redis_store import load, translated

from .node import SILENCE_SECONDS, EntryWaiter, Membership, connect_leniently
from .wire import Keys, read_petition, reply_to_of, write_reply

log = logging.getLogger(__name__)

SCRIPTS = Path(__file__).parent
WAIT_SECONDS = 0.1
"""How long a node waits on its list before it looks at the retry list."""
CANARY_SECONDS = 10.0
MOST_DELIVERIES = 3
"""So many nodes may die while they have a petition; all but the first while it is their only one."""
MOST_FAILURES = 4
UNTIL_THE_STORE_SERVES = Backoff(0.1, 1.0)


def add_batch_option(parser: argparse.ArgumentParser, usual: int) -> None:
    """Add ``--batch``, which only Redis's nodes take."""
    parser.add_argument(
        "--batch",
        type=whole_number(1, MAX_BATCH),
        metavar="N",
        help=f"petitions to take and settle in one step; without it, {usual}, or 1 if each text takes time",
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Petitions that a node took. One of the retry list is a batch by itself; *deaths* nodes died of it."""

    petitions: list[str] = field(default_factory=list)
    deaths: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What to write for a batch; *replies* are pairs, flat.

    *results* are flat as well: petition id, filtered text, the digest of the text, and the place of the
    petition in the batch.
    """

    replies: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    results: list[str | int] = field(default_factory=list)


class Work:
    """Performs petitions on *application*. *on_demand*: submitted texts go to the store's work list."""

    def __init__(
        self,
        application: object,
        kind: Application,
        keys: Keys,
        is_stopping: Callable[[], bool],
        *,
        on_demand: bool,
    ) -> None:
        self._application = application
        self._kind = kind
        self._keys = keys
        self._is_stopping = is_stopping
        self._on_demand = on_demand

    def outcome(self, batch: Batch) -> Outcome:
        """Work on *batch*. Raise when the store refuses and the node must go: settle nothing."""
        outcome = Outcome()
        for place, raw in enumerate(batch.petitions):
            if batch.deaths >= MOST_DELIVERIES:
                self._dead_letter_killer(raw, batch.deaths, outcome)
            else:
                self._answer(place, raw, outcome)
        return outcome

    def _answer(self, place: int, raw: str, outcome: Outcome) -> None:
        answer: object
        try:
            petition = read_petition(raw, self._kind, self._keys)
        except InvalidRequest as error:
            self._reply(raw, *reply_to_of(raw, self._keys), error, outcome)
            return
        operation_id = petition.operation_id
        is_filtered_now = petition.operation is Operation.SUBMIT and not self._on_demand
        operation = Operation.FILTER if is_filtered_now else petition.operation
        is_awaited = bool(petition.reply_to)
        answer = self._performed(operation, dict(petition.arguments), operation_id, is_awaited=is_awaited)
        if is_filtered_now and not isinstance(answer, LabError):
            of_text = digest(str(petition.arguments["text"]))
            outcome.results.extend((operation_id or uuid4().hex, str(answer), of_text, place))
        self._reply(raw, petition.reply_to, operation_id, answer, outcome)

    def _reply(self, raw: str, reply_to: str, operation_id: str, answer: object, outcome: Outcome) -> None:
        """Tell the sender. If it wants no reply, a petition that failed goes to the dead letters."""
        if reply_to:
            outcome.replies.extend((reply_to, write_reply(operation_id, answer)))
        elif isinstance(answer, InternalError):
            self._dead_letter(raw, answer.error_id, f"its work failed: {answer}", 1, outcome)
        elif isinstance(answer, IdReused):
            self._dead_letter(raw, uuid4().hex[:12], answer.message, 1, outcome)
        elif isinstance(answer, LabError):
            log.info("refused a petition that names no place to reply to: %s", as_text(answer))

    def _dead_letter_killer(self, raw: str, deliveries: int, outcome: Outcome) -> None:
        reason = f"{deliveries} nodes died while they had it; all but the first had only this one"
        # Its text is searched, not parsed: parsing may be what kills.
        reply_to, operation_id = reply_to_of(raw, self._keys)
        error_id = uuid4().hex[:12]
        self._dead_letter(raw, error_id, reason, deliveries, outcome)
        if reply_to:
            told = (
                f"the petition was dead-lettered: {reason}; it is kept in {self._keys.dead} under {error_id}"
            )
            outcome.replies.extend((reply_to, write_reply(operation_id, InternalError(error_id, told))))

    def _dead_letter(self, raw: str, error_id: str, reason: str, deliveries: int, outcome: Outcome) -> None:
        log.error("dead letter %s of %s: %s", error_id, self._keys.entry, reason)
        letter = {"error_id": error_id, "reason": reason, "deliveries": deliveries, "time": int(time.time())}
        outcome.dead.append(json.dumps({**letter, "petition": raw}))

    def _performed(
        self, operation: Operation, arguments: dict[str, object], operation_id: str, *, is_awaited: bool
    ) -> object:
        """Perform; try again as long as the store refuses all requests: that is not the petition's fault.

        Work that fails, and whose sender does not wait, is tried up to four times.
        A full store is told at once to a sender who waits: its memory may not come back soon.
        """
        attempts = failures = 0
        while True:
            attempts += 1
            try:
                return perform(self._application, operation, arguments, operation_id)
            except (Overloaded, Unavailable) as error:
                if self._is_stopping():
                    raise
                if is_awaited and isinstance(error, Overloaded):
                    return error
                if attempts == 1:
                    log.warning("%s waits for the store: %s", operation, error)
            except LabError as error:
                return error
            except Exception:
                error_id = uuid4().hex[:12]
                log.exception("%s failed, error id %s", operation, error_id)
                failures += 1
                if is_awaited or failures >= MOST_FAILURES or self._is_stopping():
                    return InternalError(error_id)
            time.sleep(UNTIL_THE_STORE_SERVES.pause(attempts))


class PetitionServer:
    """Serves the petitions of *application*, up to *batch* at a time.

    One node serves the entry list. Each of n has a list of its own, to which clients push while its lease
    holds. It serves the entry list as well. *on_demand*: submitted texts go to the store's work list.
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
        self._redis = connect_leniently()
        self._waiting_redis = connect_leniently(WAIT_SECONDS + SILENCE_SECONDS)
        self._settle = self._redis.register_script(load("settle", SCRIPTS))
        self._batch = batch
        self._has_own_list = options.architecture is Architecture.N_NODE and not on_demand
        self._turn = 0
        self._stopping = False
        self._joined = False
        self._work = Work(application, kind, self._keys, lambda: self._stopping, on_demand=on_demand)
        self._has_ended = False
        self._thread = threading.Thread(target=self._serve, name="petitions", daemon=True)
        self._membership = self._new_membership()
        self._is_idle = threading.Event()
        self._entry: EntryWaiter | None = None

    @property
    def identifier(self) -> str:
        """The name of this node; a new one after it was taken over."""
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
            self._wait_on_entry()

    def drain(self, timeout_seconds: float) -> None:
        """Be sent nothing more, settle what was taken, hand the rest to the others."""
        self._stopping = True
        if self._thread.is_alive():
            self._membership.shut()
            self._thread.join(timeout_seconds)
        self._leave(self._membership)
        self._waiting_redis.close()
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
        except (Overloaded, Unavailable):
            log.warning("stopped while the store was away; what was taken waits for others")
        except Exception:
            log.exception("serves nothing any more; others take over")
        finally:
            self._has_ended = True

    def _settled(self, batch: Batch, outcome: Outcome) -> Batch:
        """Settle a batch and return the next, even if Redis goes away in between."""
        failing = False
        while True:
            try:
                return self._settle_and_take(batch, outcome)
            except (redis.RedisError, LabError) as error:
                if not failing:
                    log.warning("Redis does not serve, trying again: %s", error)
                failing = True
                if self._stopping:
                    return Batch()
                time.sleep(UNTIL_THE_STORE_SERVES.first_seconds)

    def _settle_and_take(self, batch: Batch, outcome: Outcome) -> Batch:
        wanted = 0 if self._stopping else self._batch
        if not batch.petitions and not wanted:
            return Batch()
        names = (self._keys.prefix, self.identifier)
        settling = (self._turn, len(batch.petitions), batch.deaths)
        limits = (MAX_RESULTS, RESULT_TTL_SECONDS, settings().id_ttl)
        written = (*outcome.replies, *outcome.dead, *outcome.results)
        counts = (len(outcome.replies) // 2, len(outcome.dead))
        deaths, *answer = self._settle(
            keys=[self._keys.entry],
            args=[*names, *settling, wanted, int(self._joined), *limits, *counts, *written],
        )
        self._turn += 1
        if deaths < 0:
            self._enter_anew(len(batch.petitions))
            return Batch()
        refused, *petitions = answer
        if refused:
            told = "%d text(s) are dead letters: their id was used for another text, which has a result"
            log.warning(told, refused)
        if petitions or not wanted:
            return Batch(petitions, deaths)
        return self._waited()

    def _waited(self) -> Batch:
        """Wait for a petition: on the node's own list, or on the entry list if it is the only node.

        Until a node has joined it serves its own canary only. A petition that kills must not kill it before.
        """
        own = self._membership.own
        source = own if self._has_own_list or not self._joined else self._keys.entry
        self._is_idle.set()
        try:
            raw = self._waiting_redis.blmove(source, f"{own}:processing", WAIT_SECONDS, "LEFT", "RIGHT")  # type: ignore[arg-type]
        except redis.RedisError:
            # Not raised: the batch before is settled. To settle it again would remove this petition too.
            return Batch()  # if a petition was moved, it is on the processing list, which is read next
        finally:
            self._is_idle.clear()
        return Batch() if raw is None else Batch([str(raw)])  # an empty petition is one, too

    def _enter_anew(self, dropped: int) -> None:
        """Go on under a new identifier: this node was silent for too long, and was taken over."""
        membership = self._new_membership()
        membership.enter(is_open=self._joined and self._has_own_list)
        log.warning(
            "node %s was taken over while it was silent; it drops %d petition(s) and goes on as %s",
            self.identifier,
            dropped,
            membership.identifier,
        )
        former, self._membership = self._membership, membership
        has_entry = self._entry is not None
        self._leave(former)
        if has_entry:
            self._wait_on_entry()

    def _new_membership(self) -> Membership:
        return Membership(self._keys, lambda: not self._has_ended)

    def _wait_on_entry(self) -> None:
        self._entry = EntryWaiter(
            self._keys, self._membership.own, self._is_idle, is_occupying=self._batch == 1
        )
        self._entry.start()

    def _leave(self, membership: Membership) -> None:
        """Give up an identity. While something may still be moved to its list, only its lease may end it."""
        entry, self._entry = self._entry, None
        if entry and not entry.stop():
            membership.close()
        else:
            membership.leave()
