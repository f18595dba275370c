"""What the lab does not offer: code changed in the process that asks for it, to show what it costs.

``python -m harness.experiment.changed_code CHANGE,CHANGE MODULE [OPTIONS]`` runs a node's MODULE with these
changes; CHANGE is SETTING=VALUE. Each changes both variants of a middleware.
"""

import importlib
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from pika import BasicProperties, DeliveryMode
from pika.adapters.blocking_connection import BlockingChannel

import rabbitmq.tuned.client as client_module
from harness.load.workload import Driver, Subject
from rabbitmq.tuned.connection import Confirms, Connection
from rabbitmq.tuned.server import Consumer
from rabbitmq.tuned.settlement import Settlement
from xmlrpc.tuned.connection import XmlRpcConnection


def apply(changes: Sequence[str]) -> None:
    """Change the code of this process; it stays so."""
    for change in changes:
        CHANGES[change]()


@dataclass(frozen=True, slots=True)
class Changed:
    """Clients of *subject* with *changes*: each load generator is a process of its own."""

    subject: Subject
    changes: tuple[str, ...]

    def connect(self) -> Driver:
        apply(self.changes)
        return self.subject.connect()


def close_each_time() -> None:
    """Let XML-RPC clients open a connection for each call, as the standard library's server makes them do."""
    open_connection = XmlRpcConnection.__init__

    def closing(connection: XmlRpcConnection, url: str) -> None:
        open_connection(connection, url)
        connection._head += "Connection: close\r\n"

    XmlRpcConnection.__init__ = closing  # type: ignore[method-assign,assignment]


def send_transient() -> None:
    """Let RabbitMQ's requests, and so their replies, not outlive the broker."""
    vars(client_module)["PERSISTENT"] = DeliveryMode.Transient.value
    publish = BlockingChannel.basic_publish

    def publish_transient(
        channel: BlockingChannel, exchange: str, key: str, body: bytes, about: BasicProperties, **rest: Any
    ) -> None:
        about.delivery_mode = DeliveryMode.Transient.value
        publish(channel, exchange, key, body, about, **rest)

    BlockingChannel.basic_publish = publish_transient


def confirm_nothing() -> None:
    """Let nobody wait for RabbitMQ to say that it keeps a message."""

    def unconfirmed(channel: Any) -> None:
        channel.confirm_delivery = lambda ack, callback=lambda _: None: callback(None)

    Settlement._count = lambda settlement, tag, messages: None  # type: ignore[method-assign,assignment]
    Confirms.add = lambda confirms, message: None  # type: ignore[method-assign,assignment]
    alter_channels(unconfirmed)
    BlockingChannel.confirm_delivery = lambda channel: None


def confirm_each() -> None:
    """Let RabbitMQ's clients and nodes publish a message only when the one before is confirmed."""
    alter_channels(_OneByOne)


def acknowledge_each() -> None:
    """Let RabbitMQ's nodes acknowledge each message by itself."""

    def acknowledge(settlement: Settlement) -> None:
        for tag in [tag for tag, messages in settlement._unconfirmed.items() if not messages]:
            settlement.channel.basic_ack(tag)
            settlement.under_way -= 1
            del settlement._unconfirmed[tag]
        settlement._owner.acknowledged()

    Settlement._acknowledge = acknowledge  # type: ignore[method-assign,assignment]


def acknowledge_nothing() -> None:
    """Let what RabbitMQ delivers count as done."""
    open_guarded, consume = Consumer.open, BlockingChannel.basic_consume

    def open_unguarded(consumer: Consumer, channel: Any, own_queue: str = "") -> None:
        channel.basic_consume = partial(channel.basic_consume, auto_ack=True)
        open_guarded(consumer, channel, own_queue)

    def consume_at_once(channel: BlockingChannel, queue: str, deliver: Any, **_: object) -> str:
        return str(consume(channel, queue, deliver, auto_ack=True))

    Consumer.open = open_unguarded  # type: ignore[method-assign,assignment]
    Settlement._acknowledge = lambda settlement: settlement._unconfirmed.clear()  # type: ignore[method-assign,assignment]
    BlockingChannel.basic_consume = consume_at_once
    BlockingChannel.basic_ack = lambda channel, tag, multiple=False: None


CHANGES = {
    "keep-alive=off": close_each_time,
    "confirms=none": confirm_nothing,
    "confirms=each": confirm_each,
    "messages=transient": send_transient,
    "acknowledge=each": acknowledge_each,
    "acknowledge=none": acknowledge_nothing,
}


def alter_channels(alter: Callable[[Any], object]) -> None:
    """Let *alter* change each channel of this process when it is opened."""
    open_channel = Connection.open_channel

    def opened(connection: Connection, then: Callable[[Any], None], *callbacks: Any) -> None:
        def altered(channel: Any) -> None:
            alter(channel)
            then(channel)

        open_channel(connection, altered, *callbacks)

    Connection.open_channel = opened  # type: ignore[method-assign,assignment]


class _OneByOne:
    """Holds back what a channel publishes while a confirm is awaited."""

    def __init__(self, channel: Any) -> None:
        self._publish, self._select = channel.basic_publish, channel.confirm_delivery
        self._waiting: deque[tuple[object, ...]] = deque()
        self._is_under_way = False
        channel.basic_publish, channel.confirm_delivery = self._held_back, self._selected

    def _held_back(self, *message: object) -> None:
        self._waiting.append(message)
        self._next()

    def _selected(self, ack: Any, callback: Any = None) -> None:
        def confirmed(frame: object) -> None:
            self._is_under_way = False
            ack(frame)
            self._next()

        self._select(confirmed, callback=callback)

    def _next(self) -> None:
        if self._waiting and not self._is_under_way:
            self._is_under_way = True
            self._publish(*self._waiting.popleft())


def main(argv: list[str]) -> int:
    """Run the module as it runs by itself, but changed."""
    changes, module, *options = argv
    apply(changes.split(","))
    code: int = importlib.import_module(module).main(options)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
