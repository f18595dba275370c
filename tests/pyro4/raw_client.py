"""A client that sends what it is told, byte by byte."""

import ast
import json
import pickle
import socket
from contextlib import closing
from typing import Any

import msgpack  # type: ignore[import-untyped]

from harness.faults.kinds.pyro4 import (
    CONNECT,
    CONNECT_FAIL,
    CONNECT_OK,
    EXCEPTION,
    GOOD,
    GREETING,
    HEADER,
    JSON,
    MSGPACK,
    PICKLE,
    Header,
    call,
    message,
    packed,
)
from harness.faults.wire import read_exactly
from lab.process.system import System
from tests.wire import ANSWER_SECONDS, Wire


class Client:
    """A raw socket that speaks Pyro4's protocol."""

    def __init__(self, uri: str, greeting: bytes = b"") -> None:
        host, _, port = uri.rpartition("@")[2].rpartition(":")
        self._socket = socket.create_connection((host, int(port)), ANSWER_SECONDS)
        if not greeting:
            assert self.ask(message(GREETING, CONNECT))[0].kind == CONNECT_OK

    def ask(self, request: bytes) -> tuple[Header, Any]:
        """Send *request*; return the header of the answer, and its data."""
        self._socket.sendall(request)
        header = Header(*HEADER.unpack(read_exactly(self._socket, HEADER.size)))
        read_exactly(self._socket, header.annotations_size)
        data = read_exactly(self._socket, header.size)
        assert b"Traceback (" not in data
        assert b'File "' not in data
        if header.serializer == PICKLE:  # of our own node
            return header, pickle.loads(data)
        return header, _read(data, header.serializer)

    def refusal(self, request: bytes) -> str:
        """Send *request*; return the text of the exception that is the answer."""
        header, error = self.ask(request)
        if header.kind == CONNECT_FAIL:
            return str(error)
        assert header.flags & EXCEPTION, error
        if isinstance(error, ValueError):
            return str(error)
        assert error["__class__"] == "builtins.ValueError"
        assert not error["attributes"]["_pyroTraceback"]
        return str(error["args"][0])

    def close(self) -> None:
        self._socket.close()

    def shut(self) -> None:
        """Say that nothing more comes."""
        self._socket.shutdown(socket.SHUT_WR)

    def is_closed(self) -> bool:
        """Tell whether the node has closed the connection."""
        return self._socket.recv(1) == b""

    def send(self, request: bytes) -> None:
        self._socket.sendall(request)


class PyroWire(Wire):
    """Calls to the node, on a connection that is greeted already."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        self.client = Client(system.nodes[0].address)

    def refusal(self, *sent: Any) -> str:
        return self.client.refusal(*sent)

    def serve(self) -> None:
        """Ask on a new connection: a refusal may have closed this one."""
        with closing(Client(self.system.nodes[0].address)) as client:
            assert client.ask(call(*GOOD))[1] in (True, False)

    def close(self) -> None:
        self.client.close()


class ThreadlessWire(PyroWire):
    """The same, on a connection that has no thread at the node: its last calls did not block."""

    def __init__(self, system: System) -> None:
        super().__init__(system)
        for _ in range(2):
            assert self.client.ask(packed(*GOOD))[1] in (True, False)


class GreetingWire(PyroWire):
    """First messages to the node, each on a connection of its own."""

    def refusal(self, *sent: Any) -> str:
        with closing(Client(self.system.nodes[0].address, *sent)) as client:
            return client.refusal(*sent)


def _read(data: bytes, serializer: int) -> Any:
    if serializer == MSGPACK:
        return msgpack.unpackb(data)
    if serializer == JSON:
        return json.loads(data)
    return ast.literal_eval(data.decode())
