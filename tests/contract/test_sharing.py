"""No call returns the answer to another one: over threads, after a fork, and after an interrupt."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.contract import Application, InsultFilter
from lab.errors import LabError
from lab.middleware import Promise
from lab.process.system import System
from tests.contract.conftest import Case

TEXTS = 40
DEADLINE_SECONDS = 20.0


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


class Interrupted(BaseException):
    """Not an error that a library would catch."""


@pytest.mark.needs(Promise.OWN_ANSWERS)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, Interrupted])
def test_after_an_interrupt_the_next_call_gets_its_own_answer(
    case: Case, interrupt: type[BaseException]
) -> None:
    system = case.start(Application.FILTER, node_arguments=("--work-time", "300ms"), nodes=1)

    def stop(*_: object) -> None:
        raise interrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with system.filter(DEADLINE_SECONDS) as client:
            assert client.filter("tonto before") == "CENSORED before"
            for number in range(3):
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                with pytest.raises(interrupt):
                    client.filter(f"tonto interrupted {number}")
                assert client.filter(f"tonto {number}") == f"CENSORED {number}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
