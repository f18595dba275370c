"""Send events, know which of them the broker keeps, and see them finished.

``python -m dynamic.publisher --rate 285`` sends them in a terminal of its own, until Ctrl-C."""

import argparse
import logging
import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from dynamic.events import EventNames, declare_events, event
from dynamic.simulator.benchmark import SIMULATED
from lab.bootstrap import INTERRUPTED, WRONG_USAGE, run_program
from lab.brokers import locate_rabbitmq
from lab.contract import Closing
from lab.errors import InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.load.plans import Plan
from lab.load.profiles import PUBLISHER_RATE, from_trace
from lab.load.texts import corpus_texts, generated_texts
from lab.options import client_parser, interval, positive, whole_number
from lab.process.node import STOP_SIGNALS, die_with
from lab.settings import settings
from rabbitmq.tuned.connection import Confirms, Connection
from rabbitmq.tuned.wire import Message, arguments_of

MOST_UNCONFIRMED = 100_000
"""Events kept for the time that the broker is away or slow; beyond, sending is refused."""
FULL_SECONDS = 0.1
"""How long nothing more is sent after the broker refused an event."""
RESTORE_SECONDS = 1.0
"""How often queues and exchange are declared while events are sent. The broker returns an event that reaches
no queue; it does not tell that only Work_queue was deleted."""
COMPLETIONS_PREFETCH = 1000

Finished = Callable[[str, int, bytes], None]
"""Told an event's id, when its answer came (nanoseconds of the monotonic clock), and the answer."""


class _Connected(Closing):
    """Has a connection to RabbitMQ, and closes it; a context manager."""

    _connection: Connection

    def close(self) -> None:
        self._connection.close()


class EventSender(_Connected):
    """Publishes to the events' exchange; safe to call from one thread beside its own.

    At least once: what was not confirmed before a connection broke is sent again under the same id. What the
    broker refuses is not sent again; :attr:`refused` counts it.
    """

    def __init__(self, url: str, names: EventNames, queue_type: str = "") -> None:
        self._names = names
        self._queue_type = queue_type or settings().queue_type
        self._waiting: dict[str, Message] = {}
        """Not confirmed, by event id, in the order in which they were sent."""
        self._confirms = Confirms[str]()
        self._sent: set[str] = set()
        """Those of them that are on their way on the present connection."""
        self._unrouted: set[str] = set()
        """Those of them that the broker returned, because they reached no queue."""
        self._repeated: set[str] = set()
        """Those that are published a second time because of that."""
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._is_restoring = False
        self._declared_at = self._full_until = 0.0
        self.confirmed = 0
        """Events that the broker keeps for sure."""
        self.refused = 0
        """Events that the broker does not keep: Work_queue is full, or none can be declared."""
        self._connection = Connection(url, self._set_up, self._lost)
        self._connection.start()

    @property
    def unconfirmed(self) -> int:
        """Events sent, or kept to be sent, of which the broker has not said whether it keeps them."""
        return len(self._waiting)

    def send(self, text: str, event_id: str, due_ns: int, reply_to: str = "") -> None:
        """Send an event; Overloaded if the broker has just refused one, or if too many wait already."""
        if time.monotonic() < self._full_until:
            raise Overloaded(f"RabbitMQ refused an event: {self._names.work} is full")
        if len(self._waiting) >= MOST_UNCONFIRMED:
            raise Overloaded(f"{MOST_UNCONFIRMED} events are not confirmed; RabbitMQ takes no more now")
        message = event(self._names, text, event_id, due_ns, reply_to)
        with self._lock:
            self._waiting[event_id] = message
        self._connection.call(lambda: self._publish(event_id, message))

    def settle(self, timeout_seconds: float) -> bool:
        """Wait until the broker has confirmed or refused everything; False if that takes longer."""
        deadline = time.monotonic() + timeout_seconds
        while self._waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._waiting

    # In the I/O thread.

    def _publish(self, event_id: str, message: Message) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:  # it is sent when there is a connection again
            return
        if event_id in self._sent or event_id not in self._waiting:  # a new connection has sent it already
            return
        if time.monotonic() - self._declared_at > RESTORE_SECONDS:
            self._restore(channel)
        channel.basic_publish(
            message.exchange, message.routing_key, message.body, message.properties, mandatory=True
        )
        self._sent.add(event_id)
        self._confirms.add(event_id)

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        channel.add_on_return_callback(self._not_routed)
        self._declared_at = time.monotonic()
        declare_events(
            channel,
            self._names,
            self._queue_type,
            lambda _: channel.confirm_delivery(self._confirmed, callback=lambda _: self._ready(channel)),
        )

    def _restore(self, channel: Channel) -> None:
        """Declare what may have been deleted, then publish again what reached no queue."""
        if self._is_restoring or channel is not self._channel:
            return
        self._is_restoring = True
        self._declared_at = time.monotonic()
        declare_events(channel, self._names, self._queue_type, lambda _: self._restored())

    def _restored(self) -> None:
        self._is_restoring = False
        for event_id in self._repeated - self._sent:
            message = self._waiting.get(event_id)
            if message:
                self._publish(event_id, message)

    def _ready(self, channel: Channel) -> None:
        self._channel = channel
        with self._lock:
            again = list(self._waiting.items())
        for event_id, message in again:
            self._publish(event_id, message)
        self._connection.ready()

    def _not_routed(
        self, channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes
    ) -> None:
        """Note an event that reached no queue; the broker confirms it right afterwards."""
        self._unrouted.add(properties.message_id or "")

    def _confirmed(self, frame: object) -> None:
        method = frame.method  # type: ignore[attr-defined]
        for event_id in self._confirms.settle(method):
            self._settled(event_id, is_kept=isinstance(method, Basic.Ack))

    def _settled(self, event_id: str, *, is_kept: bool) -> None:
        message = self._waiting.get(event_id)
        if message is None:
            return
        self._sent.discard(event_id)
        is_unrouted = event_id in self._unrouted
        self._unrouted.discard(event_id)
        if is_kept and is_unrouted and event_id not in self._repeated:
            self._repeated.add(event_id)
            if self._channel:
                self._restore(self._channel)
            return
        self._repeated.discard(event_id)
        with self._lock:
            del self._waiting[event_id]
        if is_kept and not is_unrouted:
            self.confirmed += 1
        else:
            self.refused += 1
            self._full_until = time.monotonic() + FULL_SECONDS

    def _lost(self) -> None:
        self._channel, self._is_restoring = None, False
        self._confirms.clear()
        for events in (self._sent, self._unrouted, self._repeated):
            events.clear()


class Completions(_Connected):
    """Calls *finished*, in a thread of its own, for every answer in the namespace's queue of answers.

    The queue is durable and answers are as persistent as their events, so that a broker's restart loses none.
    A queue that is deleted is declared and consumed again. The answers in it are lost.
    """

    def __init__(self, url: str, names: EventNames, finished: Finished) -> None:
        self._names = names
        self._finished = finished
        self._connection = Connection(url, self._set_up, lambda: None)
        self._connection.start()

    # In the I/O thread.

    def _set_up(self, connection: Connection) -> None:
        connection.open_channel(self._declare)

    def _declare(self, channel: Channel) -> None:
        def declared(_: object) -> None:
            channel.basic_qos(prefetch_count=COMPLETIONS_PREFETCH)
            channel.basic_consume(
                self._names.done, self._received, callback=lambda _: self._connection.ready()
            )

        arguments = arguments_of("classic")
        channel.queue_declare(self._names.done, durable=True, arguments=arguments, callback=declared)

    def _received(
        self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes
    ) -> None:
        self._finished(properties.correlation_id or "", time.monotonic_ns(), body)
        channel.basic_ack(method.delivery_tag)


SAY_SECONDS = 1.0
RATE = positive("a rate", most=1e6)


class _Stopped(BaseException):
    """A signal asked for the end. A second signal ends the wait for confirms."""

    def __init__(self, number: int) -> None:
        self.code = INTERRUPTED if number == signal.SIGINT else 0


def main(argv: list[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=settings().log_level, format="%(levelname)s %(name)s: %(message)s")
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        die_with(settings().parent)
        offsets = _offsets(arguments)
        texts = corpus_texts(arguments.corpus) if arguments.corpus else generated_texts(arguments.seed)
        url = arguments.address or locate_rabbitmq()
        with EventSender(url, EventNames(arguments.namespace)) as sender:
            return _Publisher(sender, texts).run(offsets)
    except _Stopped as stopped:  # before the first event, or again at the end
        return stopped.code
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except LabError as error:
        print(f"publisher: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, InvalidRequest | Unavailable) else 1
    finally:
        for number in STOP_SIGNALS:  # the code is settled
            signal.signal(number, signal.SIG_IGN)


class _Publisher:
    def __init__(self, sender: EventSender, texts: Iterator[str]) -> None:
        self._sender = sender
        self._texts = texts
        self._run = uuid4().hex[:12]
        self._sent = self._refused = 0
        self._said = time.monotonic()

    def run(self, offsets: Iterator[float]) -> int:
        """Send an event at each of *offsets*, seconds from now; wait for what is not confirmed."""
        code = 0
        try:
            self._send(offsets)
        except _Stopped as stopped:
            code = stopped.code
        all_kept = self._sender.settle(DRAIN_SECONDS)
        self._say()
        if not all_kept:
            print(
                f"{self._sender.unconfirmed} events were never confirmed: RabbitMQ is away", file=sys.stderr
            )
        return code or int(not all_kept or bool(self._all_refused))

    def _send(self, offsets: Iterator[float]) -> None:
        start = time.monotonic()
        for offset in offsets:
            while (left := start + offset - time.monotonic()) > 0:
                time.sleep(min(left, SAY_SECONDS))
                self._say_now_and_then()
            self._say_now_and_then()
            try:
                self._sender.send(
                    next(self._texts), f"{self._run}-{self._sent}", round((start + offset) * 1e9)
                )
                self._sent += 1
            except Overloaded:  # the plan goes on; what is refused is counted
                self._refused += 1

    @property
    def _all_refused(self) -> int:
        """Events that were not sent because the broker takes none, and those that it refused."""
        return self._refused + self._sender.refused

    def _say_now_and_then(self) -> None:
        if time.monotonic() - self._said >= SAY_SECONDS:
            self._said = time.monotonic()
            self._say()

    def _say(self) -> None:
        refused = f", {self._all_refused} refused: Work_queue is full" if self._all_refused else ""
        print(
            f"{time.strftime('%H:%M:%S')}  {self._sent} sent, {self._sender.confirmed} confirmed{refused}",
            flush=True,
        )


def _stop(number: int, frame: object) -> NoReturn:
    raise _Stopped(number)


def _offsets(arguments: argparse.Namespace) -> Iterator[float]:
    """Return when events are due, seconds from the start."""
    end = math.inf if arguments.seconds is None else arguments.seconds
    if arguments.profile or arguments.trace:
        if arguments.trace:
            profile = from_trace(arguments.trace, arguments.speed, arguments.scale)
        else:
            profile = SIMULATED[arguments.profile](arguments.seed)
        seconds = min(end, profile.duration_seconds)
        plan = Plan.following(profile, seconds, arguments.seed, arguments.poisson)
        return iter((plan.due_ns / 1e9).tolist())
    if arguments.poisson:
        return takewhile(lambda due: due < end, _poisson(arguments.rate, random.Random(arguments.seed)))
    return takewhile(lambda due: due < end, (number / arguments.rate for number in count()))


def _poisson(rate: float, draw: random.Random) -> Iterator[float]:
    due = 0.0
    while True:
        due += draw.expovariate(rate)
        yield due


def _parser() -> argparse.ArgumentParser:
    parser = client_parser("dynamic.publisher", "Send events to Work_queue and Count_queue until Ctrl-C.")
    load = parser.add_mutually_exclusive_group()
    load.add_argument("--rate", type=RATE, default=PUBLISHER_RATE, metavar="N", help="events per second")
    load.add_argument("--profile", choices=SIMULATED, help="instead: rates that change, as in the simulator")
    load.add_argument("--trace", type=Path, metavar="FILE", help="instead: a CSV file of timestamp,value")
    parser.add_argument("--speed", type=RATE, default=1.0, help="of the trace: so many times faster")
    parser.add_argument("--scale", type=RATE, default=1.0, help="of the trace: so many times as many")
    parser.add_argument("--poisson", action="store_true", help="arrivals as of many independent clients")
    parser.add_argument("--seconds", type=interval, metavar="TIME", help="end after this time")
    parser.add_argument("--seed", type=whole_number(0, 2**63), default=1, help="of texts and arrivals")
    parser.add_argument("--corpus", type=Path, metavar="FILE", help="send its lines, not generated texts")
    return parser


if __name__ == "__main__":
    raise SystemExit(run_program(main))
