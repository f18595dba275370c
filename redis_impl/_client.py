"""What the clients of both applications share: a petition and its reply within a deadline."""

import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self, cast

from lab.contract import Application, Target
from lab.errors import LabError
from lab.ids import new_operation_id
from lab.operations import Operation, bind

from ._connection import Replies
from ._wire import CODES, DATA_IS_ARGUMENT, write_petition


class PetitionClient:
    """Sends petitions of *application* to the system at *target*; threads that share it take turns."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.deadline_seconds = deadline_seconds
        self._target = target
        self._replies = Replies(target, application)
        self._codes = {operation: code for code, operation in CODES[application].items()}
        self._lock = threading.Lock()
        self._closed = False

    def ask(
        self, operation: Operation, data: str | None = None, deadline_seconds: float = 0.0, **more: object
    ) -> object:
        """Return the answer to *operation*. Without *data*, the field says where to reply, as it must."""
        operation_id = new_operation_id()
        reply_to = self._replies.reply_to
        where = {"reply_to": reply_to} if data is not None else {}
        fields = reply_to if data is None else data
        petition = write_petition(self._codes[operation], fields, operation_id, **where, **more)
        with self._lock:
            self._replies.forget()
            deadline = time.monotonic() + (deadline_seconds or self.deadline_seconds)
            self._replies.push([petition])
            return self._replies.reply(operation_id, deadline)

    def perform(self, operation: Operation, *arguments: object) -> object:
        """Return the answer to *operation*: its text is the data, other arguments are fields of their own."""
        if operation in DATA_IS_ARGUMENT:
            return self.ask(operation, cast(str, arguments[0]))
        return self.ask(operation, None, 0.0, **bind(operation, arguments))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with suppress(LabError):  # Redis is away: the list expires
            self._replies.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
