"""Serve objects in a daemon of their own thread, with errors that any proxy understands."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import Pyro4
from Pyro4.core import current_context

from lab.applications.service import perform
from lab.errors import Code, InternalError, InvalidRequest, LabError, Unavailable, as_text
from lab.operations import SIGNATURES, Operation, bind
from lab.plain import to_plain

from . import _settings as _settings

log = logging.getLogger(__name__)

OPERATION_ID = "OPID"
TICK = "TICK"
expose = Pyro4.expose
"""Let clients call the methods of a class."""


class Daemon(Pyro4.Daemon):  # type: ignore[misc]
    """A Pyro4 daemon whose errors are a ValueError with ``CODE: message``, without a traceback."""

    def _sendExceptionResponse(  # noqa: N802  # Pyro4's name
        self,
        connection: object,
        seq: int,
        serializer_id: int,
        exc_value: Exception,
        *rest: object,
        **more: object,
    ) -> None:
        super()._sendExceptionResponse(connection, seq, serializer_id, _as_builtin(exc_value), *rest, **more)


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
    def call(self: object, *arguments: object, **named: object) -> object:
        try:
            bound = bind(operation, arguments) | _named(operation, named)
            operation_id = bytes(current_context.annotations.get(OPERATION_ID, b"")).decode("latin-1")
            with in_flight:
                return to_plain(perform(application, operation, bound, operation_id))
        except LabError as error:
            raise _as_builtin(error) from None
        except Exception as error:
            error_id = uuid4().hex[:12]
            log.exception("%s failed, error id %s", operation, error_id)
            raise _as_builtin(InternalError(error_id)) from error

    call.__name__ = operation.value
    call.__doc__ = getattr(getattr(documented, operation, None), "__doc__", None) or str(operation)
    return call


def _named(operation: Operation, named: dict[str, Any]) -> dict[str, object]:
    for name in named:
        if name not in SIGNATURES[operation].parameters:
            raise InvalidRequest(Code.WRONG_TYPE, f"{operation} has no argument {name[:60]!r}")
    return named


def _as_builtin(error: Exception) -> Exception:
    """Return *error* as one that a proxy without our code can read."""
    if isinstance(error, ValueError) and str(error).partition(": ")[0] in Code.__members__:
        return error
    if isinstance(error, LabError):
        return ValueError(as_text(error))
    if isinstance(error, AttributeError):
        return ValueError(f"{Code.UNKNOWN_OPERATION}: no such method: {error}")
    if isinstance(error, Pyro4.errors.DaemonError):
        return ValueError(f"{Code.NOT_FOUND}: {error}")
    if isinstance(error, Pyro4.errors.SerializeError):
        return ValueError(f"{Code.BAD_ENCODING}: {error}; serpent and msgpack are understood")
    return ValueError(f"{Code.MALFORMED}: the request cannot be read: {type(error).__name__}: {error}")
