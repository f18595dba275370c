"""The InsultFilter: request and reply, the work queue, and whose answer a client gets."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import length_hint
from typing import Any
from uuid import uuid4

import pytest

from lab.contract import Application, Architecture, InsultFilter, Target
from lab.errors import Code, DeadlineExceeded, InvalidRequest, LabError, NotFound
from lab.middleware import MIDDLEWARES, VARIANTS, Promise
from lab.process.system import System
from tests.contract import wires
from tests.contract.conftest import StartLike
from tests.contract.wires import dead_letter, submit
from tests.eventually import eventually
from xmlrpc.client import Fault

WAIT_SECONDS = 10.0
DEADLINE_SECONDS = 20.0
ID_TTL_SECONDS = 1
TEXTS = 40
ADDRESSES = {"xmlrpc": "http://x:1", "redis_impl": "redis://x:1", "rabbitmq": "amqp://x:1", "pyro4": "x:1"}


@pytest.fixture
def client(filter_system: System) -> Iterator[InsultFilter]:
    with filter_system.filter(DEADLINE_SECONDS) as client:
        yield client


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


@pytest.mark.needs(Promise.MANY_CLIENTS)
def test_texts_are_sent_before_all_that_were_under_way_are_answered(filter_system: System) -> None:
    texts, under_way = iter(range(300)), []
    with filter_system.filter() as client:
        for answered, _ in enumerate(client.filter_many(map(str, texts), in_flight=50)):
            under_way.append(300 - length_hint(texts) - answered)
    assert min(under_way[:200]) >= 25  # half of them at most go together in one pipeline
    assert max(under_way) <= 50


def test_a_batch_of_texts_comes_back_although_together_they_are_too_large_to_send(
    filter_system: System,
) -> None:
    if not MIDDLEWARES[filter_system.spec.middleware].is_direct:
        pytest.skip("its texts travel in a pipeline")
    texts = ["tonto", "a friend", *("tonto " * 5_000 for _ in range(20))]
    if not MIDDLEWARES[filter_system.spec.middleware].promises(Promise.BOUNDED_INPUT):
        texts = texts[:12]  # its whole batch is one request, and as large as you make it
    with filter_system.filter(deadline_seconds=20.0) as client:
        filter_batch = getattr(client, "filter_batch")  # noqa: B009, those of direct middlewares have it
        filtered = filter_batch(texts)
        assert filter_batch([]) == []
    assert filtered == [text.replace("tonto", "CENSORED") for text in texts]


def test_the_largest_text_is_filtered_and_a_larger_one_refused(filter_system: System) -> None:
    largest = ("tonto " * 20_000)[: 64 * 1024]
    with filter_system.filter() as client:
        assert client.filter(largest).startswith("CENSORED CENSORED")
        with pytest.raises(InvalidRequest) as caught:
            client.filter(largest + "x")
        assert caught.value.code is Code.TOO_LARGE
        assert client.filter("tonto") == "CENSORED"


def test_submitted_texts_get_their_results(filter_system: System, client: InsultFilter) -> None:
    ids = [client.submit(f"tonto {number}") for number in range(30)]
    with filter_system.filter() as another:
        results = [another.result(petition_id, WAIT_SECONDS) for petition_id in ids]
    assert results == [f"CENSORED {number}" for number in range(30)]


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


def test_a_bad_argument_gets_the_code_and_sentence_that_every_wire_gives(client: InsultFilter) -> None:
    assert list(wires.wrong_answers(client, wires.FILTER_CALLS)) == []
    assert client.filter("tonto") == "CENSORED"


def test_no_client_takes_a_deadline_that_is_none() -> None:
    for known in MIDDLEWARES.values():
        for make in (known.service_client, known.filter_client):
            for architecture in Architecture:
                target = Target("127.0.0.1:1", architecture)

                def connect(_: Any, bad: Any, make: Any = make, target: Target = target) -> object:
                    return make(target, bad)

                calls = {"client": (connect, "deadline_seconds", wires.NO_DEADLINE)}
                assert list(wires.wrong_answers(None, calls)) == []


def test_the_address_of_another_middleware_is_malformed_and_the_right_form_is_told() -> None:
    for name in VARIANTS:
        mine = ADDRESSES.get(name.partition(":")[0], "")
        right = mine.replace("x:1", "HOST:PORT")
        for other in {*ADDRESSES.values(), "PYRO:x@y:1", "foo"} - {mine} if mine else ():
            with (
                pytest.raises(InvalidRequest, match=f"give (a URL like )?{right}"),
                MIDDLEWARES[name].filter_client(Target(other), 1.0) as client,
            ):
                client.filter("fool")


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_an_id_used_again_at_once_for_another_text_changes_nothing(
    filter_system: System, client: InsultFilter
) -> None:
    used = uuid4().hex
    submit(filter_system, used, "1 tonto")
    eventually(lambda: result(client, used) == "1 CENSORED")
    if filter_system.middleware.is_direct:
        with pytest.raises((Fault, ValueError, InvalidRequest), match=r"MALFORMED|this id was used"):
            submit(filter_system, used, "2 tonto")
    else:  # nobody waits for an answer
        submit(filter_system, used, "2 tonto")
        eventually(lambda: "2 tonto" in dead_letter(filter_system))
    assert result(client, used) == "1 CENSORED"


@pytest.fixture(scope="module")
def on_demand_system(case: StartLike, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A node that filters when it is told to, with insults of its own, and that soon forgets ids."""
    path = tmp_path_factory.mktemp("insults") / "insults.txt"
    path.write_text("tonto\nxyzzy\n", encoding="utf-8")
    options = ("--on-demand", "--insults", str(path))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LAB_ID_TTL", str(ID_TTL_SECONDS))
        with case(Application.FILTER, nodes=1, node_arguments=options) as system:
            yield system


@pytest.mark.needs(Promise.EFFECT_ONCE)
def test_an_id_that_expired_belongs_to_a_new_text_unless_its_own_still_waits(
    on_demand_system: System,
) -> None:
    system = on_demand_system
    with system.filter() as client:
        submit(system, "done", "1 tonto")
        eventually(lambda: client.resolve() == "1 CENSORED")
        submit(system, "waits", "2 tonto")
        time.sleep(ID_TTL_SECONDS + 0.5)  # not before an assertion: the ids expire
        if system.middleware.is_direct:
            with pytest.raises((Fault, ValueError, InvalidRequest), match="not finished"):
                submit(system, "waits", "3 tonto")
        else:
            submit(system, "waits", "3 tonto")
        submit(system, "done", "4 tonto")
        eventually(lambda: client.resolve() == "2 CENSORED")
        eventually(lambda: client.resolve() == "4 CENSORED")
        assert client.resolve() is None
        assert (result(client, "waits"), result(client, "done")) == ("2 CENSORED", "4 CENSORED")
        assert [found.text for found in client.get_results() if found.petition_id == "done"] == ["4 CENSORED"]
        if not system.middleware.is_direct:
            eventually(lambda: "3 tonto" in dead_letter(system))


def result(client: Any, petition_id: str) -> str:
    with suppress(NotFound):
        return str(client.result(petition_id, 5.0))
    return ""


def test_on_demand_the_oldest_waiting_text_is_filtered_when_asked(on_demand_system: System) -> None:
    with on_demand_system.filter() as client:
        first, second = client.submit("tonto 1"), client.submit("tonto 2")
        assert client.resolve() == "CENSORED 1"
        assert client.result(first, WAIT_SECONDS) == "CENSORED 1"
        with pytest.raises(DeadlineExceeded):
            client.result(second, 0.3)
        assert client.resolve() == "CENSORED 2"
        assert client.resolve() is None
        client.submit("bobo xyzzy")  # n nodes censor the other insults of the store, too
        is_shared = on_demand_system.spec.architecture is Architecture.N_NODE
        assert client.resolve() == ("CENSORED CENSORED" if is_shared else "bobo CENSORED")


def test_n_nodes_censor_what_the_service_of_their_namespace_stores(
    case: StartLike, filter_system: System, client: InsultFilter
) -> None:
    if filter_system.spec.architecture is not Architecture.N_NODE:
        pytest.skip("one node has insults of its own")
    with (
        case(Application.SERVICE, nodes=1, namespace=filter_system.namespace) as services,
        services.service() as service,
    ):
        service.add_insult("capsigrany")
        eventually(lambda: client.filter("quin capsigrany") == "quin CENSORED")
        service.remove_insult("capsigrany")
        eventually(lambda: client.filter("quin capsigrany") == "quin capsigrany")


def all_answered(client: InsultFilter, mark: str) -> bool:
    """Filter texts that nobody else has, and tell whether each was answered with its own."""
    texts = [f"tonto {mark} {number}" for number in range(TEXTS)]
    answers = [client.filter(text) for text in texts]
    return answers == [text.replace("tonto", "CENSORED") for text in texts]


def refuses_or_answers(client: InsultFilter, mark: str) -> bool:
    """Tell the same where a refusal is as good; a wrong answer is not."""
    try:
        return all_answered(client, mark)
    except LabError:
        return True


def forked(check: Callable[[], bool]) -> Callable[[], bool]:
    """Run *check* in a process forked now; return what waits for its result."""
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if check() else 1
        finally:
            os._exit(code)
    return lambda: os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_that_share_a_client_get_the_answers_to_their_own_texts(filter_system: System) -> None:
    with filter_system.filter(DEADLINE_SECONDS) as client, ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda mark: all_answered(client, f"thread-{mark}"), range(8)))


@pytest.mark.needs(Promise.OWN_ANSWERS)
def test_a_client_takes_other_calls_while_a_stream_of_its_answers_is_read(filter_system: System) -> None:
    texts = [f"tonto {number}" for number in range(20)]
    with filter_system.filter(DEADLINE_SECONDS) as client:
        for number, answer in enumerate(client.filter_many(texts, in_flight=5)):
            assert answer == f"CENSORED {number}"
            assert client.filter(f"tonto, {number}") == f"CENSORED, {number}"


@pytest.mark.needs(Promise.OWN_ANSWERS)
def test_after_a_fork_both_processes_get_the_answers_to_their_own_texts(filter_system: System) -> None:
    with filter_system.filter(DEADLINE_SECONDS) as client:
        assert client.filter("tonto before") == "CENSORED before"
        was_right_in_the_child = forked(lambda: refuses_or_answers(client, "child"))
        assert all_answered(client, "parent")
        assert was_right_in_the_child()
        assert client.filter("tonto after") == "CENSORED after"  # the child's end has closed nothing here


@pytest.mark.needs(Promise.OWN_ANSWERS)
def test_a_fork_during_another_threads_call_disturbs_neither_process(filter_system: System) -> None:
    with filter_system.filter(DEADLINE_SECONDS) as client, ThreadPoolExecutor(1) as threads:
        client.filter("tonto before")
        under_way = threads.submit(all_answered, client, "thread")
        assert forked(lambda: refuses_or_answers(client, "child"))()
        assert under_way.result()
