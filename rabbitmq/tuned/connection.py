"""A connection to RabbitMQ in an I/O thread of its own. It is opened again when it breaks.

Replaced parts of pika: those of :mod:`~rabbitmq.tuned.frames`.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from itertools import takewhile
from typing import Generic, TypeVar

import pika
from pika.channel import Channel
from pika.exceptions import (
    AMQPError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionClosedByClient,
)
from pika.spec import Basic

from lab.brokers import redacted
from lab.client.retry import PROBE_SECONDS, Backoff
from lab.errors import Code, InvalidRequest, LabError, Unavailable
from lab.validation import clean_address

from .frames import BoundedAssembler, GatheringConnection

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 4
"""The broker gives the work of a silent node to others after two to three of these."""
CONNECT_SECONDS = 5.0
NOT_FOUND = 404
BLOCKED = "RabbitMQ takes nothing for now: it is out of memory or disk; try again later"
UNTIL_THE_BROKER_SERVES = Backoff(0.1, 1.0)
# pika logs every failed attempt with a traceback. We log one line.
logging.getLogger("pika").setLevel(logging.CRITICAL)

Published = TypeVar("Published")


class Confirms(Generic[Published]):
    """The messages of a channel that the broker has not confirmed, by their numbers.

    The broker confirms one message, or all up to a number. Single confirms come in any order, because one
    queue does not wait for another.
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
        """Return the messages that *method* confirms or refuses, and forget them."""
        tag = method.delivery_tag
        if not method.multiple:
            return [self._waiting.pop(tag)] if tag in self._waiting else []
        tags = list(takewhile(lambda each: each <= tag, self._waiting))
        return [self._waiting.pop(each) for each in tags]

    @property
    def oldest(self) -> int:
        """The number of the oldest message that is not confirmed. If all are, the number of the next one."""
        return next(iter(self._waiting), self.published + 1)

    @property
    def waiting(self) -> list[Published]:
        """The messages that are not confirmed."""
        return list(self._waiting.values())

    def clear(self) -> None:
        """Begin again at 1, for a new channel."""
        self._waiting.clear()
        self.published = 0


class Connection:
    """A connection that calls *set_up* whenever it is open; *set_up* calls :meth:`ready` when it is done.

    Other threads give the I/O thread work by :meth:`call`, or do it in its place by :meth:`do`. This work,
    and all that the I/O thread calls, is done one at a time. It calls *on_lost* when the connection broke,
    and *on_blocked* when the broker takes no messages because it is out of memory or disk. A blocked
    connection is kept: a new one would be blocked, too, and deliveries would be lost.
    *on_refused* is called with the reason if the broker will refuse the next connection, too: it does not
    permit something, or a queue is of another kind. The connection is opened again all the same.
    """

    def __init__(
        self,
        url: str,
        set_up: Callable[["Connection"], None],
        on_lost: Callable[[], None],
        on_blocked: Callable[[], None] = lambda: None,
        on_refused: Callable[[LabError], None] = lambda error: None,
    ) -> None:
        self._url = url
        self._parameters = _parameters(url)
        self._set_up = set_up
        self._on_lost = on_lost
        self._on_blocked = on_blocked
        self._on_refused = on_refused
        self.is_blocked = False
        """The broker reads nothing from us now: it is out of memory or disk."""
        self._connection: GatheringConnection | None = None
        self._lock = threading.RLock()
        self._first: Future[None] = Future()
        self._stopping = False
        self._in_doubt = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="amqp", daemon=True)

    def start(self) -> None:
        """Connect and set up. Raise Unavailable or InvalidRequest if the first attempt fails."""
        self.begin()
        try:
            self._first.result(CONNECT_SECONDS * 2)
        except TimeoutError as error:
            self.close()
            raise Unavailable(f"RabbitMQ at {redacted(self._url)} does not answer") from error
        except LabError:
            self.close()
            raise

    def begin(self) -> None:
        """Connect in the background, if that did not begin before."""
        if self._thread.ident is None and not self._stopping:
            self._thread.start()

    def call(self, work: Callable[[], None]) -> bool:
        """Let the I/O thread do *work*; False if there is no connection just now."""
        connection = self._connection
        if connection is None:
            return False
        connection.ioloop.add_callback_threadsafe(lambda: self._gather(connection, work))
        return True

    def do(self, work: Callable[[], None]) -> bool:
        """Do *work* in this thread; False if there is no connection just now.

        It saves the hand-over to the I/O thread, and that costs more than a short *work*.
        """
        connection = self._connection
        if connection is None:
            return False
        try:
            self._gather(connection, work)
        except AMQPError:  # the connection has just ended, and all that *work* does is done again
            return False
        except BaseException:  # an interrupt: nobody knows what was sent
            self.call(lambda: self.reconnect("a call was interrupted"))
            raise
        return True

    @staticmethod
    def _gather(connection: GatheringConnection, work: Callable[[], None]) -> None:
        with connection.gathering():
            work()

    def probe(self) -> None:
        """Ask the broker something. If nothing at all comes back in a while, open a new connection.

        A network may drop all packets without an error, and heartbeats notice that after 9 to 18 s.
        """
        self.call(self._ask)

    def open_channel(
        self,
        then: Callable[[Channel], None],
        on_cancel: Callable[[str], None] | None = None,
        on_missing: Callable[[], None] | None = None,
    ) -> None:
        """Open a channel and call *then* with it. If the broker closes the channel, connect again.

        When a queue is deleted, the broker cancels its consumers. Then *on_cancel* is called with the
        consumer's tag. Without *on_cancel*, connect again; then all is declared and consumed again.
        *on_missing* is called, and the connection kept, if the channel is closed because a queue is missing.
        """

        def closed(channel: Channel, error: Exception) -> None:
            is_missing = isinstance(error, ChannelClosedByBroker) and error.reply_code == NOT_FOUND
            if on_missing and is_missing and self._connection and self._connection.is_open:
                on_missing()
            else:
                self._channel_closed(channel, error)

        def cancelled(frame: object) -> None:
            if on_cancel:
                on_cancel(frame.method.consumer_tag)  # type: ignore[attr-defined]
            else:
                self.reconnect("a queue that this process reads was deleted")

        def opened(channel: Channel) -> None:
            channel._content_assembler = BoundedAssembler()
            channel.add_on_close_callback(closed)
            channel.add_on_cancel_callback(cancelled)
            then(channel)

        if self._connection:
            self._connection.channel(on_open_callback=opened)

    @property
    def failure(self) -> str:
        """Why there is no connection, as the end of a sentence; empty if there is one, or no reason."""
        reason = str(self._failure or "")
        return f" ({reason})" if reason else ""

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do *work* in *seconds*, if this connection is still open then. Call it in the I/O thread."""
        connection = self._connection

        def work_if_connected() -> None:
            if connection is self._connection and connection and connection.is_open:
                self._gather(connection, work)

        if connection:
            connection.ioloop.call_later(seconds, work_if_connected)

    def reconnect(self, why: str) -> None:
        """Close the connection and open another; log *why*. Call it in the I/O thread."""
        connection = self._connection
        if connection and connection.is_open:
            self._failed(AMQPError(why))
            connection.close()

    def ready(self) -> None:
        """End the set-up: :meth:`start` returns."""
        self._failure = None
        with suppress(InvalidStateError):
            self._first.set_result(None)

    def close(self) -> None:
        """Send what was published, close the connection, end the thread."""
        self._stopping = True
        self.call(self._close)
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(CONNECT_SECONDS)

    def _close(self) -> None:
        if self._connection and not (self._connection.is_closing or self._connection.is_closed):
            self._connection.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            connected_at = time.monotonic()
            self._connect()
            self.is_blocked = self._in_doubt = False
            with self._lock:
                self._on_lost()
            served_seconds = time.monotonic() - connected_at
            is_stable = self._first.done() and served_seconds > UNTIL_THE_BROKER_SERVES.longest_seconds
            failures = 1 if is_stable else failures + 1
            if not self._stopping:
                time.sleep(UNTIL_THE_BROKER_SERVES.pause(failures))

    def _connect(self) -> None:
        """Connect and serve until the connection ends."""
        connection = None
        try:
            connection = GatheringConnection(
                self._lock,
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
            if not self._stopping:  # pika raises it if a connection is closed while it opens
                raise
        finally:
            self._connection = None
            if connection:
                connection.ioloop.close()  # pika does not close the sockets that wake its loop

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
        # A blocked broker reads no questions either.
        if connection is None or not connection.is_open or self.is_blocked or self._in_doubt:
            return
        self._in_doubt = True
        heard_bytes = connection.bytes_received
        connection.channel(on_open_callback=lambda channel: channel.close())

        def judge() -> None:
            self._in_doubt = False
            if connection.is_open and connection.bytes_received == heard_bytes and not self.is_blocked:
                silence = AMQPHeartbeatTimeout(f"the connection is silent: no answer for {PROBE_SECONDS:g} s")
                connection._terminate_stream(silence)  # close() would wait for an answer

        connection.ioloop.call_later(PROBE_SECONDS, judge)

    def _ended(self, connection: pika.SelectConnection, error: Exception | str) -> None:
        connection.ioloop.stop()
        is_logged = isinstance(error, ConnectionClosedByClient)  # what we close, we log at that moment
        if not self._stopping and not is_logged:
            self._failed(error if isinstance(error, Exception) else AMQPError(error))

    def _channel_closed(self, channel: Channel, error: Exception) -> None:
        if self._connection and self._connection.is_open:
            self._failed(error)
            self._connection.close()

    def _failed(self, error: Exception) -> None:
        refusal = _refusal(error)
        reason = str(error) or type(error).__name__
        if not self._first.done():
            away = f"RabbitMQ at {redacted(self._url)} does not serve: {reason}; is it running?"
            self._first.set_exception(refusal or Unavailable(away))
        elif self._failure is None:
            log.warning("%s; connecting again", refusal or f"RabbitMQ: {reason}")
        if refusal:
            self._on_refused(refusal)
        self._failure = error


def _refusal(error: Exception) -> LabError | None:
    """Return the error for what will not pass by itself; None for anything else."""
    if "inequivalent arg" in str(error):
        return InvalidRequest(
            Code.MALFORMED,
            f"a queue or exchange of that name is of another kind: {error}; use another --namespace",
        )
    if "ACCESS_REFUSED" in str(error) or "NOT_ALLOWED" in str(error):
        return Unavailable(f"RabbitMQ does not permit it: {error}")
    return None


def _parameters(url: str) -> pika.URLParameters:
    clean_address(url, "amqp", "amqps")
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, LookupError) as error:
        raise InvalidRequest(Code.MALFORMED, f"not an AMQP URL: {redacted(url)}") from error
    parameters.heartbeat = HEARTBEAT_SECONDS
    parameters.socket_timeout = parameters.stack_timeout = CONNECT_SECONDS
    parameters.connection_attempts = 1
    return parameters
