"""Load profiles: rates that change with time, and those of the traces of real systems."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest
from lab.load.profiles import PROFILES, Profile, bursts, from_trace, noisy, ramp, sine, spike, steady, step

NAN, INFINITE = float("nan"), float("inf")
LINES = """timestamp,value
2014-04-10 00:00:00,300.0
2014-04-10 00:05:00,600.0
2014-04-10 00:10:00,0.0
2014-04-10 00:20:00,30.0
"""


def refused(make: Callable[[], Profile]) -> InvalidRequest:
    """Return the error that *make* raises."""
    with pytest.raises(InvalidRequest) as caught:
        make()
    return caught.value


def test_the_known_profiles_can_be_had_by_name() -> None:
    assert list(PROFILES) == ["steady", "step", "spike", "ramp", "sine", "noisy", "bursts"]
    assert all(make().name == name for name, make in PROFILES.items())


@pytest.mark.parametrize("name", PROFILES)
def test_the_mean_rate_is_the_area_under_the_rate(name: str) -> None:
    profile = PROFILES[name]()
    samples = 10_000
    at = [(index + 0.5) * profile.duration_seconds / samples for index in range(samples)]
    area = sum(map(profile.rate_at, at)) / samples
    assert profile.mean_rate == pytest.approx(area, rel=1e-3)


@pytest.mark.parametrize(
    ("profile", "mean"),
    [
        (steady(40, 10), 40),
        (step(100, 300, at=15, seconds=20), 150),
        (spike(100, 300, at=5, width=1, seconds=20), 110),
        (ramp(100, 300, seconds=7), 200),
        (ramp(300, 0, seconds=7), 150),
        (sine(100, 300, period=5, seconds=20), 200),
        (bursts(), 285 * 83 / 60),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_the_mean_rate_is_what_the_arguments_say(profile: Profile, mean: float) -> None:
    assert profile.mean_rate == pytest.approx(mean)


def test_a_step_goes_up_at_its_time() -> None:
    profile = step(1, 2, at=5, seconds=10)
    assert [profile.rate_at(seconds) for seconds in (0, 4.999, 5, 9.999)] == [1, 1, 2, 2]


def test_a_ramp_is_never_far_from_its_line() -> None:
    profile = ramp(100, 340, seconds=10)
    assert all(abs(profile.rate_at(at / 100) - (100 + 0.24 * at)) <= 0.5001 for at in range(1_000))


def test_a_sine_begins_low_and_is_high_after_half_a_period() -> None:
    profile = sine(100, 300, period=20, seconds=40)
    highs_and_lows = [profile.rate_at(seconds) for seconds in (0, 5, 10, 15, 20, 30)]
    assert highs_and_lows == pytest.approx([100, 200, 300, 200, 100, 300], abs=8)


def test_a_noisy_profile_keeps_each_of_its_levels_for_four_seconds() -> None:
    profile = noisy(100, 300, seed=3, seconds=41)
    assert profile.starts == tuple(range(0, 44, 4))
    assert len(set(profile.rates)) == len(profile.rates)
    assert all(100 <= rate <= 300 for rate in profile.rates)


def test_bursts_are_publishers_that_join_one_by_one_and_leave_in_pairs() -> None:
    publishers = [
        bursts().rate_at(second) / 285 for second in (0, 1, 7, 11, 20.9, 21, 31, 41, 50.9, 51, 59.9)
    ]
    assert publishers == [0, 1, 2, 3, 3, 1, 2, 0, 0, 1, 1]


@pytest.mark.parametrize("seconds", [-0.001, 60, 61, NAN, INFINITE, -INFINITE])
def test_there_is_no_load_before_and_after_a_profile(seconds: float) -> None:
    assert step(1, 2, at=5, seconds=60).rate_at(seconds) == 0


@pytest.mark.parametrize(
    ("seconds", "parts"), [(3, [(0, 3, 1)]), (5, [(0, 5, 1)]), (6, [(0, 5, 1), (5, 6, 2)])]
)
def test_a_profile_can_be_cut(seconds: float, parts: list[tuple[float, float, float]]) -> None:
    assert list(step(1, 2, at=5, seconds=60).until(seconds).parts()) == parts


def test_a_profile_that_is_shortened_keeps_every_change() -> None:
    shortened = step(1, 2, at=40, seconds=120).lasting(12)
    assert list(shortened.parts()) == [(0.0, 4.0, 1), (4.0, 12.0, 2)]
    assert "in 12 s" in shortened.description
    assert step().lasting(120) == step()


@pytest.mark.parametrize(
    "make",
    [
        lambda: steady(0),
        lambda: steady(-1),
        lambda: steady(NAN),
        lambda: steady(INFINITE),
        *(lambda make=make, seconds=seconds: make(seconds=seconds)
          for make in (steady, step, spike, ramp, sine, noisy)
          for seconds in (0.0, -1.0, NAN, INFINITE, 1e12)),
        lambda: step(at=0),
        lambda: step(at=120),
        lambda: step(at=NAN),
        lambda: spike(width=0),
        lambda: spike(width=80),
        lambda: ramp(low=-1),
        lambda: sine(low=-1),
        lambda: noisy(low=-1),
        lambda: ramp(high=NAN),
        lambda: sine(period=0),
        lambda: sine(period=-1),
        lambda: sine(period=1e-9),
        lambda: sine(high=INFINITE),
        lambda: noisy(hold=0),
        lambda: noisy(hold=1e-9),
        lambda: noisy(low=-500, high=-400),
        lambda: bursts(-1),
        lambda: steady().until(0),
        lambda: steady().until(NAN),
        lambda: bursts().until(0.5),
        lambda: replace(step(), starts=(1.0, 2.0)),
        lambda: replace(step(), starts=()),
        lambda: replace(step(), rates=(1.0,)),
    ],
)  # fmt: skip
def test_what_cannot_be_a_profile_is_refused(make: Callable[[], Profile]) -> None:
    assert refused(make).code is Code.MALFORMED


def test_publishers_that_import_profiles_do_not_wait_for_numpy() -> None:
    program = "import sys, lab.load.profiles; sys.exit('numpy' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=60)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A trace of four lines; that of 00:15 is missing."""
    path = tmp_path / "trace.csv"
    path.write_text(LINES, encoding="utf-8")
    return path


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
