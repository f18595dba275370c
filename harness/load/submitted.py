"""Texts for background work: each is submitted when it is due, and a reader beside waits for its result."""

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

from harness.load.workload import DEADLINE_SECONDS, Driver
from harness.record.ledger import Recorder
from lab.contract import InsultFilter, ResultPage, Target
from lab.errors import DeadlineExceeded, LabError
from lab.middleware import MIDDLEWARES

LOOK_SECONDS = 0.002
"""Between two looks at the result list, at least: a time may be too long by so much, and by one look."""
FEWEST, MOST = 64, 1000
"""Results of a page."""
SEEN = 20_000
"""Results that are remembered."""
STRAGGLER_SECONDS = 0.25
"""After which the result of the text that waits longest is asked for by its id."""
LOST_SECONDS = 20.0
"""Without any result: the texts that wait then are lost."""


class Waiting(NamedTuple):
    """A text that was submitted: what must become of it, when it was due and sent, and who counts it."""

    expected: str
    planned_ns: int
    sent_ns: int
    recorder: Recorder


class Follower:
    """Looks at the newest results all the time, and notes when the result of each text that waits is there.

    It passes over results of others, and those that it noted. One lock guards all that it notes.
    """

    def __init__(self, connect: Callable[[], InsultFilter]) -> None:
        self._connect = connect
        self._changed = threading.Condition()
        self._waiting: OrderedDict[str, Waiting] = OrderedDict()
        self._seen: OrderedDict[str, tuple[str, int]] = OrderedDict()
        """A text, and when it was seen: the result may be there before its submitter has the id."""
        self._owners: dict[str, Recorder] = {}
        """Who counts it, of results that were noted and are remembered."""
        threading.Thread(target=self._look_on, name="follower", daemon=True).start()

    def follow(self, petition_id: str, text: Waiting) -> None:
        """Note the result of *petition_id* as soon as it is there."""
        with self._changed:
            self._waiting[petition_id] = text
            if petition_id in self._seen:
                self._note(petition_id, *self._seen[petition_id])
            self._changed.notify_all()

    def wait_for(self, recorder: Recorder) -> None:
        """Wait until no text of *recorder* waits; give up those of which nothing is seen for 20 s."""
        left, deadline = -1, 0.0
        with self._changed:
            while mine := [one for one, text in self._waiting.items() if text.recorder is recorder]:
                if len(mine) != left:
                    left, deadline = len(mine), time.monotonic() + LOST_SECONDS
                if time.monotonic() > deadline:
                    for petition_id in mine:
                        del self._waiting[petition_id]
                self._changed.wait(LOST_SECONDS / 100)

    def _look_on(self) -> None:
        client, limit = self._connect(), MOST
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
            begun = time.monotonic()
            with suppress(LabError):  # it may come back; what is lost is counted by those who wait
                fresh = self._take(client.get_results(limit))
                if fresh == limit:
                    self._take(client.get_results(MOST))
                limit = min(MOST, FEWEST + 2 * fresh)
                while self._find_oldest(client):
                    pass  # more results came at once than a page holds
            time.sleep(max(LOOK_SECONDS, time.monotonic() - begun))

    def _take(self, page: ResultPage) -> int:
        """Note what is new on *page*; return how many results are."""
        seen_ns = time.perf_counter_ns()
        twice = {one for one, count in Counter(result.petition_id for result in page).items() if count > 1}
        with self._changed:
            fresh = [result for result in page if result.petition_id not in self._seen]
            for petition_id, text in fresh:
                self._seen[petition_id] = text, seen_ns
                self._note(petition_id, text, seen_ns)
            for petition_id in twice & self._owners.keys():
                self._owners.pop(petition_id).tally.duplicates += 1
            while len(self._seen) > SEEN:
                self._owners.pop(self._seen.popitem(last=False)[0], None)
            self._changed.notify_all()
        return len(fresh)

    def _find_oldest(self, client: InsultFilter) -> bool:
        """Ask for the result of the text that waits longest, if it waits long; tell whether it was there."""
        with self._changed:
            petition_id, text = next(iter(self._waiting.items()), ("", None))
        if not text or time.perf_counter_ns() - text.sent_ns < STRAGGLER_SECONDS * 1e9:
            return False
        try:
            found = client.result(petition_id, 0)
        except DeadlineExceeded:
            return False
        with self._changed:
            self._note(petition_id, found, time.perf_counter_ns())
        return True

    def _note(self, petition_id: str, text: str, seen_ns: int) -> None:
        waiting = self._waiting.pop(petition_id, None)
        if waiting:
            self._owners[petition_id] = waiting.recorder
            done_ns = max(seen_ns, waiting.sent_ns)
            waiting.recorder.answered(waiting.planned_ns, waiting.sent_ns, done_ns, text == waiting.expected)


class Submitter:
    """A client that submits texts. In an open loop a follower waits for the results, and not the client."""

    def __init__(self, client: InsultFilter, pool: list[tuple[str, str]], follower: Follower) -> None:
        self._client, self._pool, self._follower = client, pool, follower

    def submit(self, number: int, planned_ns: int, recorder: Recorder) -> None:
        """Submit text *number*; *recorder* is told when its result is there."""
        text, expected = self._pool[number % len(self._pool)]
        recorder.tally.made += 1
        sent_ns = time.perf_counter_ns()
        try:
            petition_id = self._client.submit(text)
        except LabError as error:
            recorder.tally.failed[error.code] += 1
        else:
            self._follower.follow(petition_id, Waiting(expected, planned_ns, sent_ns, recorder))

    def wait_for(self, recorder: Recorder) -> None:
        """Wait until the results of all texts of *recorder* are there, or lost."""
        self._follower.wait_for(recorder)

    def request(self, number: int) -> bool:
        text, expected = self._pool[number % len(self._pool)]
        return self._client.result(self._client.submit(text), DEADLINE_SECONDS) == expected

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Make one after the other."""
        return ((number, self.request(number)) for number in numbers)

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class SubmitSubject:
    """A filter to which texts are submitted; *pool* has them and what must become of them."""

    middleware: str
    target: Target
    pool: list[tuple[str, str]]

    def connect(self) -> Driver:
        client = _connected(self.middleware, self.target)
        return Submitter(client, self.pool, _follower(self.middleware, self.target))


def _connected(middleware: str, target: Target) -> InsultFilter:
    return MIDDLEWARES[middleware].filter_client(target, DEADLINE_SECONDS)


@cache
def _follower(middleware: str, target: Target) -> Follower:
    """One for all clients of a load generator."""
    return Follower(partial(_connected, middleware, target))
