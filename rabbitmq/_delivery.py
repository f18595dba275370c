"""A delivered message, who works on it and who watches that."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

from pika.channel import Channel
from pika.spec import BasicProperties

from ._wire import Message


class Delivery(NamedTuple):
    """A message that was delivered on a channel and is not acknowledged yet."""

    channel: Channel
    tag: int
    properties: BasicProperties
    body: bytes
    redelivered: bool = False
    """The broker has delivered it before, and was not told that it was finished."""


Handler = Callable[[Delivery], list[Message]]
"""Works on a delivery; returns what is to be published before it is acknowledged."""


class Watch(Protocol):
    """Is told what a lane is doing: for who scales nodes by what they have under way."""

    def beside(self) -> "Watch":
        """Return the watch of the lane of suspects, which works at the same time."""

    def under_way(self, messages: int) -> None:
        """So many messages are delivered and not acknowledged now."""

    def begin(self, properties: BasicProperties) -> None:
        """Work on a message begins."""

    def end(self) -> None:
        """Work on it ended, well or not."""
