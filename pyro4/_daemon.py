"""Serve objects in a daemon of their own thread, with errors that any proxy understands."""

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence

import Pyro4

from lab.applications.service import perform
from lab.errors import Code, InvalidRequest, Unavailable
from lab.operations import SIGNATURES, Operation, bind
from lab.plain import to_plain
from lab.process.node import cannot_listen

from ._remote import coded
from ._settings import SERVER_TYPES
from ._wire import Daemon, operation_id

expose = Pyro4.expose
"""Let clients call the methods of a class."""


class InFlight:
    """The threads that answer a call, to wait for the last reply.

    Adding to a set, and taking from it, is one step in Python; no lock is needed.
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


class ServedObjects:
    """A daemon that serves objects by their ids; *in_flight* is told of each answer that was sent."""

    def __init__(
        self,
        host: str,
        port: int,
        advertised_host: str,
        in_flight: InFlight | None = None,
        server_type: str = SERVER_TYPES[0],
    ) -> None:
        Pyro4.config.SERVERTYPE = server_type  # read when a daemon is made
        try:
            self.daemon = Daemon(host, port, (in_flight or InFlight()).finished)
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        if advertised_host != host:  # Pyro4's own "nathost" fails with IPv6
            port = self.daemon.sock.getsockname()[1]
            named = f"[{advertised_host}]" if ":" in advertised_host else advertised_host
            self.daemon.natLocationStr = f"{named}:{port}"
        self._thread = threading.Thread(target=self.daemon.requestLoop, name="pyro4", daemon=True)

    @property
    def address(self) -> str:
        """Where others reach it: ``host:port``."""
        return str(self.daemon.natLocationStr or self.daemon.locationStr)

    def serve(self, objects: Mapping[str, object]) -> dict[str, str]:
        """Serve *objects* by their ids; return the URI of each."""
        uris = {name: str(self.daemon.register(served, name)) for name, served in objects.items()}
        self._thread.start()
        return uris

    def close(self, timeout_seconds: float) -> None:
        """Accept nothing more, and end; what takes longer than *timeout_seconds* ends with the process."""
        # Pyro4's shutdown waits up to 5 s for its loop: all the time that a process has to drain.
        end = self.daemon.shutdown if self._thread.is_alive() else self.daemon.close
        ending = threading.Thread(target=_quietly, args=(end,), name="end of pyro4", daemon=True)
        ending.start()
        ending.join(timeout_seconds)


def _quietly(end: Callable[[], object]) -> None:
    with contextlib.suppress(OSError):
        end()


def exposed(
    application: object,
    operations: Sequence[Operation],
    instant: Collection[Operation],
    documented: type,
    in_flight: InFlight,
) -> object:
    """Return an object with a remote method for each operation; its help is the contract's docstring.

    *instant* are those that return at once.
    """
    methods: dict[str, object] = {
        operation.value: _remote_method(application, operation, documented, in_flight)
        for operation in operations
    }
    methods["_instant"] = frozenset(operation.value for operation in instant)
    return Pyro4.expose(type("Node", (), methods))()


def _remote_method(
    application: object, operation: Operation, documented: type, in_flight: InFlight
) -> Callable[..., object]:
    @coded
    def call(*self_and_arguments: object, **named: object) -> object:  # named "self" is the client's matter
        bound = _bound(operation, self_and_arguments[1:], named)
        in_flight.begin()
        return to_plain(perform(application, operation, bound, operation_id()))

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
