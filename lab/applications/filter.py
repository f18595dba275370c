"""The InsultFilter over a store and a censor: request and reply, and the work list."""

import threading
from uuid import uuid4

from lab.applications.rehearsal import rehearsal
from lab.applications.work import Work
from lab.censor import Censor
from lab.contract import Result, ResultPage
from lab.errors import NotFound
from lab.limits import MAX_PAGE
from lab.store.protocol import Store, WaitingText
from lab.validation import clean_limit, clean_operation_id, clean_text

TAKE_LEASE_SECONDS = 3.0
"""How long a node may work on a text, on top of twice the declared work, before the text waits again."""


class FilterApplication:
    """Answers the filter's operations; the methods are those of :class:`~lab.contract.InsultFilter`.

    A node works on one text at a time, whoever asks, so that adding nodes means adding capacity.
    """

    def __init__(self, store: Store, censor: Censor, work: Work) -> None:
        self._store = store
        self._censor = censor
        self._work = work
        self._lease_seconds = TAKE_LEASE_SECONDS + 2 * (work.wait_seconds + work.cpu_seconds)
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
        earlier = self._store.resolved(operation_id) if operation_id else None
        if earlier:
            return earlier.text
        taken = self.resolve_next(operation_id)
        return taken.text if taken else None

    def resolve_next(self, operation_id: str = "") -> Result | None:
        """Take the oldest waiting text, filter it and keep its result; None if none waits."""
        waiting: WaitingText | None = self._store.take(self._lease_seconds)
        if waiting is None:
            return None
        filtered = self.filter(waiting.text)
        self._store.complete(waiting.petition_id, filtered, operation_id)
        return Result(waiting.petition_id, filtered)
