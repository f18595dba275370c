"""The XML-RPC server: an event loop in a thread of its own, and threads for what may wait.

Replaces ``xmlrpc.server.SimpleXMLRPCServer``, which needs a thread for each connection, and waits for ever
for the rest of a request.
"""

import asyncio
import contextlib
import functools
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lab.errors import LabError, Unavailable
from lab.process.serving import Executor, Method, Wire

from .connection import XmlRpcConnection
from .http import HttpConnection, Request
from .methods import Methods
from .wire import parse_call, write_answer, write_fault

SWEEP_SECONDS = 1.0
STORE_THREADS = 8
START_SECONDS = 10.0
LAST_PART = 0.3
"""The last part of the time to drain, in which requests that have not begun are refused."""

T = TypeVar("T")


class XmlRpcServer:
    """Serves *methods* until drained."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.connections: set[HttpConnection] = set()
        self._methods = Methods(methods)
        self._loop = _new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="xmlrpc", daemon=True)
        self._executors = {
            Executor.STORE: ThreadPoolExecutor(STORE_THREADS, "store"),
            Executor.WORK: ThreadPoolExecutor(1, "work"),
        }
        self._listener: asyncio.Server | None = None
        self._draining = False
        self._out_of_time = False

    def start(self, host: str, port: int) -> int:
        """Listen; return the port, a free one for 0. OSError if the address cannot be bound."""
        if not self._thread.is_alive():
            self._thread.start()
        return self._run(self._listen(host, port), START_SECONDS)

    def drain(self, timeout_seconds: float) -> None:
        """Take no more requests, answer those taken, close every connection, end the threads.

        What has not begun when little time is left is answered with Unavailable.
        """
        if not self._thread.is_alive():
            return
        with contextlib.suppress(TimeoutError):
            self._run(self._finish(timeout_seconds), timeout_seconds + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(1.0)
        for executor in self._executors.values():
            executor.shutdown(wait=False, cancel_futures=True)

    def serve(self, request: Request, reply: Callable[[bytes], None]) -> None:
        """Answer *request*; on the event loop where the method returns at once, else in a thread."""
        try:
            if self._draining:
                raise Unavailable("the node is stopping; ask another")
            name, arguments = parse_call(request.body)
            executor = self._methods.find(name).executor
        except LabError as error:
            reply(write_fault(error))
            return
        answer = functools.partial(self._answer, name, arguments, request.operation_id)
        if executor is Executor.LOOP:
            reply(answer())
            return
        waiting = self._loop.run_in_executor(self._executors[executor], answer)
        waiting.add_done_callback(lambda done: reply(done.result()) if not done.cancelled() else None)

    def _answer(self, name: str, arguments: tuple[object, ...], operation_id: str) -> bytes:
        try:
            if self._out_of_time:
                raise Unavailable("the node is stopping; ask another")
            return write_answer(self._methods.call(name, arguments, operation_id))
        except LabError as error:
            return write_fault(error)

    async def _listen(self, host: str, port: int) -> int:
        self._listener = await self._loop.create_server(
            lambda: HttpConnection(self), host, port, backlog=1024, reuse_address=True
        )
        self._sweeper = self._loop.create_task(self._sweep())
        return int(self._listener.sockets[0].getsockname()[1])

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in tuple(self.connections):
                connection.expire(now)

    async def _finish(self, timeout_seconds: float) -> None:
        if self._listener is None:
            return
        self._draining = True
        self._listener.close()
        self._sweeper.cancel()
        deadline = time.monotonic() + timeout_seconds
        while not all(c.is_idle for c in self.connections) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
            self._out_of_time = time.monotonic() > deadline - timeout_seconds * LAST_PART
        for connection in tuple(self.connections):
            connection.close()
        while self.connections and time.monotonic() < deadline:
            await asyncio.sleep(0.01)  # what was written is being sent

    def _run(self, work: Coroutine[Any, Any, T], timeout_seconds: float) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_seconds)


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a uvloop where there is one: it halves the cost of a small request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


WIRE = Wire("http", XmlRpcServer, XmlRpcConnection, probe="system.listMethods", default_port=80)
