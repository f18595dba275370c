"""Our side: the lab's own clients, and the standard library's against our server."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from time import perf_counter

import Pyro4

from harness.experiment.baseline import FILTERED, INSULTS, TEXT
from harness.experiment.thresholds.load import Run
from lab.contract import InsultFilter, Target
from lab.middleware import MIDDLEWARES
from xmlrpc.client import ServerProxy

DEADLINE_SECONDS = 30.0


def repeated(step: Callable[[], bool]) -> Run:
    """Return what takes *step* until the deadline; it says whether the answer was right."""

    def run(deadline: float) -> int:
        done = 0
        while perf_counter() < deadline:
            if not step():
                raise ValueError("a wrong answer")
            done += 1
        return done

    return run


@contextmanager
def insult_me(middleware: str, target: Target, *, check: bool = True) -> Iterator[Run]:
    """Ask for random insults with our client; *check*: they must be those of the plain reference."""
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        if check:
            yield repeated(lambda: client.insult_me() in INSULTS)
        else:
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


@contextmanager
def change(middleware: str, target: Target, *, with_ids: bool) -> Iterator[Run]:
    """Add an insult and remove it, in turn; *with_ids*: so that a repeated request has its effect once."""
    if not with_ids:
        client_module = import_module(f"{middleware}._client")
        vars(client_module)["MUTATING_OPERATIONS"] = frozenset()  # in this process, which is this client's
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        number = itertools.count()

        def step() -> bool:
            pair, is_second = divmod(next(number), 2)
            insult = f"new {os.getpid()} {pair}"
            return client.remove_insult(insult) if is_second else client.add_insult(insult)

        yield repeated(step)


@contextmanager
def server_proxy(url: str) -> Iterator[Run]:
    """Ask for random insults with the standard library's client."""
    with ServerProxy(url) as proxy:
        yield repeated(lambda: proxy.insult_me() in INSULTS)


@contextmanager
def pyro_proxy(name_server: str) -> Iterator[Run]:
    """Ask for random insults with Pyro4's proxy and its default serializer."""
    with Pyro4.Proxy(f"PYRONAME:insult.service@{name_server}") as proxy:
        proxy._pyroSerializer = "serpent"

        def run(deadline: float) -> int:
            proxy._pyroRelease()  # between two windows the node closes it, as it is silent for long
            return repeated(lambda: proxy.insult_me() in INSULTS)(deadline)

        yield run


@contextmanager
def filter_many(middleware: str, target: Target, depth: int) -> Iterator[Run]:
    """Filter texts with our client, *depth* of them in flight."""
    with MIDDLEWARES[middleware].filter_client(target, DEADLINE_SECONDS) as client:
        yield partial(filtered_until, client, depth)


def filtered_until(
    client: InsultFilter, depth: int, deadline: float, text: str = TEXT, filtered: str = FILTERED
) -> int:
    """Filter *text* until *deadline*, then wait for those under way; return how often that was."""
    texts = itertools.takewhile(lambda _: perf_counter() < deadline, itertools.repeat(text))
    done = 0
    for answer in client.filter_many(texts, depth):
        if answer != filtered:
            raise ValueError(f"a wrong answer: {answer[:100]!r}")
        done += 1
    return done
