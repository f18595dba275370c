"""More and more subscribers: how long a tick takes to reach the last of them."""

import logging
import signal
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from statistics import median

from harness.load.measure import Processes
from harness.probes.resources import component_pids, resident
from harness.record.measurement import Measurement, Usage
from harness.record.run import Point
from lab.addresses import allow_files
from lab.contract import Subscription, Target
from lab.errors import InternalError, LabError, Unavailable
from lab.middleware import MIDDLEWARES
from lab.options import duration
from lab.process.system import System

PROCESSES = 2
FILES_EACH = 8
"""Descriptors that a subscriber may need: it may be a server, with an event loop of its own."""
SUBSCRIBE_SECONDS = 60.0
"""For all subscribers. If it takes longer, they are too many for this machine."""
DEADLINE_SECONDS = 30.0
SKIPPED = 1
"""Ticks that do not count: connections to new subscribers are opened."""


def ticks(system: System, subscribers: int, seconds: float) -> Point:
    """Let so many subscribe; return how late each tick reached the last of them.

    A request of the point is a tick that came to one subscriber.
    """
    interval = duration(system.spec.interval)
    allow_files(subscribers * FILES_EACH)
    with system.service() as client, SubscriberProcesses(system.spec.middleware, system.target) as processes:
        client.add_insult("tonto")
        client.start_broadcast()
        try:
            processes.grow(subscribers)
        except LabError as error:
            said = f"{subscribers:,} subscribers were too many here: {error.message}"
            return _point(system, subscribers, {}, [], {}, said)
        heard = processes.listen(seconds)
        counted = dict(sorted(heard.items())[SKIPPED:-1])  # of the last one, some may come after the window
        if not counted:
            said = f"{len(heard)} ticks were heard, and {SKIPPED + 2} are needed"
            return _point(system, subscribers, {}, [], {}, said)
        memory = resident({**component_pids(system, system.urls), "harness": processes.pids})
        return _point(system, subscribers, counted, lateness(counted, interval), memory)


def _point(
    system: System,
    subscribers: int,
    heard: Mapping[int, "Delivery"],
    late_ms: Sequence[float],
    memory_mib: dict[str, float],
    objection: str = "",
) -> Point:
    made, done = subscribers * len(heard), sum(one.count for one in heard.values())
    if done < made:
        objection = f"{made - done:,} of {made:,} ticks were not heard"
    seconds = duration(system.spec.interval) * len(heard)
    measured = Measurement(
        made,
        done,
        wrong=0,
        failed={},
        lost=made - done,
        duplicates=0,
        seconds=seconds,
        throughput=done / seconds if seconds else 0.0,
        response_ms={"p50": median(late_ms) if late_ms else None},
    )
    spec = system.spec
    return Point(
        "subscribers",
        spec.middleware,
        spec.architecture,
        len(system.nodes),
        subscribers,
        0,
        measured,
        application=spec.application,
        usage=Usage(rss_mib=memory_mib),
        objections=[objection] if objection else [],
    )


@dataclass(slots=True)
class Delivery:
    """When a tick was heard first and last (``time.perf_counter``), and by how many."""

    first: float = float("inf")
    last: float = 0.0
    count: int = 0

    def add(self, other: "Delivery") -> None:
        """Add what others heard of it."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.count += other.count


def lateness(heard: dict[int, Delivery], interval: float) -> list[float]:
    """Return by how many milliseconds each tick reached its last subscriber after it was due, tick by tick.

    Ticks are due at a fixed interval; the one that was heard earliest for its time is taken to be punctual.
    """
    punctual = min(one.first - number * interval for number, one in heard.items())
    return [1000 * (one.last - number * interval - punctual) for number, one in sorted(heard.items())]


class SubscriberProcesses:
    """Subscribers in processes of their own; a context manager."""

    def __init__(self, middleware: str, target: Target) -> None:
        self._processes = Processes("process of subscribers")
        self._count = 0
        for _ in range(PROCESSES):
            self._processes.start(_listen, middleware, target)

    def __enter__(self) -> "SubscriberProcesses":
        return self

    def __exit__(self, *exception: object) -> None:
        self._processes.close(grace_seconds=0.0)  # unsubscribing a thousand takes long

    @property
    def pids(self) -> list[int]:
        """The process ids of the subscribers."""
        return self._processes.pids

    def grow(self, count: int) -> None:
        """Let there be *count* subscribers; LabError if some cannot subscribe."""
        self._processes.tell(count // PROCESSES + (index < count % PROCESSES) for index in range(PROCESSES))
        for answer in self._processes.answers(SUBSCRIBE_SECONDS):
            if isinstance(answer, str):
                raise Unavailable(answer)
        self._count = count

    def listen(self, seconds: float) -> dict[int, Delivery]:
        """Return what was heard of each tick in the coming *seconds*."""
        begun = time.perf_counter()
        time.sleep(seconds)  # how long it listens
        total: dict[int, Delivery] = defaultdict(Delivery)
        self._processes.tell([None] * PROCESSES)
        for answer in self._processes.answers(DEADLINE_SECONDS):
            if not isinstance(answer, dict):
                raise InternalError("subscribers", f"a process of subscribers said {answer!r}")
            for number, heard in answer.items():
                total[number].add(heard)
        return {number: heard for number, heard in total.items() if heard.first > begun}


@dataclass(slots=True)
class _Deliveries:
    """What the subscribers of one process have heard since they were last asked."""

    heard: dict[int, Delivery] = field(default_factory=lambda: defaultdict(Delivery))
    lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self, subscription: Subscription) -> None:
        for tick in subscription:
            now = time.perf_counter()
            with self.lock:
                self.heard[tick.number].add(Delivery(now, now, 1))

    def told(self) -> dict[int, Delivery]:
        with self.lock:
            told, self.heard = dict(self.heard), defaultdict(Delivery)
        return told


def _listen(middleware: str, target: Target, pipe: Connection) -> None:
    """Subscribe as many as each number that *pipe* brings says; tell what was heard for each None."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    logging.disable(logging.WARNING)  # a thousand would say the same line; what they miss is counted
    deliveries, count = _Deliveries(), 0
    client = MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS)
    try:
        while True:
            wanted = pipe.recv()
            if wanted is None:
                pipe.send(deliveries.told())
                continue
            for _ in range(wanted - count):
                threading.Thread(target=deliveries.follow, args=(client.subscribe(),), daemon=True).start()
            count = wanted
            pipe.send(count)
    except EOFError:
        pass  # the parent needs no more
    except Exception as error:  # noqa: BLE001 - each error means that so many cannot subscribe
        pipe.send(f"{type(error).__name__}: {error}")
