"""One thread that answers the connections whose calls do not block.

Replaces, of Pyro4: the rule that a connection keeps its thread (``ClientConnectionJob``, ``Pool``). Why:
Python runs one thread at a time. With several busy clients, each of whose calls takes microseconds, switching
between threads costs more than the calls. ``python3 -m lab bench --only pyro4`` measures the gain.

Here a connection whose last call did not block waits for its next one without a thread. A call that is not of
the fast path, may block, or is not there whole, goes back to a thread of the pool.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from typing import Any

from Pyro4 import errors
from Pyro4.socketserver.threadpool import NoFreeWorkersError, Pool
from Pyro4.socketserver.threadpoolserver import ClientConnectionJob

log = logging.getLogger(__name__)

MAX_CONNECTIONS = 2000
"""Beyond these, and one for each thread, connections are refused."""
SWEEP_SECONDS = 0.5


class LockedPool(Pool):  # type: ignore[misc]
    """Pyro4's pool, which only one thread may give work to; here two do."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        super().__init__()

    def process(self, job: object) -> None:
        with self._lock:
            super().process(job)


class ConnectionJob(ClientConnectionJob):  # type: ignore[misc]
    """A client's connection. A thread answers its calls until one did not block."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._is_greeted = False
        self._unsent = b""
        self.expires_at = 0.0
        """When it has been silent for too long."""

    def __call__(self) -> None:
        """Answer calls in this thread; return when there are no more, or when none is needed for them."""
        if not self._is_greeted and not self.handleConnection():
            return
        self._is_greeted = True
        try:
            self._flush()
            while True:
                self.daemon.handleRequest(self.csock)
                if getattr(self.csock, "is_nonblocking", False) and self.daemon.nonblocking.take(self):
                    return
        except (OSError, errors.CommunicationError, errors.SecurityError) as error:
            log.debug("disconnected %s: %s", self.caddr, error)
        except Exception as error:  # noqa: BLE001  # whatever it is, this connection is at its end
            log.warning("a connection is closed: %r", error)
        self.end()

    def send(self, data: bytes) -> None:
        """Send without waiting; what the client does not take now, a thread sends."""
        try:
            sent = self.csock.sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        self._unsent = data[sent:]

    @property
    def needs_thread(self) -> bool:
        """Whether there is more to do that may take a while."""
        return bool(self._unsent) or self.csock.recv.has_more

    def end(self) -> None:
        """Close the connection."""
        self.daemon._clientDisconnect(self.csock)
        self.csock.close()

    def _flush(self) -> None:
        if self._unsent:
            self.csock.send(self._unsent)
            self._unsent = b""


class NonblockingLoop:
    """Waits for the calls of many connections of *daemon*, in one thread that starts with the first."""

    def __init__(self, daemon: Any) -> None:
        self._daemon = daemon
        self._selector: Any = None
        """None until there is a first connection: most daemons are of subscribers, and never have one."""
        self._lock = threading.Lock()
        self._stopping = False

    def take(self, job: ConnectionJob) -> bool:
        """Wait for the next call of *job*; false if there are too many already."""
        with self._lock:
            if self._stopping:
                return False
            if self._selector is None:
                self._selector = selectors.DefaultSelector()
                threading.Thread(target=self._run, name="nonblocking", daemon=True).start()
            if len(self._selector.get_map()) >= MAX_CONNECTIONS:
                return False
            job.expires_at = time.monotonic() + job.csock.recv.silence_seconds
            self._selector.register(job.csock.sock, selectors.EVENT_READ, job)
        return True

    def stop(self) -> None:
        """Close the connections that wait here, soon."""
        self._stopping = True

    def _run(self) -> None:
        swept_at = time.monotonic()
        while not self._stopping:
            for key, _ in self._selector.select(SWEEP_SECONDS):
                self._answer(key.data)
            now = time.monotonic()
            if now - swept_at > SWEEP_SECONDS:
                swept_at = now
                self._end_if(lambda job: job.expires_at < now)  # noqa: B023
        self._end_if(lambda _: True)
        self._selector.close()

    def _answer(self, job: ConnectionJob) -> None:
        connection = job.csock
        try:
            connection.recv.receive_now()
            is_answered = self._daemon.answer_nonblocking(connection, job)
            if is_answered and not job.needs_thread:
                job.expires_at = time.monotonic() + connection.recv.silence_seconds
                return
            self._selector.unregister(connection.sock)
            self._daemon.transportServer.pool.process(job)
        except (OSError, errors.CommunicationError, NoFreeWorkersError) as error:
            log.debug("disconnected %s: %s", job.caddr, error)
            self._end(job)
        except Exception:
            log.exception("a connection is closed")
            self._end(job)

    def _end_if(self, is_over: Any) -> None:
        with self._lock:
            waiting = [key.data for key in self._selector.get_map().values()]
        for job in waiting:
            if is_over(job):
                self._end(job)

    def _end(self, job: ConnectionJob) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it was to go to a thread, and none was free
            self._selector.unregister(job.csock.sock)
        job.end()
