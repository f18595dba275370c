"""How a client sends: in a closed loop, in a pipeline, or when the plan says so."""

import time
from collections.abc import Callable, Iterator, Sequence

from harness.load.subject import Driver
from harness.record.recorder import Recorder
from lab.errors import LabError

now = time.perf_counter_ns


def closed_loop(driver: Driver, numbers: Iterator[int], recorder: Recorder) -> None:
    """Send a request when the last is answered. What is planned is what is done: a stall delays both."""
    for number in numbers:
        _request(driver, number, 0, recorder)


def pipeline(driver: Driver, numbers: Iterator[int], in_flight: int, recorder: Recorder) -> None:
    """Keep *in_flight* requests under way. One counts as sent when the client takes it up."""
    tally = recorder.tally
    under_way: dict[int, int] = {}

    def sending() -> Iterator[int]:
        for number in numbers:
            tally.made += 1
            under_way[number] = now()
            yield number

    try:
        for number, is_right in driver.pipeline(sending(), in_flight):
            sent_ns = under_way.pop(number, 0)
            if sent_ns:
                recorder.answered(sent_ns, sent_ns, now(), is_right)
            else:
                tally.duplicates += 1
    except LabError as error:
        tally.failed[error.code] += len(under_way)


def open_loop(
    driver: Driver,
    take: Callable[[], int],
    due_ns: Sequence[int],
    start_ns: int,
    recorder: Recorder,
) -> None:
    """Send each request that *take* gives when it is due, however long the others took.

    A late one is sent at once and its response time counts from when it was due: nothing is skipped or put
    off, so a stall shows in every request that it delayed.
    """
    while (number := take()) < len(due_ns):
        planned_ns = start_ns + due_ns[number]
        wait_ns = planned_ns - now()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        _request(driver, number, planned_ns, recorder)


def _request(driver: Driver, number: int, planned_ns: int, recorder: Recorder) -> None:
    """Make a request and note what becomes of it; *planned_ns* 0: it was planned when it is sent."""
    tally = recorder.tally
    tally.made += 1
    sent_ns = now()
    try:
        is_right = driver.request(number)
    except LabError as error:
        tally.failed[error.code] += 1
    else:
        recorder.answered(planned_ns or sent_ns, sent_ns, now(), is_right)
