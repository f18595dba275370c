"""The contestants of a comparison: client processes, what they send, and their windows in turn."""

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Protocol, Self

import redis

from harness.load.measure import Processes
from harness.record.findings import Finding, Judgement
from lab.addresses import free_port
from lab.brokers import redis_server
from lab.brokers.server import Server
from lab.contract import InsultFilter, Target
from lab.errors import LabError, Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls

Run = Callable[[float], int]
"""Sends until ``time.perf_counter()`` is past the deadline; returns how many were answered rightly."""
Connect = Callable[[], AbstractContextManager[Run]]
"""Connects one client. It travels to a process of its own."""

CLIENTS = 4
WARM_UP_SECONDS = 0.3
START_SECONDS = 60.0
ANSWER_SECONDS = 60.0
"""Beyond a window's length, for what was under way when it ended."""


class ContestantFailed(Exception):
    """A side of a comparison failed: nothing may be concluded."""


class ClientProcesses:
    """*clients* processes that send as fast as they are answered; connected and warm when entered."""

    def __init__(self, connect: Connect, clients: int = CLIENTS) -> None:
        self._connect = connect
        self._clients = clients
        self._processes = Processes("client")
        self.rate = 0.0
        """Requests per second in the last window, or in the warm-up."""
        self.cpu_share = 0.0
        """Of a core that each process used in that window, on average."""

    def __enter__(self) -> Self:
        for _ in range(self._clients):
            self._processes.start(_client, self._connect)
        try:
            self._answers(START_SECONDS)
            self.window(WARM_UP_SECONDS)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def pids(self) -> list[int]:
        """The process ids of the clients."""
        return self._processes.pids

    def window(self, seconds: float) -> float:
        """Return the requests per second of all clients, from the first start to the last answer."""
        self._processes.tell([seconds] * self._clients)
        answers = self._answers(seconds + ANSWER_SECONDS)
        done = sum(answer[0] for answer in answers)
        elapsed = max(answer[2] for answer in answers) - min(answer[1] for answer in answers)
        self.cpu_share = sum(answer[3] for answer in answers) / elapsed / len(answers)
        self.rate = done / elapsed
        return self.rate

    def close(self) -> None:
        """End the clients."""
        self._processes.close(grace_seconds=5.0)

    def _answers(self, seconds: float) -> list[tuple[float, ...]]:
        try:
            answers = self._processes.answers(seconds)
        except LabError as error:
            raise ContestantFailed(error.message) from error
        for answer in answers:
            if isinstance(answer, str):
                raise ContestantFailed(answer)
        return answers


def _client(connect: Connect, pipe: Connection) -> None:
    """Run a window for each number of seconds that *pipe* brings; what fails is told."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then closes the pipe
    try:
        with connect() as run:
            pipe.send(())
            while True:
                seconds = pipe.recv()
                spent, begun = time.process_time(), time.perf_counter()
                done = run(begun + seconds)
                pipe.send((done, begun, time.perf_counter(), time.process_time() - spent))
    except EOFError:
        pass  # the parent needs no more
    except Exception as error:  # noqa: BLE001 - whatever it is, this side has failed
        with suppress(OSError):  # the parent was interrupted, and reads no more
            pipe.send(f"{type(error).__name__}: {error}")


Rates = dict[str, list[float]]


class Contestant(Protocol):
    """Something whose rate is measured, started already."""

    def window(self, seconds: float) -> float:
        """Return its requests per second over a window; ContestantFailed if it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run measures: *pairs* of windows of *seconds*, and more of them while nothing is decided."""

    brokers: BrokerUrls
    seconds: float
    pairs: int
    budget_seconds: float = 0.0
    """For how long a row whose verdict is undecided is measured longer."""
    is_full: bool = False
    corpus: Path | None = None


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


def loaded(stack: ExitStack, connect: Connect, clients: int = CLIENTS) -> ClientProcesses:
    """Return connected, warm clients that end with *stack*."""
    return stack.enter_context(ClientProcesses(connect, clients))


@contextmanager
def variables(given: Mapping[str, str]) -> Iterator[None]:
    """Let processes that are started meanwhile have these variables; our own settings were read before."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def settled(
    measure: Callable[[int], Rates], found: Callable[[Rates], list[Finding]], terms: Terms
) -> list[Finding]:
    """Return what is *found* after *measure* has made its pairs; undecided, as many pairs again are made.

    Each look doubles the pairs: many looks would find a verdict by chance sooner or later.
    """
    begun = time.monotonic()
    rates = measure(terms.pairs)
    each_seconds = (time.monotonic() - begun) / terms.pairs
    deadline = time.monotonic() + terms.budget_seconds
    while any(one.verdict is Judgement.UNDECIDED for one in found(rates)):
        left = int((deadline - time.monotonic()) / each_seconds)
        if left < 1:
            break
        more = measure(min(left, len(next(iter(rates.values())))))
        rates = {name: [*values, *more[name]] for name, values in rates.items()}
    return found(rates)


DEADLINE_SECONDS = 30.0
TEXT, FILTERED = "hola tonto, adeu", "hola CENSORED, adeu"
"""What all sides of a comparison filter."""


def repeated(step: Callable[[], bool]) -> Run:
    """Return what takes *step* until the deadline; it says whether the answer was right."""

    def run(deadline: float) -> int:
        done = 0
        while time.perf_counter() < deadline:
            if not step():
                raise ValueError("a wrong answer")
            done += 1
        return done

    return run


@contextmanager
def insult_me(middleware: str, target: Target) -> Iterator[Run]:
    """Ask for random insults."""
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        yield repeated(lambda: bool(client.insult_me()))


@contextmanager
def add_and_remove(middleware: str, target: Target) -> Iterator[Run]:
    """Add an insult and remove it, in turn, so that the number of insults stays what it is."""
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        number = itertools.count()

        def step() -> bool:
            insult = f"new {os.getpid()} {next(number)}"
            return client.add_insult(insult) and client.remove_insult(insult)

        yield repeated(step)


def filtered_until(
    client: InsultFilter, depth: int, deadline: float, text: str = TEXT, filtered: str = FILTERED
) -> int:
    """Filter *text* until *deadline*, then wait for those under way; return how often that was."""
    texts = itertools.takewhile(lambda _: time.perf_counter() < deadline, itertools.repeat(text))
    done = 0
    for answer in client.filter_many(texts, depth):
        if answer != filtered:
            raise ValueError(f"a wrong answer: {answer[:100]!r}")
        done += 1
    return done


APPENDFSYNC = ("always", "everysec")
BARE = "no"
"""The setting of a Redis as it comes: nothing is kept on the disk."""


def redis_with(stack: ExitStack, appendfsync: str) -> str:
    """Start a Redis; *appendfsync*: always, everysec, or BARE for none at all and no password either."""
    path = redis_server.binary()
    if not path:
        raise Unavailable("no redis-server here to start with other settings")
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-redis-"))
    if appendfsync == BARE:
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        command = [path, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        server = Server(command, {}, folder, lambda: redis_server.answers(url))
        stack.callback(server.close)
        server.start()
        return url
    url, server = redis_server.private(path, folder)
    stack.callback(server.close)
    with redis.Redis.from_url(url) as client:
        client.config_set("appendfsync", appendfsync)
    return url
