"""Malformed input, sent as bytes to a node of each middleware; the code of each refusal is read back.

The kinds are those of the tests of the wires, so that what is promised is written down once.
"""

import importlib
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from typing import Any, Protocol
from urllib.parse import urlsplit
from uuid import uuid4

import pika
from pika import data
from pika.spec import BasicProperties

import xmlrpc.client
from lab.errors import Code
from lab.process.system import System
from lab.store.redis_store import connect

ANSWER_SECONDS = 15.0
_CODE = re.compile(f"({'|'.join(Code)}): ")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of malformed input and the code it must get. *content* is what its wire makes of it."""

    name: str
    content: Any
    code: Code


@dataclass(frozen=True, slots=True)
class Where:
    """A system as bare connections see it; it can be sent to another process."""

    middleware: str
    application: str
    namespace: str
    node: str
    address: str
    """Where clients connect: the broker, of an indirect middleware."""


def where(cluster: System) -> Where:
    """Return where *cluster* is found."""
    spec = cluster.spec
    return Where(
        spec.middleware, spec.application, cluster.namespace, cluster.nodes[0].address, cluster.target.address
    )


class Wire(Protocol):
    """A bare connection to a system, without our client."""

    def refusal(self, kind: Kind) -> str:
        """Send what *kind* says; return the code of the refusal, or what came instead."""

    def close(self) -> None:
        """Free connections."""


class XmlRpcWire:
    """HTTP requests: on one connection, as a client sends them, if one is whole HTTP; else on its own."""

    def __init__(self, place: Where) -> None:
        self._url = urlsplit(place.node)
        self._connection: socket.socket | None = None

    def refusal(self, kind: Kind) -> str:
        is_whole = _is_whole(kind.content)
        if not self._connection or not is_whole:
            self.close()
            self._connection = socket.create_connection((self._url.hostname, self._url.port), ANSWER_SECONDS)
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            self._connection.sendall(kind.content)
        response = HTTPResponse(self._connection, method="POST")
        try:
            response.begin()
            answer = response.read().decode()
        except BaseException:
            self.close()
            raise
        if response.will_close or not is_whole:
            self.close()
        try:
            return str(xmlrpc.client.loads(answer)[0][0])[:60]
        except xmlrpc.client.Fault as fault:
            return _code(fault.faultString)

    def close(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


class PyroWire:
    """Messages of Pyro4; a refused one may end its connection, so each has one."""

    def __init__(self, place: Where) -> None:
        from harness.faults.kinds import pyro4 as kinds

        self._kinds = kinds
        host, _, port = place.node.rpartition("@")[2].rpartition(":")
        self._address = (host, int(port))

    def refusal(self, kind: Kind) -> str:
        kinds = self._kinds
        with socket.create_connection(self._address, ANSWER_SECONDS) as connection:
            connection.sendall(kinds.message(kinds.GREETING, kinds.CONNECT))
            _read_message(connection, kinds.HEADER)
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(kind.content)
            return _code(_read_message(connection, kinds.HEADER).decode("utf-8", "replace"))

    def close(self) -> None:
        """Nothing to free."""


class RedisWire:
    """Petitions pushed to the entry list."""

    def __init__(self, place: Where) -> None:
        from harness.faults.kinds.redis_impl import REPLY_TO

        self._redis = connect(place.address, 2 * ANSWER_SECONDS)
        self._marker = REPLY_TO
        self._place = place

    def refusal(self, kind: Kind) -> str:
        reply_to = f"{self._place.namespace}:reply:{uuid4().hex}"
        raw = kind.content.replace(self._marker, reply_to.encode())
        self._redis.rpush(f"{self._place.namespace}:{self._place.application}", raw)
        reply = self._redis.blpop([reply_to], timeout=ANSWER_SECONDS)
        return str(json.loads(reply[1]).get("error", reply[1][:60])) if reply else "no reply"

    def close(self) -> None:
        self._redis.close()


class RabbitWire:
    """Events published to the service's queue."""

    def __init__(self, place: Where) -> None:
        self._connection = pika.BlockingConnection(pika.URLParameters(place.address))
        self._channel = self._connection.channel()
        self._replies = str(self._channel.queue_declare("", exclusive=True).method.queue)
        self._queue = f"{place.namespace}.{place.application}"

    def refusal(self, kind: Kind) -> str:
        properties, body = kind.content
        own = {"reply_to": self._replies, "correlation_id": uuid4().hex, **properties}
        self._channel.basic_publish("", self._queue, body, BasicProperties(**own))
        reply = self._channel.consume(self._replies, auto_ack=True, inactivity_timeout=ANSWER_SECONDS)
        _, answered, text = next(reply)
        self._channel.cancel()
        if answered is None or text is None:
            return "no reply"
        return str(json.loads(text)["code"]) if answered.type == "error" else str(text[:60])

    def close(self) -> None:
        self._connection.close()


WIRES: dict[str, Callable[[Where], Wire]] = {
    "xmlrpc": XmlRpcWire,
    "pyro4": PyroWire,
    "redis_impl": RedisWire,
    "rabbitmq": RabbitWire,
}


def wire_name(middleware: str) -> str:
    """Return whose wire a variant speaks: both speak the same."""
    return middleware.partition(":")[0]


def kinds_of(middleware: str) -> list[Kind]:
    """Return the kinds of malformed input that a service of *middleware* is tested with."""
    module = importlib.import_module(f"harness.faults.kinds.{wire_name(middleware)}")
    kinds: Mapping[str, tuple[Any, ...]] = module.KINDS
    return [
        Kind(name, content[0] if len(content) == 1 else tuple(content), code)
        for name, (*content, code) in kinds.items()
    ]


@contextmanager
def wire_to(place: Where) -> Iterator[Wire]:
    """Open a bare connection to *place*, whose pika also writes what it never would of itself."""
    from harness.faults.kinds.rabbitmq import ENCODE_VALUE, Written

    def write(pieces: list[bytes], value: object) -> int:
        if not isinstance(value, Written):
            return ENCODE_VALUE(pieces, value)
        pieces.append(value.bytes)
        return len(value.bytes)

    before, data.encode_value = data.encode_value, write
    wire: Wire = WIRES[wire_name(place.middleware)](place)
    try:
        yield wire
    finally:
        wire.close()
        data.encode_value = before


def _is_whole(request: bytes) -> bool:
    """Tell whether the body is as long as the header says, so that nothing of it is taken for another."""
    head, _, body = request.partition(b"\r\n\r\n")
    return b"\r\nContent-Length: %d" % len(body) in head and b"\r\nTransfer-Encoding" not in head


def _read_message(connection: socket.socket, header: Any) -> bytes:
    fields = header.unpack(read_exactly(connection, header.size))
    read_exactly(connection, fields[7])  # annotations
    return read_exactly(connection, fields[5])


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Return the next *size* bytes; ConnectionError if the connection is closed before."""
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed without an answer")
        data += part
    return data


def _code(text: str) -> str:
    found = _CODE.search(text)
    return found[1] if found else ascii(text[:60])
