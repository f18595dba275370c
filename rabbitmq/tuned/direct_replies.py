"""Replies to direct-reply-to names, on a connection of their own.

RabbitMQ 3.10 closes a connection that publishes to a damaged name of this kind. The names are for the broker
alone to read: a node cannot tell a good one from one with a letter changed.
"""

import logging
from collections import deque

from pika.channel import Channel

from .connection import Confirms, Connection
from .wire import Message

log = logging.getLogger(__name__)

MOST_WAITING = 5_000
"""Replies that wait for the connection. The oldest are dropped first."""
MOST_UNCONFIRMED = 200


class DirectReplies:
    """Publishes replies after their requests are acknowledged: a damaged name costs its own reply alone.

    If the connection breaks, each reply that RabbitMQ has not confirmed may be the cause. They are published
    again one by one. The one that breaks the connection alone is dropped. So a reply may come twice.
    """

    def __init__(self, url: str) -> None:
        self._connection = Connection(
            url, lambda connection: connection.open_channel(self._set_up), self._lost
        )
        self._waiting: deque[Message] = deque(maxlen=MOST_WAITING)
        self._confirms: Confirms[Message] = Confirms()
        self._one_by_one = 0
        """How many of the oldest replies are published one by one."""
        self._channel: Channel | None = None
        self.start = self._connection.start
        self.close = self._connection.close

    def send(self, reply: Message) -> None:
        """Publish *reply* as soon as there is a connection. Wait for nothing."""
        self._waiting.append(reply)
        self._connection.begin()
        self._connection.call(self._flush)

    # In the I/O thread.

    def _set_up(self, channel: Channel) -> None:
        def confirming(_: object) -> None:
            self._channel = channel
            self._connection.ready()
            self._flush()

        channel.confirm_delivery(self._confirmed, callback=confirming)

    def _flush(self) -> None:
        most = 1 if self._one_by_one else MOST_UNCONFIRMED
        while self._channel and self._channel.is_open and self._waiting:
            if self._confirms.published - self._confirms.oldest + 1 >= most:
                return
            reply = self._waiting.popleft()
            reply.publish(self._channel)
            self._confirms.add(reply)

    def _confirmed(self, frame: object) -> None:
        settled = self._confirms.settle(frame.method)  # type: ignore[attr-defined]
        self._one_by_one = max(0, self._one_by_one - len(settled))
        self._flush()

    def _lost(self) -> None:
        unconfirmed = self._confirms.waiting
        self._channel = None
        self._confirms.clear()
        if len(unconfirmed) > 1:
            self._one_by_one = len(unconfirmed)
            self._waiting.extendleft(reversed(unconfirmed))
        elif unconfirmed:
            self._one_by_one = max(0, self._one_by_one - 1)
            log.warning(
                "a reply was dropped: RabbitMQ closed the connection at %r", unconfirmed[0].routing_key
            )
