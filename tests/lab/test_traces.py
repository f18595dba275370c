"""Load profiles made from the traces of real systems."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest
from lab.load.profiles import Profile, from_trace

REAL_TRACE = ROOT.parent / "shared" / "traces" / "elb_requests_5min.csv"
NAN, INFINITE = float("nan"), float("inf")
LINES = """timestamp,value
2014-04-10 00:00:00,300.0
2014-04-10 00:05:00,600.0
2014-04-10 00:10:00,0.0
2014-04-10 00:20:00,30.0
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of four lines; that of 00:15 is missing."""
    path = tmp_path / "trace.csv"
    path.write_text(LINES, encoding="utf-8")
    return path


def refused(make: Callable[[], Profile]) -> InvalidRequest:
    """Return the error that *make* raises."""
    with pytest.raises(InvalidRequest) as caught:
        make()
    return caught.value


def test_a_trace_is_replayed_as_it_was(trace: Path) -> None:
    profile = from_trace(trace)
    assert profile.duration_seconds == 1_500
    assert [profile.rate_at(60 * minute) for minute in (0, 4, 5, 10, 20)] == [1, 1, 2, 0, 0.1]


def test_a_missing_interval_of_a_trace_has_the_rate_of_the_one_before(trace: Path) -> None:
    trace.write_text(LINES.replace("0.0\n2014-04-10 00:20", "90.0\n2014-04-10 00:20"), encoding="utf-8")
    assert from_trace(trace).rate_at(17 * 60) == from_trace(trace).rate_at(10 * 60) > 0


def test_a_faster_trace_sends_the_same_requests_in_less_time(trace: Path) -> None:
    slow, fast = from_trace(trace), from_trace(trace, speed=100)
    assert fast.duration_seconds == 15
    assert fast.mean_rate == pytest.approx(100 * slow.mean_rate)


def test_a_scaled_trace_has_more_requests_in_the_same_time(trace: Path) -> None:
    plain, scaled = from_trace(trace), from_trace(trace, scale=3)
    assert scaled.duration_seconds == plain.duration_seconds
    assert scaled.mean_rate == pytest.approx(3 * plain.mean_rate)


def test_a_trace_says_what_it_is(trace: Path) -> None:
    assert from_trace(trace, 60, 2).description == "trace.csv, 60 times faster, 2 times higher"


@pytest.mark.parametrize("factor", [0.0, -1.0, NAN, INFINITE, 1e300, 1e-300])
def test_a_speed_or_scale_that_cannot_be_is_refused(trace: Path, factor: float) -> None:
    assert refused(lambda: from_trace(trace, speed=factor)).code is Code.MALFORMED
    if factor != 1e-300:
        assert refused(lambda: from_trace(trace, scale=factor)).code is Code.MALFORMED


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n",
        "time,count\n2014-04-10 00:00:00,1\n2014-04-10 00:05:00,1\n",
        "timestamp,value\n",
        "timestamp,value\n2014-04-10 00:00:00,1\n",
        "timestamp,value\n2014-04-10 00:00:00,0\n2014-04-10 00:05:00,0\n",
    ],
)
def test_a_trace_without_load_is_refused(trace: Path, content: str) -> None:
    trace.write_text(content, encoding="utf-8")
    assert refused(lambda: from_trace(trace)).code is Code.MALFORMED


@pytest.mark.parametrize(
    "line",
    [
        "noon,1",
        "2014-04-10 00:25:00",
        "2014-04-10 00:25:00,1,2",
        "2014-04-10 00:25:00,many",
        "2014-04-10 00:25:00,-1",
        "2014-04-10 00:25:00,nan",
        "2014-04-10 00:25:00,inf",
        "2014-04-10 00:20:00,1",
        "2014-04-10 00:19:00,1",
        "2014-04-10 00:25:00+02:00,1",
    ],
)
def test_a_bad_line_of_a_trace_is_named(trace: Path, line: str) -> None:
    trace.write_text(f"{LINES}{line}\n", encoding="utf-8")
    error = refused(lambda: from_trace(trace))
    assert error.code is Code.MALFORMED
    assert f"{trace}: line 6 " in error.message


def test_blank_lines_and_a_byte_order_mark_do_no_harm(trace: Path) -> None:
    plain = from_trace(trace)
    trace.write_bytes(b"\xef\xbb\xbf" + LINES.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    assert from_trace(trace) == plain


def test_a_trace_that_is_not_there_or_is_a_folder_or_not_text_is_named(trace: Path) -> None:
    assert str(trace.parent) in refused(lambda: from_trace(trace.parent)).message
    trace.write_bytes(b"timestamp,value\n\xff\xfe")
    assert refused(lambda: from_trace(trace)).code is Code.BAD_ENCODING
    trace.unlink()
    assert str(trace) in refused(lambda: from_trace(trace)).message


def test_a_field_too_long_for_csv_is_refused(trace: Path) -> None:
    trace.write_text(f"{LINES}{'9' * 200_000},1\n", encoding="utf-8")
    assert refused(lambda: from_trace(trace)).code is Code.MALFORMED


@pytest.mark.skipif(not REAL_TRACE.exists(), reason="the real trace is not part of the project")
def test_the_real_trace_lasts_two_weeks_and_can_be_replayed_in_two_minutes() -> None:
    profile = from_trace(REAL_TRACE, speed=10_080, scale=0.1)
    assert profile.duration_seconds == pytest.approx(120, rel=0.01)
    assert profile.mean_rate == pytest.approx(208, rel=0.01)
    assert math.isclose(from_trace(REAL_TRACE).duration_seconds, 14 * 86_400, rel_tol=0.01)
