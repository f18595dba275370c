"""The broadcast: one random insult per tick to each subscriber, while requests are served."""

import os
from contextlib import ExitStack

import pytest
import redis

from lab.contract import Application, Subscription, Tick
from lab.errors import Unavailable
from lab.process.system import System
from tests.contract.conftest import INTERVAL, Case

TICK_SECONDS = float(INTERVAL.removesuffix("ms")) / 1000
TIMEOUT_SECONDS = 10.0


def ticks(subscription: Subscription, count: int) -> list[Tick]:
    """Return the next *count* ticks."""
    received = []
    for _ in range(count):
        tick = subscription.receive(TIMEOUT_SECONDS)
        assert tick is not None, f"no tick within {TIMEOUT_SECONDS:g} s"
        received.append(tick)
    return received


def test_starting_and_stopping_twice_is_answered(service_system: System) -> None:
    with service_system.service() as ana, service_system.service() as bert:
        assert ana.start_broadcast() is True
        assert bert.start_broadcast() is False
        assert bert.stop_broadcast() is True
        assert ana.stop_broadcast() is False


def test_each_of_three_subscribers_gets_every_tick_once(service_system: System) -> None:
    with ExitStack() as stack:
        client = stack.enter_context(service_system.service())
        client.add_insult("tonto")
        stored = set(client.get_insults())
        subscriptions = [stack.enter_context(client.subscribe()) for _ in range(3)]
        client.start_broadcast()
        received = [ticks(subscription, 4) for subscription in subscriptions]
        client.stop_broadcast()
    for mine in received:
        assert [tick.number for tick in mine] == list(range(mine[0].number, mine[0].number + 4))
        assert {tick.insult for tick in mine} <= stored
    assert received[0] == received[1] == received[2]


def test_a_subscriber_that_left_hears_nothing_more(service_system: System) -> None:
    with service_system.service() as client:
        client.add_insult("tonto")
        with client.subscribe() as staying:
            leaving = client.subscribe()
            client.start_broadcast()
            last = ticks(leaving, 1)[0].number
            leaving.close()
            rest = ticks(staying, 4)
            client.stop_broadcast()
        after = [tick.number for tick in leaving]
    assert rest[-1].number > last + 1
    assert all(number <= last + 1 for number in after)  # one may have been on its way


def test_a_stopped_broadcast_is_silent(service_system: System) -> None:
    with service_system.service() as client:
        client.add_insult("tonto")
        with client.subscribe() as subscription:
            client.start_broadcast()
            ticks(subscription, 1)
            client.stop_broadcast()
            while subscription.receive(TICK_SECONDS) is not None:
                pass
            assert subscription.receive(3 * TICK_SECONDS) is None


def test_an_insult_added_while_the_broadcast_runs_is_broadcast(service_system: System) -> None:
    with service_system.service() as client:
        for insult in client.get_insults():
            client.remove_insult(insult)
        with client.subscribe() as subscription:
            client.start_broadcast()
            client.add_insult("bobo")
            assert ticks(subscription, 1)[0].insult == "bobo"
            client.stop_broadcast()


def test_a_subscription_carried_over_a_fork_refuses_in_the_new_process(service_system: System) -> None:
    with service_system.service() as client, client.subscribe() as subscription:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                subscription.receive(TIMEOUT_SECONDS)
            except Unavailable:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        client.add_insult("tonto")
        client.start_broadcast()
        ticks(subscription, 1)
        client.stop_broadcast()


def test_ticks_return_within_5_s_after_the_subscribers_were_deleted_by_hand(
    n_node: Case, redis_url: str
) -> None:
    if not n_node.middleware.is_direct:
        pytest.skip("its subscribers are those of the broker")
    system = n_node.start(Application.SERVICE)
    with system.service() as client, client.subscribe() as subscription:
        client.add_insult("tonto")
        client.start_broadcast()
        ticks(subscription, 1)
        with redis.Redis.from_url(redis_url) as store:
            store.delete(*store.scan_iter(f"{system.namespace}:*subscribers*"))
        while subscription.receive(2 * TICK_SECONDS):  # what was on its way
            pass
        assert subscription.receive(5.0)
