"""The controller's view of the broker: declare the queues, count arrivals, see what waits."""

import logging
from typing import Self

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError, ChannelClosedByBroker

from dynamic.events import EventNames
from lab.brokers import redacted
from lab.errors import Code, InvalidRequest, Unavailable
from rabbitmq.transport import arguments_of

log = logging.getLogger(__name__)

MOST_COUNTED = 1_000_000
"""Copies that Count_queue keeps: far above what comes between two readings, so that none is missed."""
EXPIRY_MS = 3_600_000
"""Count_queue goes an hour after the last controller."""
ANSWER_SECONDS = 3.0


class EventQueues:
    """A connection of the controller; opened again at the next call when it broke.

    Unavailable where RabbitMQ does not serve, InvalidRequest where a queue of that name is another one.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str) -> None:
        self._url = url
        self._names = names
        self._queue_type = queue_type
        self._connection: pika.BlockingConnection | None = None
        self._open_channel: BlockingChannel | None = None

    def __enter__(self) -> Self:
        self.declare()
        return self

    def __exit__(self, *exception: object) -> None:
        self._close()

    def declare(self) -> None:
        """Declare both queues behind their exchange, if they are not there."""
        self._channel()

    def take_arrivals(self) -> int:
        """Return how many events came since the last call: the purge counts what it deletes."""
        try:
            channel = self._channel()
            arrivals = int(channel.queue_purge(self._names.count).method.message_count)
            self._declare_count(channel)  # it expires if nobody does
        except (AMQPError, OSError) as error:
            raise self._lost(error) from error
        return arrivals

    def waiting(self) -> int:
        """Return how many events wait in Work_queue; a broker does not tell how many are in flight."""
        try:
            answer = self._channel().queue_declare(self._names.work, passive=True)
        except (AMQPError, OSError) as error:
            raise self._lost(error) from error
        return int(answer.method.message_count)

    def delete(self) -> None:
        """Delete the queues and exchanges of the namespace."""
        try:
            channel = self._channel()
            for queue in (*self._names.queues, self._names.count, self._names.done):
                channel.queue_delete(queue)
            for exchange in (self._names.events, self._names.broadcast):
                channel.exchange_delete(exchange)
        except (AMQPError, OSError) as error:
            raise self._lost(error) from error

    def _channel(self) -> BlockingChannel:
        if self._open_channel is not None and self._open_channel.is_open:
            return self._open_channel
        self._close()
        try:
            parameters = pika.URLParameters(self._url)
        except (ValueError, KeyError) as error:
            raise InvalidRequest(Code.MALFORMED, f"not an AMQP URL: {redacted(self._url)}") from error
        parameters.socket_timeout = parameters.stack_timeout = ANSWER_SECONDS
        parameters.blocked_connection_timeout = ANSWER_SECONDS
        try:
            self._connection = pika.BlockingConnection(parameters)
            channel = self._connection.channel()
            self._declare(channel)
        except (AMQPError, OSError) as error:
            raise self._lost(error) from error
        self._open_channel = channel
        return channel

    def _declare(self, channel: BlockingChannel) -> None:
        names = self._names
        channel.exchange_declare(names.events, "fanout", durable=True)
        channel.queue_declare(names.work, durable=True, arguments=arguments_of(self._queue_type))
        self._declare_count(channel)
        for queue in (names.work, names.count):
            channel.queue_bind(queue, names.events)

    def _declare_count(self, channel: BlockingChannel) -> None:
        arguments = {
            "x-queue-type": "classic",
            "x-max-length": MOST_COUNTED,
            "x-overflow": "drop-head",
            "x-expires": EXPIRY_MS,
        }
        channel.queue_declare(self._names.count, durable=True, arguments=arguments)

    def _lost(self, error: Exception) -> InvalidRequest | Unavailable:
        self._close()
        if isinstance(error, ChannelClosedByBroker) and error.reply_code == 406:
            message = f"a queue or exchange of that name is of another kind: {error.reply_text}"
            return InvalidRequest(Code.MALFORMED, f"{message}; use another --namespace")
        reason = str(error) or type(error).__name__
        return Unavailable(f"RabbitMQ at {redacted(self._url)} does not serve: {reason}; is it running?")

    def _close(self) -> None:
        connection, self._connection, self._open_channel = self._connection, None, None
        try:
            if connection is not None and connection.is_open:
                connection.close()
        except (AMQPError, OSError) as error:
            log.info("the connection to RabbitMQ was not closed: %r", error)
