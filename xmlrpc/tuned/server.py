"""The XML-RPC server: an event loop in a thread of its own, and threads for what may wait.

Replaces ``xmlrpc.server.SimpleXMLRPCServer``, which needs a thread for each connection, and waits for ever
for the rest of a request; and ``SimpleXMLRPCDispatcher``, which has no operation ids, and answers any error
with its text.
"""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from lab.addresses import listener
from lab.errors import Code, InvalidRequest, LabError, Unavailable
from lab.limits import MAX_BATCH, MAX_REPLY_BYTES
from lab.process.serving import Executor, Method, Wire, call_method, find_method

from .connection import XmlRpcConnection
from .http import HttpConnection, Request
from .wire import as_fault, parse_call, write_answer, write_fault


class Methods:
    """The table of methods; ``system.*`` are added."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = {
            **methods,
            "system.listMethods": Method(self._list, Executor.LOOP, "Return the names of all methods."),
            "system.methodHelp": Method(self._help, Executor.LOOP, "Return what the method NAME does."),
            "system.multicall": Method(
                self._multicall,
                max((m.executor for m in methods.values()), key=list(Executor).index),
                "Call many: an array of {methodName, params}; each answer stands in an array of its own.",
            ),
        }

    def find(self, name: str) -> Method:
        """Return the method called *name*, or raise UNKNOWN_OPERATION naming those there are."""
        return find_method(self._methods, name)

    def call(self, name: str, arguments: Sequence[object], operation_id: str) -> object:
        """Call a method. Any failure comes out as a LabError; a traceback stays in the log."""
        return call_method(self._methods, name, arguments, operation_id)

    def _list(self, arguments: Sequence[object], operation_id: str) -> list[str]:
        return sorted(self._methods)

    def _help(self, arguments: Sequence[object], operation_id: str) -> str:
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise InvalidRequest(Code.MISSING_FIELD, "system.methodHelp needs the name of a method")
        return self.find(arguments[0]).help

    def _multicall(self, arguments: Sequence[object], operation_id: str) -> list[object]:
        if len(arguments) != 1 or not isinstance(arguments[0], list):
            raise InvalidRequest(Code.WRONG_TYPE, "system.multicall needs one array of calls")
        calls = arguments[0]
        if len(calls) > MAX_BATCH:
            raise InvalidRequest(Code.TOO_LARGE, f"{len(calls)} calls in one multicall; at most {MAX_BATCH}")
        answers: list[object] = []
        size = 0
        for index, call in enumerate(calls):
            answer, length = self._one(call, f"{operation_id}/{index}" if operation_id else "", size)
            answers.append(answer)
            size += length
        return answers

    def _one(self, call: object, operation_id: str, size: int) -> tuple[object, int]:
        try:
            if size > MAX_REPLY_BYTES:  # not performed: its answer could not be sent
                message = "the answers so far fill a reply; this call was not made, repeat it"
                raise InvalidRequest(Code.TOO_LARGE, message)
            name, arguments = _parts(call)
            answer = self.call(name, arguments, operation_id)
        except LabError as error:
            fault = as_fault(error)
            return {"faultCode": fault.faultCode, "faultString": fault.faultString}, len(error.message)
        return [answer], _length(answer)


def _parts(call: object) -> tuple[str, Sequence[object]]:
    if not isinstance(call, dict):
        raise InvalidRequest(Code.WRONG_TYPE, "a call in a multicall is a struct {methodName, params}")
    name, arguments = call.get("methodName"), call.get("params", [])
    if name is None:
        raise InvalidRequest(Code.MISSING_FIELD, "a call in a multicall needs methodName")
    if not isinstance(name, str) or not isinstance(arguments, list):
        raise InvalidRequest(Code.WRONG_TYPE, "methodName must be text and params an array")
    if name == "system.multicall":
        raise InvalidRequest(Code.UNKNOWN_OPERATION, "a multicall cannot hold another one")
    return name, arguments


def _length(answer: object) -> int:
    """Return about how many characters *answer* takes on the wire."""
    if isinstance(answer, str):
        return len(answer)
    if isinstance(answer, (list, tuple)):
        return sum(map(_length, answer))
    if isinstance(answer, dict):
        return sum(map(_length, answer.values()))
    return 8


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
        if executor is Executor.LOOP:
            reply(self._answer(name, arguments, request.operation_id))
            return

        def answer() -> None:
            self._loop.call_soon_threadsafe(reply, self._answer(name, arguments, request.operation_id))

        self._executors[executor].submit(answer)

    def _answer(self, name: str, arguments: tuple[object, ...], operation_id: str) -> bytes:
        try:
            if self._out_of_time:
                raise Unavailable("the node is stopping; ask another")
            return write_answer(self._methods.call(name, arguments, operation_id))
        except LabError as error:
            return write_fault(error)

    async def _listen(self, host: str, port: int) -> int:
        # With a socket that listens already: given a host, uvloop starts threads to look it up, and a process
        # that is forked afterwards (by the owner of a subscription, say) crashes at its end.
        self._listener = await self._loop.create_server(
            lambda: HttpConnection(self), sock=listener(host, port), backlog=1024
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
