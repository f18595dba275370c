"""The InsultService: what every client sees, over each variant of four middlewares x two architectures."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from uuid import uuid4

import pytest
import redis

from lab.addresses import free_port
from lab.bootstrap import ROOT
from lab.contract import Architecture, InsultService, Subscription, Tick
from lab.errors import Code, LabError, NoInsults, Unavailable
from lab.middleware import Promise
from lab.process.system import System
from lab.store.namespace import throwaway_namespace
from tests.contract import wires
from tests.contract.conftest import INTERVAL
from tests.contract.wires import INSULTS, TOGETHER
from tests.eventually import eventually

pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
TICK_SECONDS = float(INTERVAL.removesuffix("ms")) / 1000
TIMEOUT_SECONDS = 10.0


@pytest.fixture
def client(service_system: System) -> Iterator[InsultService]:
    with service_system.service() as client:
        yield client


def fresh(prefix: str = "tonto") -> str:
    return f"{prefix} {uuid4().hex[:8]}"


def empty(client: InsultService) -> None:
    """Remove every insult."""
    while page := client.get_insults():
        for insult in page:
            client.remove_insult(insult)


def test_what_one_client_adds_another_sees(service_system: System) -> None:
    insult = fresh()
    with service_system.service() as ana, service_system.service() as bert:
        assert ana.add_insult(insult) is True
        assert insult in bert.get_insults(after=insult[:-1])


def test_an_insult_is_new_only_once(service_system: System) -> None:
    insult = fresh()
    with service_system.service() as ana, service_system.service() as bert:
        assert ana.add_insult(insult) is True
        assert bert.add_insult(f"  {insult} ") is False


def test_insults_keep_their_case_and_are_normalised(service_system: System) -> None:
    insult = fresh("ESTÚPIDO")
    with service_system.service() as client:
        client.add_insult(insult.replace("Ú", "U\N{COMBINING ACUTE ACCENT}"))
        assert client.get_insults(after=insult[:-1], limit=1) == [insult]


def test_a_removed_insult_is_gone_and_removing_it_again_says_so(service_system: System) -> None:
    insult = fresh()
    with service_system.service() as ana, service_system.service() as bert:
        ana.add_insult(insult)
        assert bert.remove_insult(insult) is True
        assert ana.remove_insult(insult) is False
        assert insult not in ana.get_insults(after=insult[:-1])


def test_insults_come_sorted_page_by_page(service_system: System) -> None:
    prefix = f"ñ {uuid4().hex[:8]} "
    wanted = [f"{prefix}{number:03}" for number in range(25)]
    with service_system.service() as client:
        for insult in reversed(wanted):
            client.add_insult(insult)
        pages, after = [], prefix
        while len(page := client.get_insults(after=after, limit=10)) > 0 and page[0].startswith(prefix):
            pages += page
            after = page[-1]
        assert [insult for insult in pages if insult.startswith(prefix)] == wanted


def test_a_random_insult_is_one_of_the_stored(service_system: System) -> None:
    with service_system.service() as client:
        client.add_insult(fresh())
        stored = set(client.get_insults())
        assert {client.insult_me() for _ in range(20)} <= stored


def test_a_random_insult_of_none_is_an_error_of_its_own(client: InsultService) -> None:
    empty(client)
    with pytest.raises(NoInsults):
        client.insult_me()


def test_a_client_of_nobody_is_told_so(service_system: System) -> None:
    target, middleware = service_system.target, service_system.middleware
    if not middleware.broker:
        target = replace(target, address=re.sub(r":\d+", f":{free_port()}", target.address))
    target = replace(target, namespace=throwaway_namespace())
    with pytest.raises(LabError) as caught, middleware.service_client(target, 0.5) as client:
        client.insult_me()
    may_wait = {Code.DEADLINE_EXCEEDED} if middleware.waits_for_nodes else set()
    assert caught.value.code in {Code.UNAVAILABLE, *may_wait}


def test_a_bad_argument_gets_the_code_and_sentence_that_every_wire_gives(client: InsultService) -> None:
    before = client.get_insults()
    assert list(wires.wrong_answers(client, wires.SERVICE_CALLS)) == []
    assert client.get_insults() == before
    with client.subscribe() as subscription:
        assert list(wires.wrong_answers(subscription, wires.SUBSCRIPTION_CALLS)) == []


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_of_calls_sent_together_each_has_its_effect_once_however_often_they_are_repeated(
    service_system: System, client: InsultService
) -> None:
    if service_system.middleware.name not in TOGETHER:
        pytest.skip("a middleware of contrib/ has no batch of its own")
    empty(client)
    send = partial(TOGETHER[service_system.middleware.name], service_system, uuid4().hex)
    for _ in range(2):
        assert send("add_insult") == [True] * len(INSULTS)
        assert client.get_insults() == INSULTS
    for _ in range(2):  # under the same ids: they count for one operation
        assert send("remove_insult") == [True] * len(INSULTS)
        assert client.get_insults() == []


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


def test_a_subscriber_that_left_hears_nothing_more(client: InsultService) -> None:
    client.add_insult("tonto")
    with client.subscribe() as staying:
        leaving = client.subscribe()
        client.start_broadcast()
        ticks(leaving, 1)
        leaving.close()
        rest = ticks(staying, 5)
        client.stop_broadcast()
    assert rest[-1].number not in [tick.number for tick in leaving]


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


def test_the_answer_comes_back_while_the_broadcast_runs(service_system: System) -> None:
    with service_system.service() as client:
        client.add_insult(fresh())
        client.start_broadcast()
        assert client.insult_me()
        assert client.stop_broadcast() is True
        eventually(lambda: client.insult_me())


def test_a_subscription_carried_over_a_fork_refuses_in_the_new_process(client: InsultService) -> None:
    with client.subscribe() as subscription:
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


FORKING = """
import json, os, sys
from lab.contract import Architecture, Target
from lab.middleware import MIDDLEWARES
name, address, architecture, namespace = json.load(sys.stdin)
client = MIDDLEWARES[name].service_client(Target(address, Architecture(architecture), namespace))
with client, client.subscribe():
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
"""The new process ends as any program does, with what it has of the subscription."""


@pytest.mark.needs(Promise.OWN_ANSWERS)
def test_a_process_forked_by_the_owner_of_a_subscription_ends_as_any_other(service_system: System) -> None:
    target = service_system.target
    told = [service_system.middleware.name, target.address, target.architecture, target.namespace]
    command = [sys.executable, "-c", FORKING]
    done = subprocess.run(
        command, input=json.dumps(told), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_ticks_return_within_5_s_after_the_subscribers_were_deleted_by_hand(
    service_system: System, client: InsultService, request: pytest.FixtureRequest
) -> None:
    spec = service_system.spec
    if service_system.middleware.broker or spec.architecture is not Architecture.N_NODE:
        pytest.skip("its subscribers are those of the broker, or in the node's memory")
    with client.subscribe() as subscription:
        client.add_insult("tonto")
        client.start_broadcast()
        ticks(subscription, 1)
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as store:
            store.delete(*store.scan_iter(f"{service_system.namespace}:*subscribers*"))
        while subscription.receive(2 * TICK_SECONDS):  # what was on its way
            pass
        assert subscription.receive(5.0)
        client.stop_broadcast()


def test_a_page_stops_before_it_is_too_large_to_send(service_system: System, client: InsultService) -> None:
    prefix = "\U0001f600"
    wanted = [f"{number:03} {prefix * 190}" for number in range(800)]
    with ExitStack() as stack, ThreadPoolExecutor(4) as threads:
        clients = [stack.enter_context(service_system.service(20.0)) for _ in range(4)]
        empty(client)
        shares = zip(clients, (wanted[part::4] for part in range(4)), strict=True)
        list(threads.map(lambda share: [share[0].add_insult(insult) for insult in share[1]], shares))
    page = client.get_insults(limit=1000)
    assert len(page) < len(wanted)
    assert page + client.get_insults(after=page[-1], limit=1000) == wanted
