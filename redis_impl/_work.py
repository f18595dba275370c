"""What a node makes of a batch of petitions: replies, results and dead letters, to be settled in one step."""

import json
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import uuid4

from lab.applications.service import perform
from lab.contract import Application
from lab.errors import InternalError, InvalidRequest, LabError, Unavailable, as_text
from lab.operations import Operation

from ._wire import Keys, read_petition, reply_to_of, write_reply

log = logging.getLogger(__name__)

MOST_DELIVERIES = 3
"""So many nodes may die while they have a petition, all but the first while they have it alone."""
MOST_ATTEMPTS = 5
FIRST_BACK_OFF_SECONDS = 0.1
LONGEST_BACK_OFF_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Petitions that a node took. A suspect comes alone; *in_vain* is how many nodes died of it so far."""

    petitions: list[str] = field(default_factory=list)
    in_vain: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to be written for a batch; *replies* and *results* are pairs, flat."""

    replies: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)
    results: list[str] = field(default_factory=list)


class Work:
    """Performs petitions on *application*. *on_demand*: submitted texts go to the store's waiting list."""

    def __init__(
        self,
        application: object,
        kind: Application,
        keys: Keys,
        is_stopping: Callable[[], bool],
        is_redis_up: Callable[[], bool],
        *,
        on_demand: bool,
    ) -> None:
        self._application = application
        self._kind = kind
        self._keys = keys
        self._is_stopping = is_stopping
        self._is_redis_up = is_redis_up
        self._on_demand = on_demand

    def outcome(self, batch: Batch) -> Outcome:
        """Work on *batch*. Raise Unavailable when the store is away and the node must go: settle nothing."""
        outcome = Outcome()
        for raw in batch.petitions:
            if batch.in_vain >= MOST_DELIVERIES:
                self._bury_killer(raw, batch.in_vain, outcome)
            else:
                self._answer(raw, outcome)
        return outcome

    def _answer(self, raw: str, outcome: Outcome) -> None:
        answer: object
        try:
            petition = read_petition(raw, self._kind, self._keys)
        except InvalidRequest as error:
            self._reply(raw, *reply_to_of(raw, self._keys), error, outcome)
            return
        operation_id = petition.operation_id
        is_filtered_now = petition.operation is Operation.SUBMIT and not self._on_demand
        operation = Operation.FILTER if is_filtered_now else petition.operation
        answer = self._performed(operation, dict(petition.arguments), operation_id)
        if is_filtered_now and not isinstance(answer, LabError):
            outcome.results.extend((operation_id or uuid4().hex, str(answer)))
        self._reply(raw, petition.reply_to, operation_id, answer, outcome)

    def _reply(self, raw: str, reply_to: str, operation_id: str, answer: object, outcome: Outcome) -> None:
        """Tell the sender; what failed here, and nobody can be told of, is kept among the dead letters."""
        if reply_to:
            outcome.replies.extend((reply_to, write_reply(operation_id, answer)))
        elif isinstance(answer, InternalError | Unavailable):
            error_id = answer.error_id if isinstance(answer, InternalError) else uuid4().hex[:12]
            self._bury(raw, error_id, f"its work failed: {answer}", 1, outcome)
        elif isinstance(answer, LabError):
            log.info("refused a petition that names no place to reply to: %s", as_text(answer))

    def _bury_killer(self, raw: str, deliveries: int, outcome: Outcome) -> None:
        reason = f"{deliveries} nodes died while they had it, all but the first had it alone"
        # Its text is searched, not parsed: parsing may be what kills.
        reply_to, operation_id = reply_to_of(raw, self._keys)
        error_id = uuid4().hex[:12]
        self._bury(raw, error_id, reason, deliveries, outcome)
        if reply_to:
            told = (
                f"the petition was dead-lettered: {reason}; it is kept in {self._keys.dead} under {error_id}"
            )
            outcome.replies.extend((reply_to, write_reply(operation_id, InternalError(error_id, told))))

    def _bury(self, raw: str, error_id: str, reason: str, deliveries: int, outcome: Outcome) -> None:
        log.error("dead letter %s of %s: %s", error_id, self._keys.entry, reason)
        letter = {"error_id": error_id, "reason": reason, "deliveries": deliveries, "time": int(time.time())}
        outcome.dead.append(json.dumps({**letter, "petition": raw}))

    def _performed(self, operation: Operation, arguments: dict[str, object], operation_id: str) -> object:
        """Perform; try again while the store is away, but not for ever what a working store refuses."""
        attempts, back_off_seconds = 0, FIRST_BACK_OFF_SECONDS
        while True:
            try:
                return perform(self._application, operation, arguments, operation_id)
            except Unavailable as error:
                if self._is_stopping():
                    raise
                attempts += self._is_redis_up()  # away it is where the petition came from: it will be back
                if attempts >= MOST_ATTEMPTS:
                    return error
            except LabError as error:
                return error
            except Exception:
                error_id = uuid4().hex[:12]
                log.exception("%s failed, error id %s", operation, error_id)
                return InternalError(error_id)
            time.sleep(back_off_seconds * random.uniform(0.5, 1.0))
            back_off_seconds = min(LONGEST_BACK_OFF_SECONDS, 2 * back_off_seconds)
