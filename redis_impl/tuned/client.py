"""What the clients of both applications share: a petition and its reply within a deadline."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from lab.client.connection import after_fork
from lab.contract import Application, Closing, Target
from lab.errors import LabError, Overloaded
from lab.operations import Operation, bind, new_operation_id
from lab.validation import clean_deadline

from .connection import Replies
from .wire import CODES, DATA_IS_ARGUMENT, write_petition

MAX_WAITING_CALLS = 1000


class PetitionClient(Closing):
    """Sends petitions of *application* to the system at *target*; threads that share it take turns.

    After a fork parent and child go on with connections of their own. While Redis is away calls wait for it
    until their deadline, at most 1,000 of them: others are Overloaded.
    """

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.deadline_seconds = clean_deadline(deadline_seconds)
        self._target = target
        self._replies = Replies(target, application, deadline_seconds)
        self._codes = {operation: code for code, operation in CODES[application].items()}
        self._closed = False
        self.forked()
        after_fork(self)

    def forked(self) -> None:
        """Begin again in a forked process: the threads that waited do not exist here."""
        # A thread may enter twice: an interrupt just after it took the lock blocks only others.
        self._lock = threading.RLock()
        self._places = threading.BoundedSemaphore(MAX_WAITING_CALLS)

    def ask(
        self, operation: Operation, data: str | None = None, deadline_seconds: float = 0.0, **more: object
    ) -> object:
        """Return the answer to *operation*. Without *data*, that field names the list for the reply."""
        operation_id = new_operation_id()
        reply_to = self._replies.reply_to
        where = {"reply_to": reply_to} if data is not None else {}
        fields = reply_to if data is None else data
        petition = write_petition(self._codes[operation], fields, operation_id, **where, **more)
        deadline = time.monotonic() + (deadline_seconds or self.deadline_seconds)
        with self._my_turn(deadline):
            self._replies.push({operation_id: petition}, deadline)
            return self._replies.reply(operation_id, deadline)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        """Return the answer to *operation*: its text is the data, other arguments are fields of their own."""
        if operation in DATA_IS_ARGUMENT:
            return self.ask(operation, cast(str, arguments[0]), deadline_seconds)
        return self.ask(operation, None, deadline_seconds, **bind(operation, arguments))

    @contextmanager
    def _my_turn(self, deadline: float) -> Iterator[None]:
        """Let one thread at a time use the connection; one whose turn does not come is Overloaded."""
        if not self._places.acquire(blocking=False):
            raise Overloaded(f"{MAX_WAITING_CALLS} calls wait on this client already; try again later")
        try:
            if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                raise Overloaded(
                    "other calls on this client took all the time; give threads clients of their own"
                )
            try:
                self._replies.forget()
                yield
            finally:
                self._lock.release()
        finally:
            self._places.release()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(LabError):  # Redis is away: the list expires
            self._replies.close()


class FilterPetitionClient(PetitionClient):
    """Sends the InsultFilter's operations as petitions."""

    def __init__(self, target: Target, deadline_seconds: float) -> None:
        super().__init__(target, Application.FILTER, deadline_seconds)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> object:
        if operation is Operation.SUBMIT:
            return self._submit(cast(str, arguments[0]), deadline_seconds or self.deadline_seconds)
        if operation is Operation.FILTER:  # the same code as submit, with a list for the reply
            return self.ask(Operation.SUBMIT, cast(str, arguments[0]), deadline_seconds)
        code = Operation.GET_RESULTS if operation is Operation.RESULT else operation
        return self.ask(code, None, deadline_seconds, **bind(operation, arguments))

    def _submit(self, text: str, deadline_seconds: float) -> str:
        petition_id = new_operation_id()
        petition = write_petition("X1", text, petition_id)
        deadline = time.monotonic() + deadline_seconds
        with self._my_turn(deadline):
            self._replies.push({petition_id: petition}, deadline, are_answered=False)
        return petition_id
