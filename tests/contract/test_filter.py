"""The InsultFilter: request and reply, and the work queue."""

from uuid import uuid4

import pytest

from lab.contract import Application, Architecture
from lab.errors import Code, DeadlineExceeded, InvalidRequest, NotFound
from lab.middleware import Promise
from lab.process.system import System
from tests.contract.conftest import Case
from tests.eventually import eventually

WAIT_SECONDS = 10.0


def test_insults_in_a_text_are_censored(filter_system: System) -> None:
    with filter_system.filter() as client:
        assert client.filter("Hola TONTO, adéu; tontos no.") == "Hola CENSORED, adéu; tontos no."


@pytest.mark.needs(Promise.ANY_TEXT)
def test_a_text_without_insults_comes_back_unchanged(filter_system: System) -> None:
    texts = ["", " ", "<&>\"' ]]>", "two\nlines\r\n\tand a tab", "e\u0301 decomposed", "\U0001f600 喂"]
    with filter_system.filter() as client:
        assert [client.filter(text) for text in texts] == texts


@pytest.mark.needs(Promise.MANY_CLIENTS)
def test_many_texts_come_back_in_their_order(filter_system: System) -> None:
    texts = [f"{number} tonto {number}" for number in range(300)]
    with filter_system.filter() as client:
        filtered = list(client.filter_many(texts, in_flight=50))
    assert filtered == [text.replace("tonto", "CENSORED") for text in texts]


def test_many_large_texts_come_back_although_a_batch_of_them_is_too_large_to_send(
    filter_system: System,
) -> None:
    texts = ["tonto " * 5_000 for _ in range(20)]
    with filter_system.filter(deadline_seconds=20.0) as client:
        filtered = list(client.filter_many(texts, in_flight=20))
    assert filtered == [text.replace("tonto", "CENSORED") for text in texts]


def test_the_largest_text_is_filtered_and_a_larger_one_refused(filter_system: System) -> None:
    largest = ("tonto " * 20_000)[: 64 * 1024]
    with filter_system.filter() as client:
        assert client.filter(largest).startswith("CENSORED CENSORED")
        with pytest.raises(InvalidRequest) as caught:
            client.filter(largest + "x")
        assert caught.value.code is Code.TOO_LARGE
        assert client.filter("tonto") == "CENSORED"


def test_a_submitted_text_gets_its_result(filter_system: System) -> None:
    with filter_system.filter() as ana, filter_system.filter() as bert:
        petition_id = ana.submit("quin tonto")
        assert bert.result(petition_id, WAIT_SECONDS) == "quin CENSORED"


def test_results_are_listed_newest_first(filter_system: System) -> None:
    marks = [uuid4().hex for _ in range(4)]
    with filter_system.filter() as client:
        for mark in marks:
            client.result(client.submit(f"tonto {mark}"), WAIT_SECONDS)
        newest = client.get_results(limit=3)
        assert [result.text for result in newest] == [f"CENSORED {mark}" for mark in marks[:0:-1]]
        assert newest.more is True


def test_a_page_of_results_stops_before_it_is_too_large(filter_system: System) -> None:
    with filter_system.filter(deadline_seconds=20.0) as client:
        ids = [client.submit(f"{number} " + "x" * 60_000) for number in range(12)]
        for petition_id in ids:
            client.result(petition_id, WAIT_SECONDS)
        page = client.get_results()
        assert page.more is True
        assert 1 <= sum(len(result.text) for result in page) <= 512 * 1024


def test_what_has_no_result_is_waited_for_until_the_timeout(filter_system: System) -> None:
    with filter_system.filter() as client, pytest.raises((DeadlineExceeded, NotFound)):
        client.result(uuid4().hex, 0.2)


def test_on_demand_the_oldest_waiting_text_is_filtered_when_asked(case: Case) -> None:
    cluster = case.start(Application.FILTER, node_arguments=("--on-demand",))
    with cluster.filter() as client:
        first, second = client.submit("tonto 1"), client.submit("tonto 2")
        assert client.resolve() == "CENSORED 1"
        assert client.result(first, WAIT_SECONDS) == "CENSORED 1"
        with pytest.raises(DeadlineExceeded):
            client.result(second, 0.3)
        assert client.resolve() == "CENSORED 2"
        assert client.resolve() is None


def test_n_nodes_share_the_work_list(n_node: Case) -> None:
    cluster = n_node.start(Application.FILTER)
    with cluster.filter() as client:
        ids = [client.submit(f"tonto {number}") for number in range(60)]
        results = [client.result(petition_id, WAIT_SECONDS) for petition_id in ids]
    assert results == [f"CENSORED {number}" for number in range(60)]


def test_the_filter_censors_what_the_service_of_its_namespace_stores(n_node: Case, namespace: str) -> None:
    services = n_node.start(Application.SERVICE, namespace=namespace)
    filters = n_node.start(Application.FILTER, namespace=namespace)
    with services.service() as service, filters.filter() as client:
        service.add_insult("capsigrany")
        eventually(lambda: client.filter("quin capsigrany") == "quin CENSORED", within=5.0)
        service.remove_insult("capsigrany")
        eventually(lambda: client.filter("quin capsigrany") == "quin capsigrany", within=5.0)


def test_what_is_submitted_while_no_node_is_up_is_done_when_one_starts(n_node: Case) -> None:
    if not n_node.middleware.waits_for_nodes:
        pytest.skip(
            "a direct middleware is coupled in time: it answers Unavailable (tests/contract/test_service)"
        )
    cluster = n_node.start(Application.FILTER)
    for node in cluster.nodes:
        cluster.launcher.stop(node)
    with cluster.filter() as client:
        petition_id = client.submit("tonto")
        cluster.add_node()
        assert client.result(petition_id, WAIT_SECONDS) == "CENSORED"


def test_one_node_has_a_file_of_insults(case: Case, tmp_path: pytest.TempPathFactory) -> None:
    if case.architecture is not Architecture.ONE_NODE:
        pytest.skip("n nodes censor the insults of the store")
    path = tmp_path / "insults.txt"  # type: ignore[operator]
    path.write_text("sabater\n", encoding="utf-8")
    cluster = case.start(Application.FILTER, node_arguments=("--insults", str(path)))
    with cluster.filter() as client:
        assert client.filter("tonto sabater") == "tonto CENSORED"
