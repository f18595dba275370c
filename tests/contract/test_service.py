"""The InsultService: what every client sees, over four middlewares x two architectures."""

from uuid import uuid4

import pytest

from lab.contract import Application
from lab.errors import Code, LabError, NoInsults
from lab.process.system import System
from tests.contract.conftest import Case
from tests.eventually import eventually


def fresh(prefix: str = "tonto") -> str:
    return f"{prefix} {uuid4().hex[:8]}"


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


def test_a_random_insult_of_none_is_an_error_of_its_own(case: Case) -> None:
    with case.start(Application.SERVICE).service() as client, pytest.raises(NoInsults):
        client.insult_me()


def test_a_page_stops_before_it_is_too_large_to_send(service_system: System) -> None:
    prefix = f"喂 {uuid4().hex[:6]} "
    wanted = [f"{prefix}{number:04} {'喂' * 180}" for number in range(1000)]
    with service_system.service() as client:
        for insult in wanted:
            client.add_insult(insult)
        page = client.get_insults(after=prefix, limit=1000)
        rest = client.get_insults(after=page[-1], limit=1000)
        for insult in wanted:
            client.remove_insult(insult)
    assert len(page) < 1000
    assert [insult for insult in page + rest if insult.startswith(prefix)] == wanted


def test_a_client_of_nobody_is_told_so(case: Case) -> None:
    cluster = case.start(Application.SERVICE)
    target = cluster.target
    cluster.launcher.close()
    with pytest.raises(LabError) as caught, case.middleware.service_client(target, 1.0) as client:
        client.insult_me()
    expected = {Code.DEADLINE_EXCEEDED} if case.middleware.waits_for_nodes else {Code.UNAVAILABLE}
    assert caught.value.code in expected


def test_an_added_insult_is_seen_at_every_node(n_node: Case) -> None:
    cluster = n_node.start(Application.SERVICE)
    insult = fresh()
    with cluster.service() as writer:
        writer.add_insult(insult)
    for _ in range(3):  # the direct middlewares give each client another node
        with cluster.service() as reader:
            assert reader.get_insults() == [insult]
            assert reader.insult_me() == insult


def test_the_answer_comes_back_while_the_broadcast_runs(service_system: System) -> None:
    with service_system.service() as client:
        client.add_insult(fresh())
        client.start_broadcast()
        assert client.insult_me()
        assert client.stop_broadcast() is True
        eventually(lambda: client.insult_me())
