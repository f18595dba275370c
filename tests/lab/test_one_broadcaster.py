"""Of all broadcasters of a store one sends: another takes over when it stops, dies or freezes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import cast

import pytest

from lab.applications.broadcast import LEASE_SECONDS, Broadcaster
from lab.contract import Tick
from lab.store import Store
from tests.eventually import eventually
from tests.lab.conftest import Later

TIMEOUT_SECONDS = 10.0
SHORT_SECONDS = 0.05


class Frozen:
    """A store as a broadcaster sees it that is frozen just before a tick is counted, until it is woken."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.reached = threading.Event()
        self.woken = threading.Event()
        self.numbers: list[int] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def next_tick(self, epoch: int = 0) -> int:
        self.reached.set()
        self.woken.wait(TIMEOUT_SECONDS)
        self.numbers.append(self._store.next_tick(epoch))
        return self.numbers[-1]


Broadcast = Callable[[Store, list[Tick]], Broadcaster]


@pytest.fixture
def on_air(store: Store) -> Store:
    """A store of each kind, its broadcast on."""
    store.add_insult("tonto")
    store.set_broadcast(True)
    return store


@pytest.fixture
def broadcast() -> Iterator[Broadcast]:
    """Start broadcasters that tick twenty times a second; stop them."""
    with ExitStack() as stack:

        def start(store: Store, sent: list[Tick]) -> Broadcaster:
            broadcaster = Broadcaster(store, sent.append, SHORT_SECONDS)
            stack.callback(broadcaster.stop, TIMEOUT_SECONDS)
            broadcaster.start()
            return broadcaster

        yield start


def test_of_two_broadcasters_one_sends(on_air: Store, broadcast: Broadcast) -> None:
    first: list[Tick] = []
    second: list[Tick] = []
    broadcast(on_air, first)
    eventually(lambda: first)
    broadcast(on_air, second)
    eventually(lambda: len(first) > 5)
    assert second == []
    assert [tick.number for tick in first] == list(range(1, len(first) + 1))


def test_when_a_broadcaster_stops_another_takes_over_at_once(on_air: Store, broadcast: Broadcast) -> None:
    first: list[Tick] = []
    second: list[Tick] = []
    stopping = broadcast(on_air, first)
    eventually(lambda: len(first) > 2)
    broadcast(on_air, second)
    stopping.stop(TIMEOUT_SECONDS)
    eventually(lambda: len(second) > 2)
    numbers = [tick.number for tick in first + second]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_frozen_broadcaster_is_replaced_and_sends_nothing_when_it_wakes(
    on_air: Store, broadcast: Broadcast, later: Later
) -> None:
    frozen = Frozen(on_air)
    first: list[Tick] = []
    second: list[Tick] = []
    broadcast(cast(Store, frozen), first)
    assert frozen.reached.wait(TIMEOUT_SECONDS)
    later(LEASE_SECONDS + 1)
    broadcast(on_air, second)
    eventually(lambda: len(second) > 2)
    frozen.woken.set()
    eventually(lambda: frozen.numbers)
    eventually(lambda: len(second) > 5)
    assert (frozen.numbers, first) == ([0], [])
    assert [tick.number for tick in second] == list(range(1, len(second) + 1))
