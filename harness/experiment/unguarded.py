"""RabbitMQ's filter with nothing kept, of both variants.

``python -m harness.experiment.unguarded VARIANT --namespace N`` is a node. Messages are
transient, nothing is confirmed, and what is delivered counts as done. The lab offers no such node: this one
exists to show what the guarantees cost. Each function takes one away from this process.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pika import BasicProperties, DeliveryMode
from pika.adapters.blocking_connection import BlockingChannel

import rabbitmq.insult_filter
import rabbitmq.stock
import rabbitmq.tuned.client as client_module
from harness.load.workload import Driver, SystemSubject
from lab.middleware import MIDDLEWARES, STOCK
from rabbitmq.tuned.connection import Confirms, Connection
from rabbitmq.tuned.server import Consumer
from rabbitmq.tuned.wire import Message


def send_transient() -> None:
    """Let requests, and so their replies, not outlive the broker."""
    vars(client_module)["PERSISTENT"] = DeliveryMode.Transient.value


def confirm_nothing() -> None:
    """Let nobody wait for the broker to say that it keeps a message."""

    def settle(consumer: Consumer, channel: Any, tag: int, messages: list[Message]) -> None:
        if channel is not consumer._channel or not channel.is_open:
            return
        for message in messages:
            channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)
        consumer._acknowledge(tag)

    def unconfirmed(channel: Any) -> None:
        channel.confirm_delivery = lambda ack, callback=lambda _: None: callback(None)

    Consumer._settle = settle  # type: ignore[method-assign,assignment]
    Confirms.add = lambda confirms, message: None  # type: ignore[method-assign,assignment]
    alter_channels(unconfirmed)


def acknowledge_nothing() -> None:
    """Let what is delivered count as done."""
    open_guarded = Consumer.open

    def open_unguarded(consumer: Consumer, channel: Any, own_queue: str = "") -> None:
        channel.basic_consume = partial(channel.basic_consume, auto_ack=True)
        open_guarded(consumer, channel, own_queue)

    Consumer.open = open_unguarded  # type: ignore[method-assign,assignment]
    Consumer._acknowledge = lambda consumer, tag: None  # type: ignore[method-assign,assignment]


def keep_nothing_of_stock() -> None:
    """Let pika's blocking channels send transient messages, confirm nothing, and acknowledge on delivery."""
    publish, consume = BlockingChannel.basic_publish, BlockingChannel.basic_consume

    def publish_transient(
        channel: BlockingChannel, exchange: str, key: str, body: bytes, about: BasicProperties, **_: object
    ) -> None:
        about.delivery_mode = DeliveryMode.Transient.value
        publish(channel, exchange, key, body, about)

    def consume_at_once(channel: BlockingChannel, queue: str, deliver: Any, **_: object) -> str:
        return str(consume(channel, queue, deliver, auto_ack=True))

    BlockingChannel.basic_publish = publish_transient
    BlockingChannel.basic_consume = consume_at_once
    BlockingChannel.confirm_delivery = lambda channel: None
    BlockingChannel.basic_ack = lambda channel, tag, multiple=False: None


def alter_channels(alter: Callable[[Any], object]) -> None:
    """Let *alter* change each channel of this process when it is opened."""
    open_channel = Connection.open_channel

    def opened(connection: Connection, then: Callable[[Any], None], *callbacks: Any) -> None:
        def altered(channel: Any) -> None:
            alter(channel)
            then(channel)

        open_channel(connection, altered, *callbacks)

    Connection.open_channel = opened  # type: ignore[method-assign,assignment]


@dataclass(frozen=True, slots=True)
class Unguarded:
    """The clients of *subject*, a variant of RabbitMQ, without their guarantees: each in its own process."""

    subject: SystemSubject

    def connect(self) -> Driver:
        if MIDDLEWARES[self.subject.middleware].variant == STOCK:
            keep_nothing_of_stock()
        else:
            send_transient()
            confirm_nothing()
        return self.subject.connect()


def main(argv: list[str]) -> int:
    """Serve as the filter of a variant does, without confirms and acknowledgements."""
    variant, *options = argv
    if variant == STOCK:
        keep_nothing_of_stock()
        return rabbitmq.stock.main(["filter", *options])
    confirm_nothing()
    acknowledge_nothing()
    return rabbitmq.insult_filter.main(options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
