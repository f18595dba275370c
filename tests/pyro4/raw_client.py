"""A client that sends what it is told, byte by byte."""

import ast
import json
import pickle
import socket
from typing import Any

import msgpack  # type: ignore[import-untyped]

from tests.pyro4.kinds import (
    CONNECT,
    CONNECT_FAIL,
    CONNECT_OK,
    EXCEPTION,
    GREETING,
    HEADER,
    JSON,
    MSGPACK,
    PICKLE,
    Header,
    message,
)
from tests.wire import ANSWER_SECONDS


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
        header = Header(*HEADER.unpack(self._read(HEADER.size)))
        self._read(header.annotations_size)
        data = self._read(header.size)
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

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            assert part, "the node closed the connection without an answer"
            data += part
        return data


def _read(data: bytes, serializer: int) -> Any:
    if serializer == MSGPACK:
        return msgpack.unpackb(data)
    if serializer == JSON:
        return json.loads(data)
    return ast.literal_eval(data.decode())
