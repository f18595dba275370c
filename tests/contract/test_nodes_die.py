"""Nodes that die: never handed out beyond their lease, and their clients go on with another."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lab.contract import Application
from lab.errors import DeadlineExceeded
from lab.middleware import Promise
from lab.process.launcher import Handle
from lab.process.system import System
from tests.contract.conftest import N_NODE, StartLike, start_like
from tests.eventually import eventually

WAIT_SECONDS = 30.0


@pytest.fixture(scope="module", params=N_NODE)
def case(request: pytest.FixtureRequest) -> StartLike:
    return start_like(request)


@pytest.fixture(scope="module")
def shared(case: StartLike) -> Iterator[System]:
    with case(Application.FILTER, node_arguments=("--work-time", "10ms")) as system:
        yield system


def alive(system: System) -> list[Handle]:
    return [node for node in system.nodes if system.launcher.alive(node)]


@pytest.fixture
def two_nodes(shared: System) -> System:
    """A system of which two nodes are up, whatever the test before did to them."""
    while len(alive(shared)) < 2:
        shared.add_node()
    return shared


@pytest.mark.needs(Promise.FAIL_OVER)
def test_clients_whose_node_dies_go_on_with_another_and_so_do_new_ones(two_nodes: System) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(two_nodes.filter(deadline_seconds=15.0)) for _ in range(3)]
        for client in clients:
            client.filter("tonto")
        two_nodes.launcher.kill(alive(two_nodes)[0])
        clients += [stack.enter_context(two_nodes.filter(deadline_seconds=15.0)) for _ in range(3)]
        for client in clients:
            assert client.filter("tonto") == "CENSORED"


@pytest.mark.needs(Promise.FAIL_OVER)
def test_a_node_that_starts_later_takes_part(two_nodes: System) -> None:
    later = two_nodes.add_node()
    for node in alive(two_nodes):
        if node is not later:
            two_nodes.launcher.kill(node)
    with two_nodes.filter(deadline_seconds=15.0) as client:
        assert client.filter("tonto") == "CENSORED"


@pytest.mark.needs(Promise.SURVIVES_KILLED_NODE)
def test_nothing_submitted_is_lost_when_a_node_dies(two_nodes: System) -> None:
    with two_nodes.filter(deadline_seconds=15.0) as client:
        ids = [client.submit(f"tonto {number}") for number in range(60)]
        two_nodes.launcher.kill(alive(two_nodes)[0])
        results = [client.result(petition_id, WAIT_SECONDS) for petition_id in ids]
    assert results == [f"CENSORED {number}" for number in range(60)]


@pytest.mark.needs(Promise.DRAINS)
def test_a_node_told_to_stop_finishes_what_it_took(two_nodes: System) -> None:
    answers: list[str] = []

    def ask() -> None:
        with two_nodes.filter(deadline_seconds=15.0) as client:
            answers.extend(client.filter("tonto") for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) > 4)
    assert two_nodes.launcher.stop(alive(two_nodes)[0], timeout_seconds=10.0) == 0
    for thread in threads:
        thread.join()
    assert answers == ["CENSORED"] * 40


def test_while_no_node_is_up_a_call_ends_at_its_deadline_and_what_is_submitted_waits(shared: System) -> None:
    if not shared.middleware.waits_for_nodes:
        pytest.skip("a direct middleware is coupled in time: test_service.py shows that it is Unavailable")
    for node in alive(shared):
        shared.launcher.stop(node)
    with shared.filter(deadline_seconds=0.5) as client, pytest.raises(DeadlineExceeded):
        client.filter("tonto")
    with shared.filter() as client:
        petition_id = client.submit("tonto")
        shared.add_node()
        assert client.result(petition_id, WAIT_SECONDS) == "CENSORED"
