"""Nodes are killed by a text, frozen, or stopped under load, and nothing is lost."""

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from pika.spec import BasicProperties

from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.errors import InternalError
from lab.operations import new_operation_id
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.topology import BROADCASTER
from rabbitmq.insult_filter import InsultFilterClient
from tests.conftest import StartSystem
from tests.eventually import eventually
from tests.rabbitmq.conftest import PrivateRabbit, Supervisor, Worker, channel_to, letters, outcome

SEED = 20_260_105
POISON = "cicuta"
TIMEOUT_SECONDS = 60.0


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LAB_POISON", POISON)
    return POISON


def test_3_texts_that_kill_their_node_leave_the_others_of_600_unharmed(
    start_system: StartSystem, amqp_url: str, poison: str
) -> None:
    mixed_with_poison(start_system, amqp_url, texts=600, poisoned=3)


@pytest.mark.parametrize("queue_type", ["quorum"], indirect=True)
def test_texts_that_kill_their_node_leave_the_others_unharmed_on_quorum_queues(
    start_system: StartSystem, amqp_url: str, poison: str, queue_type: str
) -> None:
    mixed_with_poison(start_system, amqp_url, texts=200, poisoned=2)


def mixed_with_poison(start_system: StartSystem, amqp_url: str, texts: int, poisoned: int) -> None:
    """Submit every other text, and filter the others. Some of both kill the node that works on them."""
    rng = random.Random(SEED)
    bad = set(rng.sample(range(texts), poisoned))
    system = start_system("rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=3)
    ids = [new_operation_id() for _ in range(texts)]
    body = [f"tonto {number} {POISON if number in bad else ''}".strip() for number in range(texts)]
    answers: dict[int, object] = {}
    began = time.monotonic()
    with system.filter(deadline_seconds=TIMEOUT_SECONDS) as client:
        assert isinstance(client, InsultFilterClient)

        def ask() -> None:
            asked = range(0, texts, 2)
            under_way = [(n, client.send(client.names.work, "", body[n].encode(), ids[n])) for n in asked]
            deadline = time.monotonic() + TIMEOUT_SECONDS
            for number, request in under_way:
                answers[number] = outcome(partial(client.answer, ids[number], request, deadline))

        def submit() -> None:
            for number in range(1, texts, 2):
                client.store(client.names.work, body[number].encode(), ids[number])
            for number in set(range(1, texts, 2)) - bad:
                answers[number] = client.result(ids[number], TIMEOUT_SECONDS)

        supervisor = Supervisor(system)
        look_after(supervisor, [Worker(ask), Worker(submit)])
        dead = letters_of(supervisor, amqp_url, f"{system.namespace}.filter.dead", poisoned)
    print(f"seed {SEED}: {len(supervisor.replaced)} deaths in {time.monotonic() - began:.1f} s")
    good = set(range(texts)) - bad
    assert {number: answers[number] for number in good} == {n: f"CENSORED {n}" for n in good}
    told = [answers[number] for number in bad if number % 2 == 0]
    assert_dead_lettered(dead, {ids[number] for number in bad}, f"{system.namespace}.filter", told)
    # Each kills three nodes alone, and one before at most. There are more deaths if a node dies after it
    # published a copy and before it acknowledged the original: then there are two messages.
    assert 3 * poisoned <= len(supervisor.replaced) <= 8 * poisoned


def look_after(supervisor: Supervisor, workers: list[Worker]) -> None:
    """Replace nodes that die until all *workers* have finished."""
    while any(worker.is_alive() for worker in workers):
        supervisor.look()
        time.sleep(0.05)
    for worker in workers:
        worker.finish()


def letters_of(supervisor: Supervisor, url: str, queue: str, expected: int) -> list[tuple[Any, bytes]]:
    """Return the dead letters, as soon as there are *expected* different ones."""
    dead: list[tuple[Any, bytes]] = []

    def all_dead() -> bool:
        supervisor.look()
        dead.extend(letters(url, queue))
        return len({properties.message_id for properties, _ in dead}) >= expected

    eventually(all_dead, within=TIMEOUT_SECONDS)
    return dead


def assert_dead_lettered(
    dead: list[tuple[Any, bytes]], expected_ids: set[str], queue: str, told: list[object]
) -> None:
    """Check that the *dead* letters have *expected_ids* and a reason, and that their senders were *told*."""
    assert {properties.message_id for properties, _ in dead} == expected_ids
    for properties, text in dead:
        assert POISON in text.decode()
        assert "3 nodes ended" in properties.headers["lab-reason"]
        assert properties.headers["lab-queue"] == queue
    error_ids = {properties.headers["lab-error-id"] for properties, _ in dead}
    for error in told:
        assert isinstance(error, InternalError), error
        assert "dead letters" in error.message
        assert error.error_id in error_ids


def test_the_work_of_a_frozen_node_moves_and_its_late_results_are_refused(start_system: StartSystem) -> None:
    system = start_system(
        "rabbitmq", Application.FILTER, Architecture.N_NODE, nodes=3, node_arguments=("--work-time", "20ms")
    )
    frozen = system.nodes[0]
    with system.filter(deadline_seconds=TIMEOUT_SECONDS) as client:
        assert isinstance(client, InsultFilterClient)
        began = time.monotonic()
        ids = [client.submit(f"tonto {number}") for number in range(60)]
        deadline = time.monotonic() + TIMEOUT_SECONDS
        asked = [new_operation_id() for _ in range(60)]
        under_way = [(each, client.send(client.names.work, "", b"tonto", each)) for each in asked]
        try:
            os.kill(frozen.pid, signal.SIGSTOP)
            stopped = time.monotonic()
            assert {client.answer(each, request, deadline) for each, request in under_way} == {"CENSORED"}
            results = [client.result(each, TIMEOUT_SECONDS) for each in ids]
            moved = time.monotonic() - stopped
        finally:
            os.kill(frozen.pid, signal.SIGCONT)
        assert results == [f"CENSORED {number}" for number in range(60)]
        eventually(lambda: "connecting again" in system.launcher.logs(frozen))
        for other in system.nodes[1:]:
            system.launcher.stop(other)
        assert client.filter("tonto") == "CENSORED", "the node that was frozen serves again"
        assert sorted(result.petition_id for result in client.get_results()) == sorted(ids)
    print(f"moved {moved:.1f} s after the node froze, {stopped - began:.1f} s of load before")
    assert moved < 30.0


def test_a_subscriber_that_was_frozen_catches_up_or_is_told_what_it_missed(start_system: StartSystem) -> None:
    system = start_system("rabbitmq", Application.SERVICE, interval="200ms")
    spec = ProcessSpec(
        "subscriber",
        "rabbitmq.subscriber",
        ("--namespace", system.namespace, "--address", system.target.address),
        {"PYTHONUNBUFFERED": "1"},
    )
    with ExitStack() as stack:
        client = stack.enter_context(system.service())
        client.add_insult("tonto")
        launcher = stack.enter_context(LocalLauncher())
        subscriber = launcher.spawn(spec)
        stack.callback(os.kill, subscriber.pid, signal.SIGCONT)
        other = stack.enter_context(client.subscribe())
        eventually(lambda: "waiting for ticks" in launcher.logs(subscriber))
        client.start_broadcast()
        assert other.receive(TIMEOUT_SECONDS)
        os.kill(subscriber.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        times = []
        while time.monotonic() - stopped < 14.0:  # until RabbitMQ has given up its connection
            assert other.receive(TIMEOUT_SECONDS)
            times.append(time.monotonic())
        os.kill(subscriber.pid, signal.SIGCONT)
        last = other.receive(TIMEOUT_SECONDS)
        client.stop_broadcast()
        assert last
        printed = read_ticks(subscriber.process.stdout, last.number)
    assert printed == list(range(printed[0], last.number + 1)), "every number came, or was told as missed"
    gaps = [later - earlier for earlier, later in pairwise(times)]
    print(f"{len(printed)} ticks accounted for; the other subscriber waited at most {max(gaps):.3f} s")


def read_ticks(stdout: object, last: int) -> list[int]:
    """Return the numbers that a subscriber printed, received or missed, up to *last*."""
    numbers: list[int] = []
    for line in stdout:  # type: ignore[attr-defined]
        text = line.decode()
        if text.startswith("missed"):
            numbers += [int(number) for number in text.partition(": ")[2].split(",")]
        else:
            numbers.append(int(text.split("#")[1].split()[0]))
        if numbers[-1] >= last:
            break
    return numbers


@pytest.mark.parametrize("application", list(Application))
def test_a_second_node_with_its_state_in_memory_says_so_in_one_line_and_exits_2(
    start_system: StartSystem, amqp_url: str, application: Application
) -> None:
    first = start_system("rabbitmq", application)
    assert_refuses_a_second_node(first, amqp_url)
    assert_serves(first)


def assert_refuses_a_second_node(first: System, amqp_url: str) -> None:
    second = subprocess.run(
        [sys.executable, "-m", f"rabbitmq.insult_{first.spec.application}", "--namespace", first.namespace],
        env={**os.environ, "LAB_AMQP_URL": amqp_url},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert second.returncode == 2, second.stderr
    assert second.stdout == ""
    (line,) = second.stderr.splitlines()
    assert "serves this namespace already" in line


@pytest.mark.parametrize("application", list(Application))
def test_one_node_whose_sole_queue_was_deleted_declares_it_again_or_ends_if_it_is_anothers(
    rabbit: PrivateRabbit, redis_url: str, application: Application
) -> None:
    spec = SystemSpec("rabbitmq", application)
    with System(spec, BrokerUrls(redis_url, rabbit.url)) as first, channel_to(rabbit.url) as channel:
        (node,) = first.nodes
        sole = f"{first.namespace}.{application}.sole"
        rabbit.ctl("delete_queue", sole)
        eventually(lambda: sole in rabbit.queues(first.namespace))
        assert_refuses_a_second_node(first, rabbit.url)
        assert_serves(first)
        assert "connecting again" not in first.launcher.logs(node)
        os.kill(node.pid, signal.SIGSTOP)
        try:
            rabbit.ctl("delete_queue", sole)
            channel.queue_declare(sole, exclusive=True)
        finally:
            os.kill(node.pid, signal.SIGCONT)
        eventually(lambda: not first.launcher.alive(node))
        assert "serves this namespace already" in first.launcher.logs(node).splitlines()[-1]


def assert_serves(system: System) -> None:
    if system.spec.application is Application.SERVICE:
        with system.service() as service:
            assert service.add_insult("tonto")
    else:
        with system.filter() as filters:
            assert filters.filter("tonto") == "CENSORED"


def test_a_node_that_was_killed_is_replaced(start_system: StartSystem) -> None:
    first = start_system("rabbitmq", Application.SERVICE)
    first.launcher.kill(first.nodes[0])
    first.add_node()
    assert_serves(first)


def test_two_broadcasters_send_each_tick_once(start_system: StartSystem) -> None:
    services = start_system("rabbitmq", Application.SERVICE, Architecture.N_NODE, interval="100ms")
    with ExitStack() as stack:
        client = stack.enter_context(services.service())
        client.add_insult("tonto")
        services.start(next(role for role in services._roles() if role.name == BROADCASTER))
        subscription = stack.enter_context(client.subscribe())
        assert client.start_broadcast()
        ticks = [subscription.receive(TIMEOUT_SECONDS) for _ in range(20)]
        numbers = [tick.number for tick in ticks if tick]
        assert numbers == list(range(numbers[0], numbers[0] + 20))
        assert client.start_broadcast() is False
        assert client.stop_broadcast() is True
        eventually(lambda: subscription.receive(0.5) is None)


DIRECT = "amq.rabbitmq.reply-to"
ASKED = {
    Application.FILTER: (("filter", ""), ("filter.control", "X2"), ("filter.control", "X3")),
    Application.SERVICE: (("service", "X2"), ("service", "X4"), ("broadcaster", "X3")),
}
GOOD = 30


@pytest.mark.parametrize("application", list(Application))
def test_a_direct_reply_with_one_letter_changed_costs_itself_and_no_other_work(
    start_system: StartSystem, amqp_url: str, application: Application
) -> None:
    system = start_system("rabbitmq", application, Architecture.N_NODE, nodes=2)
    answered: set[str] = set()
    asked: set[str] = set()

    def ask(queue: str, code: str, where: str) -> None:
        number = str(len(asked))
        asked.add(number)
        if where != DIRECT:
            answered.add(number)  # nobody gets this one
        about = BasicProperties(type=code, reply_to=where, correlation_id=number, delivery_mode=2)
        channel.basic_publish("", f"{system.namespace}.{queue}", b"" if code else b"tonto", about)

    def all_are_answered() -> bool:
        channel.connection.process_data_events(0.1)
        return answered == asked

    with channel_to(amqp_url) as channel:
        channel.basic_consume(DIRECT, lambda *come: answered.add(come[2].correlation_id), auto_ack=True)
        damaged = one_letter_changed(channel)
        for queue, code in ASKED[application]:
            for number in range(GOOD):
                ask(queue, code, DIRECT)
                if number == GOOD // 2:
                    ask(queue, code, damaged)
        eventually(all_are_answered, within=TIMEOUT_SECONDS)
    assert_serves(system)
    dropped = len(ASKED[application])
    eventually(lambda: said("a reply was dropped", system) == dropped)
    # A break while several replies were under way, and one by the reply alone.
    assert dropped <= said("INTERNAL_ERROR", system) <= 2 * dropped
    for kind in ("dead", "retry"):
        assert letters(amqp_url, f"{system.namespace}.{application}.{kind}") == []


def said(text: str, system: System) -> int:
    """Return how often *text* is in the logs of all processes of *system*."""
    processes = [handle for handles in system.handles.values() for handle in handles]
    return sum(system.launcher.logs(process).count(text) for process in processes)


def one_letter_changed(channel: Any) -> str:
    """Return a damaged copy of the name for replies to *channel*. RabbitMQ cannot read it."""
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"", BasicProperties(reply_to=DIRECT))
    name = str(channel.basic_get(queue, auto_ack=True)[1].reply_to)
    return name[:24] + ("B" if name[24] != "B" else "C") + name[25:]
