"""RabbitMQ's filter with the guarantees of the plain reference: none. It compares like with like.

``python -m harness.experiment.thresholds.unguarded --namespace N`` is a node. Messages are transient,
nothing is confirmed, and what is delivered counts as done. The lab offers no such node: this one exists to
show what its guarantees cost, and how fast the same code is without them. Each function takes one away from
this process.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from pika import DeliveryMode

import rabbitmq.insult_filter
import rabbitmq.tuned.client as client_module
from harness.experiment.thresholds.clients import DEADLINE_SECONDS, filtered_until
from harness.experiment.thresholds.contestants import Run
from lab.contract import Target
from rabbitmq.insult_filter import InsultFilterClient
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


def alter_channels(alter: Callable[[Any], object]) -> None:
    """Let *alter* change each channel of this process when it is opened."""
    open_channel = Connection.open_channel

    def opened(
        connection: Connection,
        then: Callable[[Any], None],
        on_cancel: Callable[[str], None] | None = None,
    ) -> None:
        def altered(channel: Any) -> None:
            alter(channel)
            then(channel)

        open_channel(connection, altered, on_cancel)

    Connection.open_channel = opened  # type: ignore[method-assign,assignment]


@contextmanager
def filter_many(target: Target, depth: int) -> Iterator[Run]:
    """Filter texts, *depth* in flight, with our client without its guarantees."""
    send_transient()
    confirm_nothing()
    with InsultFilterClient(target, DEADLINE_SECONDS) as client:
        yield partial(filtered_until, client, depth)


def main(argv: list[str]) -> int:
    """Serve as ``rabbitmq.insult_filter`` does, without confirms and acknowledgements."""
    confirm_nothing()
    acknowledge_nothing()
    return rabbitmq.insult_filter.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
