"""What a setting does that the lab does not offer: our own code changed, in the process that asks for it.

``python -m harness.experiment.changed_code SETTING VALUE [OPTIONS]`` is a RabbitMQ filter node
with this change.
"""

import sys
from collections import deque
from typing import Any

import rabbitmq.insult_filter
from harness.experiment.unguarded import alter_channels, confirm_nothing, send_transient
from rabbitmq.tuned.server import Consumer
from xmlrpc.tuned.connection import XmlRpcConnection


def apply(setting: str, value: str) -> None:
    """Change the code of this process."""
    VARIANTS[setting, value]()


def close_each_time() -> None:
    """Let XML-RPC clients open a connection for each call, as the standard library's server makes them do."""
    open_connection = XmlRpcConnection.__init__

    def closing(connection: XmlRpcConnection, url: str) -> None:
        open_connection(connection, url)
        connection._head += "Connection: close\r\n"

    XmlRpcConnection.__init__ = closing  # type: ignore[method-assign,assignment]


def confirm_each() -> None:
    """Let RabbitMQ's clients and nodes publish a message only when the one before is confirmed."""
    alter_channels(_OneByOne)


def acknowledge_each() -> None:
    """Let RabbitMQ's nodes acknowledge each message by itself."""

    def acknowledge(consumer: Consumer, tag: int) -> None:
        for each in range(consumer._settled_tag + 1, tag + 1):
            consumer._channel.basic_ack(each)
        consumer._count(consumer._delivered_tag, tag)
        consumer._say_when_settled()

    Consumer._acknowledge = acknowledge  # type: ignore[method-assign,assignment]


VARIANTS = {
    ("keep-alive", "off"): close_each_time,
    ("confirms", "none"): confirm_nothing,
    ("confirms", "each"): confirm_each,
    ("messages", "transient"): send_transient,
    ("acknowledge", "each"): acknowledge_each,
}


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
    """Serve as ``rabbitmq.insult_filter`` does, but changed."""
    setting, value, *options = argv
    apply(setting, value)
    return rabbitmq.insult_filter.main(options)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
