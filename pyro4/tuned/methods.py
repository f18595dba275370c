"""Remote methods: an application's operations, which refuse with the lab's codes.

Replaces nothing of Pyro4; the daemon calls these as it calls any exposed method.
"""

import functools
import inspect
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar
from uuid import uuid4

import Pyro4
from Pyro4 import errors, message
from Pyro4.core import current_context

from lab.errors import Code, InternalError, InvalidRequest, LabError, Unavailable
from lab.limits import MAX_URI_CHARACTERS
from lab.operations import Operation, positional
from lab.process.serving import Executor, Method

from .wire import as_builtin, operation_id_in

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., object])

expose = Pyro4.expose
"""Let clients call the methods of a class."""


class InFlight:
    """The threads that answer a call, to wait for the last reply.

    Under Python's interpreter lock, adding to a set and taking from it is one step: no lock is needed.
    """

    def __init__(self) -> None:
        self._threads: set[int] = set()
        self._stopping = False

    def begin(self) -> None:
        """Note that this thread answers a call; Unavailable when the node stops."""
        thread = threading.get_ident()
        is_new = thread not in self._threads
        self._threads.add(thread)
        if self._stopping and is_new:  # asked after the thread was added, or finish() could overlook it
            self._threads.discard(thread)
            raise Unavailable("the node is stopping; ask another")

    def finished(self) -> None:
        """Note that this thread has sent its answer."""
        self._threads.discard(threading.get_ident())

    def finish(self, timeout_seconds: float) -> None:
        """Refuse new calls, and wait until the answers to those under way are sent."""
        self._stopping = True
        deadline = time.monotonic() + timeout_seconds
        while self._threads and time.monotonic() < deadline:
            time.sleep(0.005)


class _Message(threading.local):
    """The message that a thread answers just now."""

    calls_begun = 0
    """Of a batch."""


_message = _Message()


def begin_message() -> None:
    """Note that this thread begins to answer a message."""
    _message.calls_begun = 0


def operation_id() -> str:
    """Return the operation id of the call that this thread begins to make; empty: it has none.

    Each call of a batch has an id of its own, ``KEY/INDEX``: with one for all, they would have one effect.
    """
    sent = operation_id_in(current_context.annotations)
    if not current_context.msg_flags & message.FLAGS_BATCH:
        return sent
    index, _message.calls_begun = _message.calls_begun, _message.calls_begun + 1
    return f"{sent}/{index}" if sent else ""


def exposed(methods: Mapping[str, Method], in_flight: InFlight) -> object:
    """Return an object with these remote *methods*."""
    members: dict[str, object] = {
        name: _remote_method(name, method, in_flight) for name, method in methods.items()
    }
    members["_nonblocking"] = frozenset(
        name for name, method in methods.items() if method.executor is Executor.LOOP
    )
    return Pyro4.expose(type("Node", (), members))()


def _remote_method(name: str, method: Method, in_flight: InFlight) -> Callable[..., object]:
    operation = Operation(name) if name in set(Operation) else None

    @coded
    def call(*self_and_arguments: object, **named: object) -> object:  # named "self" is the client's matter
        arguments: Sequence[object] = self_and_arguments[1:]
        if named:
            if not operation:
                raise InvalidRequest(Code.WRONG_TYPE, f"{name} takes no named arguments")
            arguments = positional(operation, arguments, named)
        in_flight.begin()
        return method.call(arguments, operation_id())

    call.__name__ = name
    call.__doc__ = method.help
    return call


def checked(method: Function) -> Function:
    """Let *method* refuse arguments that do not fit, and texts that are not text or too long."""
    signature = inspect.signature(method)
    texts = [name for name, parameter in signature.parameters.items() if parameter.annotation is str]

    @coded
    @functools.wraps(method)
    def call(*arguments: object, **named: object) -> object:
        try:
            bound = signature.bind(*arguments, **named).arguments
        except TypeError as error:
            code = Code.MISSING_FIELD if "missing" in str(error) else Code.WRONG_TYPE
            raise InvalidRequest(code, f"{method.__name__}: {str(error)[:100]}") from error
        for name in texts:
            check_text(name, bound.get(name, ""))
        return method(*arguments, **named)

    return call  # type: ignore[return-value]


def coded(method: Callable[..., object]) -> Callable[..., object]:
    """Let *method* raise what any proxy understands; the traceback of a failure stays in the log."""

    @functools.wraps(method)
    def call(*arguments: object, **named: object) -> object:
        try:
            return method(*arguments, **named)
        except LabError as error:
            raise as_builtin(error) from None
        except errors.NamingError:  # Pyro4's own clients expect it
            raise
        except Exception as error:
            error_id = uuid4().hex[:12]
            log.exception("%s failed, error id %s", call.__name__, error_id)
            raise as_builtin(InternalError(error_id)) from error

    return call


def check_text(name: str, value: object) -> None:
    """Raise WRONG_TYPE, TOO_LARGE or BAD_ENCODING unless *value* is text of a length that may be needed."""
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be text, got {type(value).__name__}")
    if len(value) > MAX_URI_CHARACTERS:
        raise InvalidRequest(Code.TOO_LARGE, f"{name} is longer than {MAX_URI_CHARACTERS} characters")
    if not value.isprintable():  # nor are lone surrogates
        raise InvalidRequest(Code.BAD_ENCODING, f"{name} holds a control character or a lone surrogate")
