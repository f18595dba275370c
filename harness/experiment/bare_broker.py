"""What the broker allows: the same payloads and clients, without any application and any promise."""

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import hiredis
import pika
import redis

from harness.load.workload import Driver

WAIT_SECONDS = 10.0
TEXT = b"hola tonto, adeu"
PETITION = b"p" * (130 + len(TEXT))
"""A petition as JSON with its id and its place to reply to has 130 bytes around the text."""
REPLY = b"r" * len("hola CENSORED, adeu")


class _Limit(ABC):
    """What is alike: many requests at a time."""

    def request(self, number: int) -> bool:
        return all(is_right for _, is_right in self.pipeline(iter([number]), 1))

    @abstractmethod
    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """As of :class:`Driver`."""


@dataclass(frozen=True, slots=True)
class BareLists:
    """The list commands that a safe request costs Redis at *url*, for all that are in flight at once."""

    url: str

    def connect(self) -> Driver:
        return _Lists(self.url)


class _Lists(_Limit):
    def __init__(self, url: str) -> None:
        where, self._url, self._reader = urlsplit(url), url, hiredis.Reader()
        address = (where.hostname or "127.0.0.1", where.port or 6379)
        self._stream = socket.create_connection(address, WAIT_SECONDS)
        if where.password:
            self._ask(_packed("AUTH", where.username or "default", where.password), 1)
        self._names = [f"lab-limit:{uuid4().hex}:{name}" for name in ("petitions", "processing", "replies")]
        queue, moved, replies = self._names
        self._commands = [
            _packed("RPUSH", queue, PETITION),
            _packed("LMOVE", queue, moved, "LEFT", "RIGHT"),
            _packed("RPUSH", replies, REPLY),
            _packed("LPOP", moved),
            _packed("LPOP", replies),
        ]

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Push the petition, move it, push the reply, remove the petition, take the reply."""
        while some := list(islice(numbers, in_flight)):
            self._ask(b"".join(each * len(some) for each in self._commands), len(self._commands) * len(some))
            yield from ((number, True) for number in some)

    def close(self) -> None:
        self._stream.close()
        with redis.Redis.from_url(self._url) as cleaner:
            cleaner.delete(*self._names)

    def _ask(self, packed: bytes, count: int) -> None:
        self._stream.sendall(packed)
        for _ in range(count):
            while (answer := self._reader.gets()) is False:
                self._reader.feed(self._stream.recv(65536))
            if isinstance(answer, Exception):
                raise answer


@dataclass(frozen=True, slots=True)
class BarePika:
    """Two messages through RabbitMQ at *url* for each request, to a queue of one's own."""

    url: str

    def connect(self) -> Driver:
        return _Flow(self.url)


class _Flow(_Limit):
    """Messages to oneself over pika's connection of callbacks."""

    def __init__(self, url: str) -> None:
        self._queue, self._arrived, self._awaited = "", 0, 0
        self._connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=lambda connection, error: connection.ioloop.stop(),
            on_close_callback=lambda connection, reason: connection.ioloop.stop(),
        )
        self._connection.ioloop.start()  # until it is ready
        if not self._queue:
            raise ConnectionError("RabbitMQ does not answer")

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Keep two messages under way for each request; top up when half of them have arrived."""
        under_way: list[int] = []
        while True:
            new = list(islice(numbers, in_flight - len(under_way)))
            for _ in range(2 * len(new)):
                self._channel.basic_publish("", self._queue, TEXT)
            under_way += new
            if not under_way:
                return
            done = max(1, len(under_way) // 2)
            self._awaited += 2 * done
            if self._arrived < self._awaited:
                self._connection.ioloop.start()  # until they have arrived
            yield from ((number, True) for number in under_way[:done])
            del under_way[:done]

    def close(self) -> None:
        self._connection.close()
        self._connection.ioloop.start()  # until it is closed

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.queue_declare("", exclusive=True, callback=self._declared)

    def _declared(self, frame: Any) -> None:
        self._queue = frame.method.queue
        ready: Callable[[], None] = self._connection.ioloop.stop
        self._channel.basic_consume(self._queue, self._received, auto_ack=True, callback=lambda _: ready())

    def _received(self, *_: object) -> None:
        self._arrived += 1
        if self._arrived == self._awaited:
            self._connection.ioloop.stop()


def _packed(*words: str | bytes) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows one word only
    return packed
