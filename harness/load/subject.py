"""What is measured, as load generators see it: something to connect to, and requests with numbers."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from lab.contract import Application, InsultFilter, InsultService, Target
from lab.data import default_insults
from lab.middleware import MIDDLEWARES

DEADLINE_SECONDS = 30.0


class Driver(Protocol):
    """One client. Requests are known by their numbers, so that each can be accounted for."""

    def request(self, number: int) -> bool:
        """Make request *number* and wait; True if the answer is right. LabError if it was refused."""

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Keep up to *in_flight* requests under way; yield the number of each answer, and if it is right."""

    def close(self) -> None:
        """Free connections."""


class Subject(Protocol):
    """What is measured. It travels to the load generators, which are processes of their own."""

    def connect(self) -> Driver:
        """Connect one client."""


@dataclass(frozen=True, slots=True)
class SystemSubject:
    """A system of the lab; *pool* has texts and what the filter must make of them."""

    middleware: str
    target: Target
    application: Application
    pool: list[tuple[str, str]]

    def connect(self) -> Driver:
        middleware = MIDDLEWARES[self.middleware]
        if self.application is Application.SERVICE:
            return _ServiceDriver(middleware.service_client(self.target, DEADLINE_SECONDS))
        return _FilterDriver(middleware.filter_client(self.target, DEADLINE_SECONDS), self.pool)


@dataclass(frozen=True, slots=True)
class NullSubject:
    """A middleware that takes no time at all: what the load generators themselves cost."""

    def connect(self) -> Driver:
        return _NullDriver()


class _FilterDriver:
    def __init__(self, client: InsultFilter, pool: list[tuple[str, str]]) -> None:
        self._client = client
        self._pool = pool

    def request(self, number: int) -> bool:
        text, expected = self._pool[number % len(self._pool)]
        return self._client.filter(text) == expected

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        under_way: deque[tuple[int, str]] = deque()

        def texts() -> Iterator[str]:
            for number in numbers:
                text, expected = self._pool[number % len(self._pool)]
                under_way.append((number, expected))
                yield text

        for answer in self._client.filter_many(texts(), in_flight):
            number, expected = under_way.popleft()
            yield number, answer == expected

    def close(self) -> None:
        self._client.close()


class _ServiceDriver:
    """Asks for random insults. There is nothing to pipeline: one at a time, whatever *in_flight* says."""

    def __init__(self, client: InsultService) -> None:
        self._client = client
        self._stored = frozenset(default_insults())

    def request(self, number: int) -> bool:
        return self._client.insult_me() in self._stored

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        for number in numbers:
            yield number, self.request(number)

    def close(self) -> None:
        self._client.close()


class _NullDriver:
    def request(self, number: int) -> bool:
        return True

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        for number in numbers:
            yield number, True

    def close(self) -> None:
        """Nothing to free."""
