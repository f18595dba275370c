"""The contestants of a comparison: clients that are loaded, what they send, and their windows in turn."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from harness.load.measure import Generators, LocalGenerators
from harness.load.workload import Driver, Subject
from lab.contract import InsultService, Target
from lab.middleware import MIDDLEWARES

CLIENTS = 4
DEADLINE_SECONDS = 30.0
TEXT, FILTERED = "hola tonto, adeu", "hola CENSORED, adeu"
"""What all sides of a comparison filter."""


class ContestantFailed(Exception):
    """A side of a comparison failed: nothing may be concluded."""


Rates = dict[str, list[float]]


class Contestant(Protocol):
    """Something whose rate is measured, started already."""

    def window(self, seconds: float) -> float:
        """Return its requests per second over a window; ContestantFailed if it cannot be trusted."""


def alternate(sides: Mapping[str, Contestant], pairs: int, seconds: float) -> Rates:
    """Measure a window of each side, *pairs* times, in turning order, so that a drift favours none."""
    rates: Rates = {name: [] for name in sides}
    for number in range(pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            try:
                rate = sides[name].window(seconds)
            except ContestantFailed as error:
                raise ContestantFailed(f"{name}: {error}") from error
            if not rate > 0:
                raise ContestantFailed(f"{name}: no request was answered")
            rates[name].append(rate)
    return rates


class Loaded:
    """A side of a comparison: its clients, connected and warm, each in a process of its own."""

    def __init__(self, load: Generators) -> None:
        self._load = load
        self.rate = self.cpu_share = 0.0
        """Requests per second in the last window, and the part of a core that each process used."""

    def window(self, seconds: float) -> float:
        """Return the requests per second of all clients."""
        measured = self._load.closed(seconds)
        if measured.throughput is None:
            raise ContestantFailed("requests were lost, refused or answered wrongly")
        self.rate = measured.throughput
        self.cpu_share = measured.generator_cpu_seconds / measured.seconds / self._load.processes
        return self.rate

    @property
    def pids(self) -> list[int]:
        """The process ids of the clients."""
        return self._load.pids


def loaded(stack: ExitStack, subject: Subject, clients: int = CLIENTS, in_flight: int = 1) -> Loaded:
    """Return connected, warm clients of *subject* that end with *stack*."""
    load = LocalGenerators(subject, clients, processes=clients, in_flight=in_flight)
    return Loaded(stack.enter_context(load))


@dataclass(frozen=True, slots=True)
class Stepping:
    """A service at which each client takes *step* after *step*; it is given the number of the request."""

    middleware: str
    target: Target
    step: Callable[[InsultService, int], bool]

    def connect(self) -> Driver:
        client = MIDDLEWARES[self.middleware].service_client(self.target, DEADLINE_SECONDS)
        return _Steps(client, self.step)


@dataclass(frozen=True, slots=True)
class _Steps:
    client: InsultService
    step: Callable[[InsultService, int], bool]

    def request(self, number: int) -> bool:
        return self.step(self.client, number)

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        return ((number, self.request(number)) for number in numbers)

    def close(self) -> None:
        self.client.close()


def insult_me(client: InsultService, number: int) -> bool:
    """Ask for a random insult."""
    return bool(client.insult_me())


def add_and_remove(client: InsultService, number: int) -> bool:
    """Add an insult and remove it, so that the number of insults stays what it is."""
    insult = f"new {number}"
    return client.add_insult(insult) and client.remove_insult(insult)
