"""Serve objects in a daemon of their own thread, with errors that any proxy understands."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import Pyro4
from Pyro4.core import current_context

from lab.applications.service import perform
from lab.errors import Code, InternalError, InvalidRequest, LabError, Unavailable
from lab.operations import SIGNATURES, Operation, bind
from lab.plain import to_plain

from ._wire import Daemon, as_builtin

log = logging.getLogger(__name__)

OPERATION_ID = "OPID"
TICK = "TICK"
expose = Pyro4.expose
"""Let clients call the methods of a class."""


class ServedObjects:
    """A daemon that serves objects by their ids."""

    def __init__(self, host: str, port: int, advertised_host: str) -> None:
        nat = {"nathost": advertised_host, "natport": 0} if advertised_host != host else {}
        try:
            self.daemon = Daemon(host=host, port=port, **nat)
        except OSError as error:
            raise Unavailable(
                f"cannot listen on {host}:{port}: {error.strerror}; try another --port"
            ) from error
        self._thread = threading.Thread(target=self.daemon.requestLoop, name="pyro4", daemon=True)

    def serve(self, objects: Mapping[str, object]) -> dict[str, str]:
        """Serve *objects* by their ids; return the URI of each."""
        uris = {name: str(self.daemon.register(served, name)) for name, served in objects.items()}
        self._thread.start()
        return uris

    def close(self, timeout_seconds: float) -> None:
        """Accept nothing more, and end."""
        if self._thread.is_alive():
            self.daemon.shutdown()
            self._thread.join(timeout_seconds)
        with contextlib.suppress(OSError):
            self.daemon.close()


class InFlight:
    """Counts calls under way, to wait for their end."""

    def __init__(self) -> None:
        self._count = 0
        self._lock = threading.Lock()
        self._stopping = False

    def __enter__(self) -> None:
        with self._lock:
            if self._stopping:
                raise Unavailable("the node is stopping; ask another")
            self._count += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._count -= 1

    def finish(self, timeout_seconds: float) -> None:
        """Refuse new calls, and wait until those under way have ended."""
        self._stopping = True
        deadline = time.monotonic() + timeout_seconds
        while self._count and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.02)  # their replies are being written


def exposed(
    application: object, operations: Sequence[Operation], documented: type, in_flight: InFlight
) -> object:
    """Return an object with a remote method for each operation; its help is the contract's docstring."""
    methods = {
        operation.value: _remote_method(application, operation, documented, in_flight)
        for operation in operations
    }
    return Pyro4.expose(type("Node", (), methods))()


def _remote_method(
    application: object, operation: Operation, documented: type, in_flight: InFlight
) -> Callable[..., object]:
    def call(*self_and_arguments: object, **named: object) -> object:  # named "self" is the client's matter
        try:
            bound = _bound(operation, self_and_arguments[1:], named)
            operation_id = bytes(current_context.annotations.get(OPERATION_ID, b"")).decode("latin-1")
            with in_flight:
                return to_plain(perform(application, operation, bound, operation_id))
        except LabError as error:
            raise as_builtin(error) from None
        except Exception as error:
            error_id = uuid4().hex[:12]
            log.exception("%s failed, error id %s", operation, error_id)
            raise as_builtin(InternalError(error_id)) from error

    call.__name__ = operation.value
    call.__doc__ = getattr(getattr(documented, operation, None), "__doc__", None) or str(operation)
    return call


def _bound(operation: Operation, arguments: Sequence[object], named: dict[str, object]) -> dict[str, object]:
    """Name the positional *arguments*; let *named* ones stand for those that are left."""
    parameters = SIGNATURES[operation].parameters
    given = list(arguments)
    for name in named:
        if name not in parameters:
            raise InvalidRequest(Code.WRONG_TYPE, f"{operation} has no argument {name[:60]!r}")
        if name in parameters[: len(given)]:
            raise InvalidRequest(Code.WRONG_TYPE, f"{operation} was given its argument {name} twice")
    left = dict(named)
    while len(given) < len(parameters) and parameters[len(given)] in left:
        given.append(left.pop(parameters[len(given)]))
    return bind(operation, given) | left
