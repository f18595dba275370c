"""Nodes that die: never handed out beyond their lease, and their clients go on with another."""

import threading
from contextlib import ExitStack

import pytest

from lab.contract import Application
from lab.middleware import Promise
from tests.contract.conftest import Case
from tests.eventually import eventually


@pytest.mark.needs(Promise.FAIL_OVER)
def test_a_client_whose_node_dies_goes_on_with_another(n_node: Case) -> None:
    cluster = n_node.start(Application.FILTER)
    with ExitStack() as stack:
        clients = [stack.enter_context(cluster.filter(deadline_seconds=15.0)) for _ in range(3)]
        for client in clients:
            client.filter("tonto")
        cluster.launcher.kill(cluster.nodes[0])
        for client in clients:
            assert client.filter("tonto") == "CENSORED"


@pytest.mark.needs(Promise.FAIL_OVER)
def test_new_clients_are_served_after_all_nodes_but_one_died(n_node: Case) -> None:
    cluster = n_node.start(Application.SERVICE)
    for node in cluster.nodes[:2]:
        cluster.launcher.kill(node)
    for number in range(4):
        with cluster.service(deadline_seconds=15.0) as client:
            assert client.add_insult(f"tonto {number}") is True


@pytest.mark.needs(Promise.SURVIVES_KILLED_NODE)
def test_nothing_submitted_is_lost_when_a_node_dies(n_node: Case) -> None:
    cluster = n_node.start(Application.FILTER, node_arguments=("--work-time", "5ms"))
    with cluster.filter(deadline_seconds=15.0) as client:
        ids = [client.submit(f"tonto {number}") for number in range(100)]
        cluster.launcher.kill(cluster.nodes[0])
        results = [client.result(petition_id, 30.0) for petition_id in ids]
    assert results == [f"CENSORED {number}" for number in range(100)]


@pytest.mark.needs(Promise.FAIL_OVER)
def test_a_node_that_starts_later_takes_part(n_node: Case) -> None:
    cluster = n_node.start(Application.FILTER, nodes=1)
    cluster.add_node()
    cluster.launcher.kill(cluster.nodes[0])
    with cluster.filter(deadline_seconds=15.0) as client:
        assert client.filter("tonto") == "CENSORED"


@pytest.mark.needs(Promise.DRAINS)
def test_a_node_told_to_stop_finishes_what_it_took(n_node: Case) -> None:
    cluster = n_node.start(Application.FILTER, node_arguments=("--work-time", "20ms"))
    answers: list[str] = []

    def ask() -> None:
        with cluster.filter(deadline_seconds=15.0) as client:
            answers.extend(client.filter("tonto") for _ in range(10))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(answers) > 4)
    assert cluster.launcher.stop(cluster.nodes[0], timeout_seconds=10.0) == 0
    for thread in threads:
        thread.join()
    assert answers == ["CENSORED"] * 40
