"""``python -m dynamic.publisher --rate 285``: send events, in a terminal of its own, until Ctrl-C."""

import argparse
import logging
import math
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from itertools import count, takewhile
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

from dynamic.events import EventNames
from dynamic.events.sender import EventSender
from dynamic.simulator.benchmark import SIMULATED
from lab.bootstrap import INTERRUPTED, WRONG_USAGE, run_program
from lab.brokers import locate_rabbitmq
from lab.errors import InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.load.plans import Plan
from lab.load.profiles import PUBLISHER_RATE, from_trace
from lab.load.texts import corpus_texts, generated_texts
from lab.options import client_parser, interval, positive, whole_number
from lab.process.node import STOP_SIGNALS, die_with
from lab.settings import settings

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
