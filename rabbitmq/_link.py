"""A connection to RabbitMQ in an I/O thread of its own, opened again whenever it breaks."""

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import takewhile
from typing import Generic, TypeVar

import pika
from pika.adapters.utils.io_services_utils import _AsyncTransportBase
from pika.channel import Channel
from pika.exceptions import AMQPError, AMQPHeartbeatTimeout
from pika.spec import Basic

from lab.brokers import redacted
from lab.client.retry import PROBE_SECONDS
from lab.errors import Code, InvalidRequest, LabError, Unavailable

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 4
"""The broker gives the work of a silent node to others after two to three of these."""
CONNECT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
# pika logs every failed attempt with a traceback; what matters of it is said here, in a line.
logging.getLogger("pika").setLevel(logging.CRITICAL)
# pika takes 4 KiB at a time, and copies what it has of a frame each time. Private, but a constant.
_AsyncTransportBase._MAX_RECV_BYTES = 16 * 1024

Published = TypeVar("Published")


class Confirms(Generic[Published]):
    """What was published on a channel and is not confirmed yet, by its number.

    The broker may confirm one message, or all up to a number. Single confirms come in any order: those of
    different queues do not wait for each other.
    """

    def __init__(self) -> None:
        self.published = 0
        """The number of the last message on this channel; the first one is 1."""
        self._waiting: dict[int, Published] = {}

    def add(self, published: Published) -> None:
        """Note that *published* was sent now."""
        self.published += 1
        self._waiting[self.published] = published

    def settle(self, method: Basic.Ack | Basic.Nack) -> list[Published]:
        """Return, and forget, what the broker's *method* is about."""
        tag = method.delivery_tag
        if not method.multiple:
            return [self._waiting.pop(tag)] if tag in self._waiting else []
        tags = list(takewhile(lambda each: each <= tag, self._waiting))
        return [self._waiting.pop(each) for each in tags]

    @property
    def oldest(self) -> int:
        """The number of the oldest message that is not confirmed; if there is none, of the next one."""
        return next(iter(self._waiting), self.published + 1)

    @property
    def waiting(self) -> list[Published]:
        """What is not confirmed."""
        return list(self._waiting.values())

    def clear(self) -> None:
        """Begin again at 1, for a new channel."""
        self._waiting.clear()
        self.published = 0


class Link:
    """Calls *set_up* with each new connection's channel opener; :meth:`ready` when that is done.

    All AMQP is done in the I/O thread; other threads hand it work with :meth:`call`. There, *on_lost* is
    called when a connection broke, and *on_blocked* when the broker takes no messages because it is out of
    memory or disk. The connection is kept meanwhile: a new one would be no better, and would lose what is
    under way.
    """

    def __init__(
        self,
        url: str,
        set_up: Callable[["Link"], None],
        on_lost: Callable[[], None],
        on_blocked: Callable[[], None] = lambda: None,
    ) -> None:
        self._url = url
        self._parameters = _parameters(url)
        self._set_up = set_up
        self._on_lost = on_lost
        self._on_blocked = on_blocked
        self.is_blocked = False
        """The broker reads nothing from us for now: it is out of memory or disk."""
        self._connection: pika.SelectConnection | None = None
        self._first: Future[None] = Future()
        self._stopping = False
        self._in_doubt = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    def start(self) -> None:
        """Connect; raise Unavailable or InvalidRequest if the first attempt does not come through."""
        self._thread.start()
        try:
            self._first.result(CONNECT_SECONDS * 2)
        except TimeoutError as error:
            self.close()
            raise Unavailable(f"RabbitMQ at {redacted(self._url)} does not answer") from error
        except LabError:
            self.close()
            raise

    def call(self, work: Callable[[], None]) -> bool:
        """Let the I/O thread do *work*; False if there is no connection just now."""
        connection = self._connection
        if connection is None:
            return False
        connection.ioloop.add_callback_threadsafe(work)
        return True

    def doubt(self) -> None:
        """Ask the broker something; if nothing at all comes for a while, open the connection anew.

        A network that swallows what is sent says so to nobody, and heartbeats take 9 to 18 s to tell.
        """
        self.call(self._ask)

    def open_channel(
        self, then: Callable[[Channel], None], on_cancel: Callable[[str], None] | None = None
    ) -> None:
        """Open a channel and call *then* with it. A channel that the broker closes ends the connection.

        The broker cancels a consumer when its queue is deleted. *on_cancel* is told the consumer's tag;
        without it the connection is opened again, and so everything is declared and consumed again.
        """

        def cancelled(frame: object) -> None:
            if on_cancel:
                on_cancel(frame.method.consumer_tag)  # type: ignore[attr-defined]
            else:
                self.reconnect("a queue that this process reads was deleted")

        def opened(channel: Channel) -> None:
            channel.add_on_close_callback(self._channel_closed)
            channel.add_on_cancel_callback(cancelled)
            then(channel)

        if self._connection:
            self._connection.channel(on_open_callback=opened)

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do *work* in *seconds* if this connection is still there then. To be called in the I/O thread."""
        connection = self._connection

        def work_if_connected() -> None:
            if connection is self._connection and connection and connection.is_open:
                work()

        if connection:
            connection.ioloop.call_later(seconds, work_if_connected)

    def reconnect(self, why: str) -> None:
        """Close the connection and open another; say *why* in the log. To be called in the I/O thread."""
        connection = self._connection
        if connection and connection.is_open:
            self._failed(AMQPError(why))
            connection.close()

    def ready(self) -> None:
        """Say that what *set_up* began is done."""
        self._failure = None
        with suppress(InvalidStateError):
            self._first.set_result(None)

    def close(self) -> None:
        """Close the connection, having sent what was written, and end the thread."""
        self._stopping = True
        self.call(self._close)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(CONNECT_SECONDS)

    def _close(self) -> None:
        if self._connection and not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()

    def _run(self) -> None:
        pause_seconds = FIRST_PAUSE_SECONDS
        while not self._stopping:
            connected_at = time.monotonic()
            self._connect()
            self.is_blocked = self._in_doubt = False
            self._on_lost()
            if self._first.done() and time.monotonic() - connected_at > LONGEST_PAUSE_SECONDS:
                pause_seconds = FIRST_PAUSE_SECONDS
            if not self._stopping:
                time.sleep(pause_seconds * random.uniform(0.5, 1.0))
                pause_seconds = min(LONGEST_PAUSE_SECONDS, 2 * pause_seconds)

    def _connect(self) -> None:
        """Connect and serve until the connection ends."""
        try:
            connection = pika.SelectConnection(
                self._parameters,
                on_open_callback=self._opened,
                on_open_error_callback=self._ended,
                on_close_callback=self._ended,
            )
            self._connection = connection
            connection.ioloop.start()
        except (AMQPError, OSError) as error:
            self._failed(error)
        except AssertionError:
            if not self._stopping:  # pika's, for a connection that is closed while it opens
                raise
        finally:
            self._connection = None

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        self._set_up(self)

    def _blocked(self, connection: pika.SelectConnection, frame: object) -> None:
        log.warning("RabbitMQ takes nothing for now: it is out of memory or disk")
        self.is_blocked = True
        self._on_blocked()

    def _unblocked(self, connection: pika.SelectConnection, frame: object) -> None:
        log.warning("RabbitMQ takes messages again")
        self.is_blocked = False

    def _ask(self) -> None:
        connection = self._connection
        # A broker that takes nothing for now does not read questions either.
        if connection is None or not connection.is_open or self.is_blocked or self._in_doubt:
            return
        self._in_doubt = True
        heard_bytes = connection.bytes_received
        connection.channel(on_open_callback=lambda channel: channel.close())

        def judge() -> None:
            self._in_doubt = False
            if connection.is_open and connection.bytes_received == heard_bytes and not self.is_blocked:
                silence = AMQPHeartbeatTimeout(f"the connection is silent: no answer for {PROBE_SECONDS:g} s")
                connection._terminate_stream(silence)  # close() would wait for an answer, too

        connection.ioloop.call_later(PROBE_SECONDS, judge)

    def _ended(self, connection: pika.SelectConnection, error: Exception | str) -> None:
        connection.ioloop.stop()
        if not self._stopping:
            self._failed(error if isinstance(error, Exception) else AMQPError(error))

    def _channel_closed(self, channel: Channel, error: Exception) -> None:
        if self._connection and self._connection.is_open:
            self._failed(error)
            self._connection.close()

    def _failed(self, error: Exception) -> None:
        if not self._first.done():
            self._first.set_exception(self._translated(error))
        elif self._failure is None:
            log.warning("RabbitMQ: %s; connecting again", error or type(error).__name__)
        self._failure = error

    def _translated(self, error: Exception) -> LabError:
        if "PRECONDITION_FAILED" in str(error):
            return InvalidRequest(
                Code.MALFORMED,
                f"a queue or exchange of that name is of another kind: {error}; use another --namespace",
            )
        reason = str(error) or type(error).__name__
        return Unavailable(f"RabbitMQ at {redacted(self._url)} does not serve: {reason}; is it running?")


def _parameters(url: str) -> pika.URLParameters:
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, LookupError) as error:
        raise InvalidRequest(Code.MALFORMED, f"not an AMQP URL: {redacted(url)}") from error
    parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.socket_timeout = parameters.stack_timeout = CONNECT_SECONDS
    parameters.connection_attempts = 1
    return parameters
