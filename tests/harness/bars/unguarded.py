"""RabbitMQ's filter with the guarantees of the plain reference: none. It compares like with like.

``python -m tests.harness.bars.unguarded --namespace N`` is a node. Messages are transient, nothing is
confirmed, and what is delivered counts as done. The lab offers no such node: this one exists to show what its
guarantees cost, and how fast the same code is without them.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika.channel
from pika import DeliveryMode

import rabbitmq._client as client_module
import rabbitmq.insult_filter
from lab.contract import Target
from rabbitmq._lane import Lane
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.transport import Message
from tests.harness.bars.clients import DEADLINE_SECONDS, filtered_until
from tests.harness.bars.load import Run


@contextmanager
def filter_many(target: Target, depth: int) -> Iterator[Run]:
    """Filter texts, *depth* in flight, with our client without its guarantees."""
    vars(client_module)["PERSISTENT"] = DeliveryMode.Transient.value
    with _Client(target, DEADLINE_SECONDS) as client:
        yield partial(filtered_until, client, depth)


class _Client(InsultFilterClient):
    def _declare(self, channel: pika.channel.Channel) -> None:
        channel.confirm_delivery = lambda ack, callback: callback(None)
        super()._declare(channel)


def main(argv: list[str]) -> int:
    """Serve as ``rabbitmq.insult_filter`` does, without confirms and acknowledgements."""
    open_guarded = Lane.open

    def open_unguarded(lane: Lane, channel: Any, own_queue: str = "") -> None:
        channel.confirm_delivery = lambda ack: None
        channel.basic_consume = partial(channel.basic_consume, auto_ack=True)
        open_guarded(lane, channel, own_queue)

    def settle(lane: Lane, channel: Any, tag: int, messages: list[Message]) -> None:
        for message in messages:
            channel.basic_publish(message.exchange, message.routing_key, message.body, message.properties)

    Lane.open = open_unguarded  # type: ignore[method-assign,assignment]
    Lane._settle = settle  # type: ignore[method-assign,assignment]
    return rabbitmq.insult_filter.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
