"""The InsultFilter over a store and a censor: request and reply, and the work list."""

import logging
import threading
import time
from uuid import uuid4

from lab.applications.censor import Censor
from lab.applications.rehearsal import rehearsal
from lab.applications.work import Work
from lab.contract import Result, ResultPage
from lab.errors import NotFound, Overloaded, Unavailable
from lab.ids import new_operation_id
from lab.limits import MAX_PAGE
from lab.store.protocol import Store, UnderWay, WaitingText
from lab.validation import clean_limit, clean_operation_id, clean_text

log = logging.getLogger(__name__)

LEASE_SECONDS = 1.5
"""How long a text that its node does not renew stays with it: a dead node's text waits again that soon."""
RENEWAL_SECONDS = 0.5
UNDER_WAY_SECONDS = 5.0
"""How long a repeated ``resolve`` waits for the first before it is told to come again."""
LOOK_AGAIN_SECONDS = 0.02


class FilterApplication:
    """Answers the filter's operations; the methods are those of :class:`~lab.contract.InsultFilter`.

    A node works on one text at a time, whoever asks, so that adding nodes means adding capacity. *owner* is
    the name under which it takes texts from the store; empty: a new one.
    """

    def __init__(self, store: Store, censor: Censor, work: Work, owner: str = "") -> None:
        self._store = store
        self._censor = censor
        self._work = work
        self.owner = owner or new_operation_id()
        self._in_hand: dict[int, WaitingText] = {}
        self._finished: dict[int, tuple[WaitingText, str, str]] = {}
        """By epoch, what the store did not take: the text, the id of its resolve, and the result."""
        self._busy = threading.Lock()
        self._rehearse = rehearsal()
        self.submitted = threading.Event()
        """Set when a text was put on the work list here, so that this node need not wait to look."""

    @property
    def is_instant(self) -> bool:
        """Tell whether :meth:`filter` returns at once: no declared work, so no thread is worth its cost."""
        return self._work.is_none

    def filter(self, text: object) -> str:
        checked = clean_text(text)
        with self._busy:
            if self._rehearse:
                self._rehearse(checked)
            self._work.perform()
            return self._censor.censor(checked)

    def submit(self, text: object, operation_id: str = "") -> str:
        petition_id = operation_id or uuid4().hex
        self._store.submit(petition_id, clean_text(text))
        self.submitted.set()
        return petition_id

    def result(self, petition_id: object) -> str:
        """Return the result; NotFound while there is none. The client waits by asking again."""
        checked = clean_operation_id(petition_id)
        text = self._store.result(checked)
        if text is None:
            message = f"no result for {checked}: not finished, never submitted, or older than an hour"
            raise NotFound(message)
        return text

    def get_results(self, limit: object = MAX_PAGE) -> ResultPage:
        return self._store.get_results(clean_limit(limit))

    def resolve(self, operation_id: str = "") -> str | None:
        """Resolve; a repetition waits for the first, then is told to come again by Unavailable."""
        deadline = time.monotonic() + UNDER_WAY_SECONDS
        while operation_id:
            taken = self._store.take_for(operation_id, LEASE_SECONDS, self.owner)
            if isinstance(taken, WaitingText):
                result = self._finish(taken, operation_id)
                if result:
                    return result.text
            elif not isinstance(taken, UnderWay):
                return taken.text if taken else None
            if time.monotonic() >= deadline:
                raise Unavailable(f"the resolve {operation_id} is under way; repeat it under the same id")
            time.sleep(LOOK_AGAIN_SECONDS)
        result = self.resolve_next()
        return result.text if result else None

    def resolve_next(self) -> Result | None:
        """Take the oldest waiting text, filter it and keep its result; None if none waits."""
        while waiting := self._store.take(LEASE_SECONDS, self.owner):
            result = self._finish(waiting)
            if result:
                return result
        return None

    def renew_leases(self) -> None:
        """Hold on to the texts that this node works on, and hand in the results that the store did not take.

        To be called every ``RENEWAL_SECONDS``.
        """
        for waiting in list(self._in_hand.values()):
            self._store.renew(waiting.petition_id, waiting.epoch, LEASE_SECONDS)
        for finished in list(self._finished.values()):
            self._hand_in(*finished)

    def give_back(self) -> None:
        """Let the texts that this node took wait again at once, for the others: it stops."""
        given_back = self._store.release(self.owner)
        if given_back:
            log.info("gave back %d text(s)", given_back)

    def _finish(self, waiting: WaitingText, operation_id: str = "") -> Result | None:
        """Filter a taken text and keep its result; None if another has taken it since."""
        self._in_hand[waiting.epoch] = waiting
        try:
            filtered = self.filter(waiting.text)
        except BaseException:
            del self._in_hand[waiting.epoch]
            raise
        return self._hand_in(waiting, operation_id, filtered)

    def _hand_in(self, waiting: WaitingText, operation_id: str, filtered: str) -> Result | None:
        """Keep a result; None if another node has its text. A store that refuses gets it again later."""
        try:
            is_kept = self._store.complete(waiting.petition_id, filtered, operation_id, waiting.epoch)
        except (Overloaded, Unavailable):
            self._finished[waiting.epoch] = waiting, operation_id, filtered
            raise
        except BaseException:
            self._forget(waiting)
            raise
        self._forget(waiting)
        if is_kept:
            return Result(waiting.petition_id, filtered)
        log.warning("the result of %s is refused: another node took it over", waiting.petition_id)
        return None

    def _forget(self, waiting: WaitingText) -> None:
        self._in_hand.pop(waiting.epoch, None)
        self._finished.pop(waiting.epoch, None)
