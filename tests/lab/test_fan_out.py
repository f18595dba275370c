"""The delivery of ticks: a subscriber that is slow or dead delays nobody else. Events tell, nobody sleeps."""

import threading
from collections.abc import Iterator

import pytest

from lab.applications.broadcast import DELIVERY_THREADS, FanOut
from lab.contract import Tick
from lab.errors import Unavailable
from lab.store import MemoryStore
from tests.eventually import eventually

LEASE_SECONDS = 3600.0
TIMEOUT_SECONDS = 10.0


class Audience:
    """Subscribers of a store; the slow ones do not return from a delivery until they are released."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.release = threading.Event()
        self.slow: set[str] = set()
        self.dead: set[str] = set()
        self.bad: set[str] = set()
        self.called: list[tuple[str, int]] = []
        self.took: list[tuple[str, int]] = []
        self.number = 0
        self.fan_out = FanOut(self.store, self.notify)

    def subscribe(self, *uris: str) -> None:
        for uri in uris:
            self.store.add_subscriber(uri, LEASE_SECONDS)

    def notify(self, uri: str, tick: Tick) -> None:
        self.called.append((uri, tick.number))
        if uri in self.dead:
            raise Unavailable("connection refused")
        if uri in self.bad:
            raise ValueError("a bug")
        if uri in self.slow:
            self.release.wait(TIMEOUT_SECONDS)
        self.took.append((uri, tick.number))

    def send(self) -> None:
        """Send the next tick."""
        self.number += 1
        self.fan_out(Tick(self.number, "tonto"))

    def wait_for(self, number: int, *uris: str) -> None:
        """Wait until all *uris* have taken the tick *number*."""
        eventually(lambda: {(uri, number) for uri in uris} <= set(self.took))

    def send_until_taken(self, *uris: str) -> None:
        """Send ticks until each of *uris* has taken one of them: who has just taken one may miss the next."""
        already = self.number

        def all_took() -> bool:
            self.send()
            return {uri for uri, number in list(self.took) if number > already} >= set(uris)

        eventually(all_took)


@pytest.fixture
def audience() -> Iterator[Audience]:
    """An audience of nobody yet."""
    audience = Audience()
    yield audience
    audience.release.set()
    audience.fan_out.close()


def test_every_subscriber_takes_a_tick_once(audience: Audience) -> None:
    audience.subscribe("ana", "bert", "carla")
    audience.send()
    audience.wait_for(1, "ana", "bert", "carla")
    assert sorted(audience.called) == [("ana", 1), ("bert", 1), ("carla", 1)]


def test_a_subscriber_takes_ticks_in_their_order_and_none_twice(audience: Audience) -> None:
    audience.subscribe("ana")
    for _ in range(5):
        audience.send_until_taken("ana")
    numbers = [number for _, number in audience.took]
    assert numbers == sorted(set(numbers))


def test_a_tick_before_the_subscription_is_not_sent_to_it(audience: Audience) -> None:
    audience.send()
    audience.subscribe("ana")
    audience.send()
    audience.wait_for(2, "ana")
    assert audience.called == [("ana", 2)]


def test_slow_subscribers_delay_nobody_else(audience: Audience) -> None:
    audience.slow = {f"slow {number}" for number in range(DELIVERY_THREADS - 1)}
    audience.subscribe(*audience.slow, "ana", "bert")
    for _ in range(3):
        audience.send_until_taken("ana", "bert")
    assert {uri for uri, _ in audience.took} == {"ana", "bert"}


def test_a_subscriber_that_still_has_not_taken_a_tick_is_left_out_of_the_next(audience: Audience) -> None:
    audience.slow = {"slow"}
    audience.subscribe("slow", "ana")
    for _ in range(3):
        audience.send_until_taken("ana")
    assert [call for call in audience.called if call[0] == "slow"] == [("slow", 1)]


def test_a_subscriber_that_was_slow_takes_part_again(audience: Audience) -> None:
    audience.slow = {"slow"}
    audience.subscribe("slow")
    audience.send()
    audience.release.set()
    audience.wait_for(1, "slow")
    audience.send_until_taken("slow")
    assert audience.took[-1][1] > 1


def test_a_dead_subscriber_delays_nobody(audience: Audience) -> None:
    audience.dead = {f"dead {number}" for number in range(2 * DELIVERY_THREADS)}
    audience.subscribe(*audience.dead, "ana")
    audience.send()
    audience.wait_for(1, "ana")
    assert audience.took == [("ana", 1)]


def test_a_dead_subscriber_is_called_again_at_the_next_tick(audience: Audience) -> None:
    audience.dead = {"ana"}
    audience.subscribe("ana")
    audience.send()
    eventually(lambda: audience.called)
    audience.dead.clear()
    audience.send_until_taken("ana")
    assert audience.called[0] == ("ana", 1)


def test_a_subscriber_that_left_is_not_called(audience: Audience) -> None:
    audience.subscribe("ana", "bert")
    audience.store.remove_subscriber("bert")
    audience.send()
    audience.wait_for(1, "ana")
    assert audience.called == [("ana", 1)]


def test_closing_waits_for_no_subscriber(audience: Audience) -> None:
    audience.slow = {"slow"}
    audience.subscribe("slow")
    audience.send()
    eventually(lambda: audience.called)
    audience.fan_out.close()
    assert audience.took == []


def test_a_delivery_that_has_not_begun_is_dropped_when_it_closes(audience: Audience) -> None:
    audience.slow = {f"slow {number}" for number in range(DELIVERY_THREADS)}
    audience.subscribe(*audience.slow)
    audience.send()
    eventually(lambda: len(audience.called) == DELIVERY_THREADS)
    audience.subscribe("late")
    audience.send()
    audience.fan_out.close()
    audience.release.set()
    eventually(lambda: len(audience.took) == DELIVERY_THREADS)
    assert "late" not in {uri for uri, _ in audience.called}


def test_a_tick_after_the_close_is_refused(audience: Audience) -> None:
    audience.subscribe("ana")
    audience.fan_out.close()
    with pytest.raises(Unavailable):
        audience.send()
    assert audience.called == []


def test_an_error_that_nobody_foresaw_is_logged(audience: Audience, caplog: pytest.LogCaptureFixture) -> None:
    audience.bad = {"bad"}
    audience.subscribe("bad")
    audience.send()
    eventually(lambda: "bad" in caplog.text)
    audience.bad.clear()
    audience.send_until_taken("bad")
