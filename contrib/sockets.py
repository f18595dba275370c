"""The lab over plain sockets: JSON behind its length. ``LAB_MIDDLEWARES=contrib.sockets`` adds it.

Kind: direct; blocking; coupled in time (both sides must be up) and in space (the client knows the node).
Broker: none; n nodes share their state in Redis, and a master knows which of them live.
Load balancing: the master hands each client a node, in turn; the client stays with it until it dies.
Delivery: at least once by repetition under the same operation id, effect exactly once.
Broadcast: subscribers are servers of the same wire, called back with notify.
Library: the socket module of the standard library; all above it is in this file.
"""

import json
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from lab.addresses import listener
from lab.client.connection import StreamConnection
from lab.client.retry import Deadline
from lab.errors import Code, InvalidRequest, LabError, error_from
from lab.limits import MAX_BATCH, MAX_REQUEST_BYTES
from lab.middleware import Middleware, Promise
from lab.operations import Operation
from lab.process.direct import DirectFilterClient, DirectProgram, DirectServiceClient
from lab.process.serving import Executor, Method, Wire, call_method

LENGTH = struct.Struct(">I")


def frame(value: object) -> bytes:
    """Return *value* as it stands on the wire: four bytes of length, then JSON."""
    body = json.dumps(value).encode()
    return LENGTH.pack(len(body)) + body


class Connection(StreamConnection):
    """A client's connection."""

    scheme = "tcp"

    def call(
        self, method: str, arguments: Sequence[object], timeout_seconds: float, operation_id: str = ""
    ) -> object:
        return self.call_all([(method, arguments, operation_id)], timeout_seconds)[0]

    def call_all(self, calls: Sequence[tuple[str, Sequence[object], str]], seconds: float) -> list[object]:
        """Return the answers of *calls*, each (method, arguments, operation id); raise the first error."""
        answers = self.exchange(frame([[name, list(given), key] for name, given, key in calls]), seconds)
        for answer in answers:
            if "error" in answer:
                raise error_from(answer["error"], answer["message"])
        return [answer["ok"] for answer in answers]

    def read_reply(self, data: bytes, deadline: float) -> Any:
        while len(data) < LENGTH.size or len(data) < LENGTH.size + LENGTH.unpack_from(data)[0]:
            data += self.receive(deadline)
        return json.loads(data[LENGTH.size :])


class Server:
    """Answers *methods*, with a thread for each connection."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = {"ping": Method(lambda *_: True, Executor.LOOP, "Return true."), **methods}
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._listener: socket.socket | None = None

    def start(self, host: str, port: int) -> int:
        self._listener = listener(host, port)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return int(self._listener.getsockname()[1])

    def drain(self, timeout_seconds: float) -> None:
        if self._listener is None:
            return
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the wait for the next connection
        self._listener.close()
        deadline = Deadline(timeout_seconds)
        for connection, thread in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)  # what was received is still answered
            thread.join(deadline.left)

    def _accept(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                self._connections[connection] = thread
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as stream:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while len(head := stream.read(LENGTH.size)) == LENGTH.size:
                length = LENGTH.unpack(head)[0]
                body = stream.read(min(length, MAX_REQUEST_BYTES))
                connection.sendall(frame(self._answers(body)))
                if length > MAX_REQUEST_BYTES:  # the rest of it would be taken for the next request
                    break
        self._connections.pop(connection, None)

    def _answers(self, body: bytes) -> list[dict[str, object]]:
        with suppress(ValueError, RecursionError):
            calls = json.loads(body)
            if isinstance(calls, list) and len(calls) <= MAX_BATCH:
                return [self._answer(call) for call in calls]
        return [self._answer(None)]

    def _answer(self, call: object) -> dict[str, object]:
        try:
            match call:
                case [str(name), list(arguments), str(operation_id)]:
                    return {"ok": call_method(self._methods, name, arguments, operation_id)}
            raise InvalidRequest(Code.MALFORMED, f"send up to {MAX_BATCH} [method, arguments, id] in a list")
        except LabError as error:
            return {"error": error.code, "message": error.message}


WIRE = Wire("tcp", Server, Connection, probe="ping")


class InsultServiceClient(DirectServiceClient):
    wire = WIRE


class InsultFilterClient(DirectFilterClient):
    wire = WIRE

    def _filtered(self, texts: list[str]) -> list[str]:
        calls = [(Operation.FILTER.value, [text], "") for text in texts]
        return cast(list[str], self.ask(lambda node, left: cast(Connection, node).call_all(calls, left)))


LACKS = frozenset((Promise.BOUNDED_INPUT, Promise.SILENT_CLIENTS_HARMLESS))
MIDDLEWARE = Middleware("sockets", "Sockets", True, package="contrib.sockets", not_promised=LACKS)
PROGRAM = DirectProgram("contrib.sockets", WIRE, first_port=8100)
TOPOLOGY = PROGRAM.topology
default_address = PROGRAM.default_address

if __name__ == "__main__":
    raise SystemExit(PROGRAM.main(InsultServiceClient, None))
