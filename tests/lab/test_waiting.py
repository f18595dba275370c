"""How a client waits for a result: it asks again until it is there, by a clock that the test moves."""

from collections.abc import Callable

import pytest

from lab.client.retry import wait_for_result
from lab.errors import DeadlineExceeded, NotFound, Unavailable
from tests.lab.clock import Clock

DEADLINE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the client goes by."""
    clock = Clock()
    monkeypatch.setattr("lab.client.retry.time", clock)
    return clock


def asked(answers: list[str | Exception]) -> Callable[[float], str]:
    """Return a question that gets *answers*, the last one again and again."""

    def ask(left: float) -> str:
        assert left > 0
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_a_result_that_is_there_is_returned_without_a_pause(clock: Clock) -> None:
    assert wait_for_result(asked(["text"]), "petition", DEADLINE_SECONDS) == "text"
    assert clock.elapsed == 0


def test_a_result_is_asked_for_until_it_is_there() -> None:
    ask = asked([*[NotFound("not yet")] * 5, "text"])
    assert wait_for_result(ask, "petition", DEADLINE_SECONDS) == "text"


def test_a_result_that_never_comes_is_waited_for_until_the_timeout(clock: Clock) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for_result(asked([NotFound("not yet")]), "petition", DEADLINE_SECONDS)
    assert "petition" in caught.value.message
    assert DEADLINE_SECONDS - 0.1 <= clock.elapsed <= DEADLINE_SECONDS


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0])
def test_a_result_is_asked_for_once_where_there_is_no_time(timeout_seconds: float) -> None:
    assert wait_for_result(asked(["text"]), "petition", timeout_seconds) == "text"
    with pytest.raises(DeadlineExceeded):
        wait_for_result(asked([NotFound("not yet")]), "petition", timeout_seconds)


def test_an_error_other_than_not_found_ends_the_waiting() -> None:
    with pytest.raises(Unavailable):
        wait_for_result(asked([Unavailable("gone"), "text"]), "petition", DEADLINE_SECONDS)
