"""A user's own function in place of censoring: the same results and failures over every middleware."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.contract import Application, Architecture, InsultFilter
from lab.errors import InternalError
from lab.middleware import Promise
from lab.process.system import System
from tests.contract.conftest import StartLike
from tests.contract.handlers import REST_SECONDS

WAIT_SECONDS = 30.0


@pytest.fixture(scope="module")
def handler_system(case: StartLike) -> Iterator[System]:
    with case(Application.FILTER, node_arguments=("--handler", "tests.contract.handlers:deeds")) as system:
        yield system


@pytest.fixture
def client(handler_system: System) -> Iterator[InsultFilter]:
    with handler_system.filter(deadline_seconds=15.0) as client:
        yield client


def test_a_function_of_the_users_takes_the_place_of_censoring(client: InsultFilter) -> None:
    assert client.filter("quin tonto") == "QUIN TONTO"
    assert list(client.filter_many(["a", "b"])) == ["A", "B"]
    assert client.result(client.submit("ß é"), WAIT_SECONDS) == "SS É"


@pytest.mark.needs(Promise.BOUNDED_INPUT)
def test_a_function_that_raises_is_an_internal_error_and_the_node_goes_on(client: InsultFilter) -> None:
    with pytest.raises(InternalError) as caught:
        client.filter("bad")
    assert "this text is bad" not in caught.value.message
    assert client.filter("good") == "GOOD"


@pytest.mark.needs(Promise.DEAD_LETTERS)
def test_a_submitted_text_for_which_the_function_raises_is_tried_again(
    client: InsultFilter, tmp_path: Path
) -> None:
    bad, failing = client.submit("bad"), client.submit(f"fail {tmp_path}/failed")
    assert client.result(failing, WAIT_SECONDS).startswith("FAIL")
    assert client.result(client.submit("good"), WAIT_SECONDS) == "GOOD"
    assert bad not in [result.petition_id for result in client.get_results()]


class Interrupted(BaseException):
    """Not an error that a library would catch."""


@pytest.mark.needs(Promise.OWN_ANSWERS)
def test_after_an_interrupt_the_next_call_gets_its_own_answer(client: InsultFilter) -> None:
    interrupt: type[BaseException] = Interrupted

    def stop(*_: object) -> None:
        raise interrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        client.filter("connected")
        for number in range(4):
            interrupt = (Interrupted, KeyboardInterrupt)[number % 2]
            signal.setitimer(signal.ITIMER_REAL, REST_SECONDS / 3)
            with pytest.raises(interrupt):
                client.filter(f"rest {number}")
            assert client.filter(f"next {number}") == f"NEXT {number}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.needs(Promise.SURVIVES_KILLED_NODE)
def test_a_submitted_text_for_which_the_function_kills_its_node_is_done_by_another(
    handler_system: System, client: InsultFilter, tmp_path: Path
) -> None:
    if handler_system.spec.architecture is not Architecture.N_NODE:
        pytest.skip("one node has no other")
    dying = client.submit(f"die {tmp_path}/died")
    assert client.result(dying, WAIT_SECONDS).startswith("DIE")
    assert client.filter("good") == "GOOD"
