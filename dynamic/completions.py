"""See events finished: an experiment has its events answered to a queue, and takes what comes."""

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from dynamic.events import EventNames
from rabbitmq.transport import Link, arguments_of

log = logging.getLogger(__name__)

PREFETCH = 1000

Finished = Callable[[str, int, bytes], None]
"""Told an event's id, when its answer came (nanoseconds of the monotonic clock), and the answer."""


class Completions:
    """Calls *finished*, in a thread of its own, for every answer in the namespace's queue of answers.

    The queue is durable and answers are as persistent as their events, so that a broker's restart loses none.
    If somebody deletes the queue, it is declared again; answers that were in it are lost.
    """

    def __init__(self, url: str, names: EventNames, finished: Finished) -> None:
        self._names = names
        self._finished = finished
        self._link = Link(url, self._set_up, lambda: None)
        self._link.start()

    def close(self) -> None:
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # In the I/O thread.

    def _set_up(self, link: Link) -> None:
        link.open_channel(self._opened)

    def _opened(self, channel: Channel) -> None:
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.add_on_cancel_callback(lambda _: self._cancelled(channel))
        self._declare(channel)

    def _cancelled(self, channel: Channel) -> None:
        log.warning("the queue %s was deleted: declaring it and consuming it again", self._names.done)
        self._declare(channel)

    def _declare(self, channel: Channel) -> None:
        def declared(_: object) -> None:
            channel.basic_consume(self._names.done, self._received, callback=lambda _: self._link.ready())

        arguments = arguments_of("classic")
        channel.queue_declare(self._names.done, durable=True, arguments=arguments, callback=declared)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._finished(properties.correlation_id or "", time.monotonic_ns(), body)
        channel.basic_ack(method.delivery_tag)
