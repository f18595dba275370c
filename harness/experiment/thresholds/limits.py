"""What the machine allows: the same payloads, clients and commands, without any application."""

import json
import selectors
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import hiredis
import pika
import redis

from harness.experiment.thresholds.clients import repeated
from harness.experiment.thresholds.contestants import Run

WAIT_SECONDS = 10.0


def serve_echo(request_bytes: int, reply_bytes: int) -> None:
    """Answer every *request_bytes* on a connection with *reply_bytes*, whatever they are, until killed."""
    reply, got = bytes(reply_bytes), dict[socket.socket, int]()
    listener = socket.create_server(("127.0.0.1", 0))
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    print(json.dumps({"address": str(listener.getsockname()[1])}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                one, _ = listener.accept()
                one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(one, selectors.EVENT_READ, one)
                got[one] = 0
                continue
            received = len(key.data.recv(65536))
            got[key.data] += received
            if not received:
                selector.unregister(key.data)
            while got[key.data] >= request_bytes:
                got[key.data] -= request_bytes
                key.data.sendall(reply)


@contextmanager
def echo(port: str, request_bytes: int, reply_bytes: int) -> Iterator[Run]:
    """Send and receive bare bytes, one request at a time."""
    with socket.create_connection(("127.0.0.1", int(port)), WAIT_SECONDS) as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = bytes(request_bytes)

        def step() -> bool:
            stream.sendall(request)
            left = reply_bytes
            while left > 0 and (received := len(stream.recv(left))):
                left -= received
            return not left

        yield repeated(step)


@contextmanager
def lists(url: str, depth: int, petition_bytes: int, reply_bytes: int) -> Iterator[Run]:
    """Do what a safe request costs Redis in list commands, *depth* requests a round trip, from one end.

    Push the petition, move it to the processing list, push the reply, remove the petition, take the reply.
    """
    queue, moved, replies = (
        f"lab-limit:{uuid4().hex}:{name}" for name in ("petitions", "processing", "replies")
    )
    commands = [
        ("RPUSH", queue, "p" * petition_bytes),
        ("LMOVE", queue, moved, "LEFT", "RIGHT"),
        ("RPUSH", replies, "r" * reply_bytes),
        ("LPOP", moved),
        ("LPOP", replies),
    ]
    batch = b"".join(_packed(*command) for command in commands for _ in range(depth))
    with _redis_connection(url) as ask:

        def run(deadline: float) -> int:
            done = 0
            while perf_counter() < deadline:
                ask(batch, len(commands) * depth)
                done += depth
            return done

        try:
            yield run
        finally:
            with redis.Redis.from_url(url) as cleaner:
                cleaner.delete(queue, moved, replies)


@contextmanager
def _redis_connection(url: str) -> Iterator[Callable[[bytes, int], None]]:
    """Connect; yield what sends packed commands and waits for so many answers."""
    where, reader = urlsplit(url), hiredis.Reader()
    address = (where.hostname or "127.0.0.1", where.port or 6379)
    with socket.create_connection(address, WAIT_SECONDS) as stream:

        def ask(packed: bytes, count: int) -> None:
            stream.sendall(packed)
            for _ in range(count):
                while (answer := reader.gets()) is False:
                    reader.feed(stream.recv(65536))
                if isinstance(answer, Exception):
                    raise answer

        if where.password:
            ask(_packed("AUTH", where.username or "default", where.password), 1)
        yield ask


@contextmanager
def bare_pika(url: str, depth: int, body_bytes: int) -> Iterator[Run]:
    """Publish to a queue of one's own and consume it: two messages are what one request costs the broker."""
    flow = _Flow(url, depth, bytes(body_bytes))
    try:
        yield flow.run
    finally:
        flow.connection.close()
        flow.connection.ioloop.start()  # until it is closed


class _Flow:
    """Messages to oneself over pika's connection of callbacks, *depth* requests of two messages in flight."""

    def __init__(self, url: str, depth: int, body: bytes) -> None:
        self._depth, self._body = depth, body
        self._deadline = 0.0
        self._arrived = self._sent = 0
        self.connection = pika.SelectConnection(
            pika.URLParameters(url),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=lambda connection, error: connection.ioloop.stop(),
            on_close_callback=lambda connection, reason: connection.ioloop.stop(),
        )
        self._queue = ""
        self.connection.ioloop.start()  # until it is ready
        if not self._queue:
            raise ConnectionError("RabbitMQ does not answer")

    def run(self, deadline: float) -> int:
        """Send until *deadline* and wait for all; return how many requests that was."""
        self._deadline, self._arrived, self._sent = deadline, 0, 0
        self._publish(2 * self._depth)
        self.connection.ioloop.start()
        return self._sent // 2

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        channel.queue_declare("", exclusive=True, callback=self._declared)

    def _declared(self, frame: Any) -> None:
        self._queue = frame.method.queue
        ready = self.connection.ioloop.stop
        self._channel.basic_consume(self._queue, self._received, auto_ack=True, callback=lambda _: ready())

    def _publish(self, count: int) -> None:
        for _ in range(count):
            self._channel.basic_publish("", self._queue, self._body)
        self._sent += count

    def _received(self, *_: object) -> None:
        self._arrived += 1
        if not self._arrived % self._depth and perf_counter() < self._deadline:
            self._publish(self._depth)
        elif self._arrived == self._sent:
            self.connection.ioloop.stop()


def _packed(*words: str) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # its stub knows one word only
    return packed


if __name__ == "__main__":
    serve_echo(*map(int, sys.argv[1:]))
