"""Measure C: how many messages a second one worker does that is never idle, everything included."""

import time
from collections.abc import Iterable
from itertools import count, takewhile
from uuid import uuid4

from dynamic.events import EventNames
from dynamic.pool.client import PoolClient
from dynamic.sender import EventSender
from lab.errors import Unavailable

LOOK_SECONDS = 0.005
MOST_SENT = 20_000
FIRST_SECONDS = 20.0
"""For the worker to start, and to finish its first message."""


def calibrated_rate(
    pool: PoolClient, url: str, names: EventNames, texts: Iterable[str], seconds: float
) -> float:
    """Return messages per second of one worker of *pool* that has always one more waiting.

    It is watched from one finished message to another, for about *seconds*. Unavailable if it finishes none.
    """
    run = uuid4().hex[:12]
    feed = iter(texts)
    with EventSender(url, names) as sender:
        numbers = count()

        def feed_to(wanted: int) -> None:
            for number in takewhile(lambda number: number < wanted, numbers):
                sender.send(next(feed), f"{run}-{number}", time.monotonic_ns())

        feed_to(100)
        pool.scale(1)
        begin, done_before = _next_finished(pool, 0, FIRST_SECONDS)
        now, done = begin, done_before
        while now - begin < seconds and done < MOST_SENT:
            feed_to(min(MOST_SENT, 100 + done + (done - done_before)))  # never idle, whatever its rate
            now, done = _next_finished(pool, done, FIRST_SECONDS + seconds)
    return (done - done_before) / (now - begin)


def _next_finished(pool: PoolClient, done: int, timeout_seconds: float) -> tuple[float, int]:
    """Return when more than *done* messages were finished, and how many."""
    deadline = time.monotonic() + timeout_seconds
    while (now := time.monotonic()) < deadline:
        finished = pool.status().finished
        if finished > done:
            return now, finished
        time.sleep(LOOK_SECONDS)
    raise Unavailable("the worker finishes nothing; is its work longer than this takes?")
