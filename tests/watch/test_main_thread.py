"""The main-thread executor: no task ends it, and it can be closed from several threads."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.errors import InternalError, LabError, NotFound, Unavailable
from watch.main_thread import MOST_WAITING, MainThreadExecutor

END_SECONDS = 30.0


def working(executor: MainThreadExecutor) -> None:
    """Run its tasks in a thread of this test."""
    threading.Thread(target=executor.work, daemon=True).start()


def refuse() -> None:
    raise NotFound("no such node")


def test_a_task_that_fails_in_any_way_ends_nothing_but_itself() -> None:
    executor = MainThreadExecutor()
    working(executor)
    with pytest.raises(NotFound):
        executor.run(refuse)
    with pytest.raises(InternalError):
        executor.run(lambda: 1 // 0)
    with pytest.raises(InternalError):
        executor.run(lambda: [][0])
    assert executor.run(lambda: 7) == 7


def test_several_threads_may_close_it_while_tasks_come() -> None:
    for _ in range(200):
        executor = MainThreadExecutor()
        with ThreadPoolExecutor(2 * MOST_WAITING) as pool:
            asked = [pool.submit(executor.run, lambda: 7) for _ in range(MOST_WAITING)]
            closed = [pool.submit(executor.close) for _ in range(MOST_WAITING)]
            for one in closed:
                one.result(END_SECONDS)
            for task in asked:
                assert isinstance(task.exception(END_SECONDS), LabError)


def test_the_task_under_way_is_refused_when_a_signal_ends_the_work() -> None:
    executor = MainThreadExecutor()

    def interrupted() -> None:
        raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(executor.run, interrupted)
        with pytest.raises(KeyboardInterrupt):
            executor.work()
        executor.close()
        executor.close()
        assert isinstance(asked.exception(END_SECONDS), Unavailable)
