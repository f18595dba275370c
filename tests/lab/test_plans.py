"""Open loops: when their requests are due, and the texts that every middleware is given alike."""

import json
import math
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.applications.censor import CENSORED, Censor
from lab.errors import Code, InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.load.plans import MAX_ARRIVALS, Plan
from lab.load.profiles import PROFILES, Profile, bursts, step
from lab.load.texts import POOL_SIZE, corpus_texts, default_insults, generated_texts

NAN, INFINITE = float("nan"), float("inf")
BAD_RATES = [(rate, 1.0) for rate in (0.0, -1.0, NAN, INFINITE)]
BAD_SECONDS = [(1.0, seconds) for seconds in (0.0, -1.0, NAN, INFINITE, 1e12)]
TOO_MUCH = [(1e300, 1e-300), (MAX_ARRIVALS, 1.001)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a plan may be written."""
    return tmp_path / "plan"


def same(one: Plan, other: Plan) -> bool:
    """Return whether two plans are alike in every respect."""
    about = [(plan.description, plan.seed, plan.duration_seconds) for plan in (one, other)]
    return about[0] == about[1] and np.array_equal(one.due_ns, other.due_ns)


def arrivals(plan: Plan, start: float, end: float) -> int:
    """Return how many arrivals *plan* has from *start* to *end*, in seconds."""
    return int(np.count_nonzero((plan.due_ns >= start * 1e9) & (plan.due_ns < end * 1e9)))


def test_constant_arrivals_are_equally_far_apart_and_begin_at_once() -> None:
    assert Plan.constant(100, 0.05).due_ns.tolist() == [0, 10_000_000, 20_000_000, 30_000_000, 40_000_000]


@pytest.mark.parametrize(
    ("rate", "seconds", "count"), [(1.1, 10, 11), (0.1, 3, 1), (3, 0.1, 1), (7, 1.5, 11)]
)
def test_a_constant_plan_has_the_arrivals_that_fit_into_its_time(
    rate: float, seconds: float, count: int
) -> None:
    plan = Plan.constant(rate, seconds)
    assert len(plan.due_ns) == count
    assert plan.rate == count / seconds


def test_the_same_seed_makes_the_same_plan() -> None:
    assert same(Plan.poisson(500, 2, 7), Plan.poisson(500, 2, 7))
    assert same(Plan.following(bursts(), 20, 7), Plan.following(bursts(), 20, 7))


def test_poisson_arrivals_come_at_the_declared_rate_within_six_standard_deviations() -> None:
    expected = 200_000
    assert abs(len(Plan.poisson(2_000, 100, 1).due_ns) - expected) < 6 * math.sqrt(expected)


def test_gaps_of_poisson_arrivals_are_exponential() -> None:
    gaps = np.sort(np.diff(Plan.poisson(1_000, 100, 1).due_ns)) / 1e6  # ms; 1 on average
    measured = np.arange(1, len(gaps) + 1) / len(gaps)
    distance = np.abs(measured - (1 - np.exp(-gaps))).max()
    assert distance < 2.5 / math.sqrt(len(gaps))  # Kolmogorov-Smirnov: one in 130,000 is as far


def test_few_poisson_arrivals_are_right_on_average_too() -> None:
    counts = [len(Plan.poisson(0.5, 1, seed).due_ns) for seed in range(2_000)]
    assert abs(sum(counts) - 1_000) < 6 * math.sqrt(1_000)
    assert counts.count(0) == pytest.approx(2_000 * math.exp(-0.5), rel=0.15)


@given(
    st.floats(0.01, 1e5),
    st.floats(0.001, 1.0),
    st.integers(0, 2**64),
    st.sampled_from(["constant", "poisson"]),
)
@settings(deadline=None, max_examples=50)
def test_arrivals_ascend_and_lie_within_the_time(rate: float, seconds: float, seed: int, kind: str) -> None:
    plan = Plan.constant(rate, seconds) if kind == "constant" else Plan.poisson(rate, seconds, seed)
    assert (np.diff(plan.due_ns) >= 0).all()
    assert ((plan.due_ns >= 0) & (plan.due_ns < seconds * 1e9)).all()


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("poisson", [True, False])
def test_a_plan_follows_its_profile_in_every_part_of_it(name: str, poisson: bool) -> None:
    profile = PROFILES[name]()
    plan = Plan.following(profile, profile.duration_seconds, 1, poisson)
    assert (np.diff(plan.due_ns) >= 0).all()
    for start, end, rate in profile.parts():
        expected = (end - start) * rate
        allowed = 6 * math.sqrt(expected) + 1 if poisson else 1
        assert abs(arrivals(plan, start, end) - expected) <= allowed


def test_nothing_arrives_while_the_rate_is_zero() -> None:
    plan = Plan.following(bursts(), 60, 1, poisson=False)
    assert len(plan.due_ns) == 23_655
    assert plan.due_ns[0] == 1_000_000_000
    assert arrivals(plan, 41, 51) == 0


def test_a_plan_may_follow_a_part_of_a_profile() -> None:
    plan = Plan.following(step(100, 200, at=5, seconds=20), 10, 1, poisson=False)
    assert (arrivals(plan, 0, 5), arrivals(plan, 5, 10), len(plan.due_ns)) == (500, 1_000, 1_500)
    assert (plan.duration_seconds, plan.rate) == (10, 150)


def test_the_description_tells_rate_time_and_seed() -> None:
    assert Plan.constant(100, 2).description == "constant, 100/s for 2 s"
    assert Plan.poisson(100, 2, 7).description == "Poisson, 100/s for 2 s, seed 7"
    expected = "step (1/s, from 5 s on 2/s) for 20 s, Poisson, seed 7"
    assert Plan.following(step(1, 2, at=5, seconds=20), 20, 7).description == expected


@pytest.mark.parametrize(("rate", "seconds"), BAD_RATES + BAD_SECONDS + TOO_MUCH)
def test_a_rate_or_time_that_cannot_be_is_refused(rate: float, seconds: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Plan.constant(rate, seconds)
    assert caught.value.code is Code.MALFORMED
    with pytest.raises(InvalidRequest):
        Plan.poisson(rate, seconds, 1)


@pytest.mark.parametrize("seconds", [0.0, -1.0, NAN, 60.1, INFINITE])
def test_a_profile_is_not_followed_for_longer_than_it_lasts(seconds: float) -> None:
    with pytest.raises(InvalidRequest):
        Plan.following(bursts(), seconds, 1)


def test_a_profile_of_too_many_arrivals_is_refused() -> None:
    crowd = Profile("crowd", "too many", (0.0,), (MAX_ARRIVALS,), 1.1)
    with pytest.raises(InvalidRequest):
        Plan.following(crowd, 1.1, 1)
    assert len(Plan.following(crowd, 0.001, 1, poisson=False).due_ns) == MAX_ARRIVALS // 1_000


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        Plan.poisson(10, 1, -1)


def test_a_plan_is_stored_under_the_name_given_and_replaces_what_was_there(file: Path) -> None:
    plan = Plan.poisson(500, 2, 2**70)
    file.write_text("old" * 10_000)
    plan.save(file)
    assert [path.name for path in file.parent.iterdir()] == ["plan"]
    with np.load(file, allow_pickle=False) as stored:
        assert np.array_equal(stored["due_ns"], plan.due_ns)
        assert json.loads(stored["about"].item()) == {
            "description": plan.description,
            "seed": 2**70,
            "seconds": 2,
        }


def test_a_plan_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Plan.constant(1, 1).save(tmp_path / "no folder" / "plan")
    assert "no folder" in caught.value.message


def pool(
    seed: int = 1, length: int = 80, hit_rate: float = 0.1, insults: list[str] | None = None
) -> list[str]:
    """Return the texts of a stream up to where it repeats."""
    return list(islice(generated_texts(seed, length, hit_rate, insults), POOL_SIZE))


def hits(texts: list[str]) -> int:
    """Return how many of *texts* hold an insult."""
    censor = Censor(default_insults())
    return sum(CENSORED in censor.censor(text) for text in texts)


def refusal_of(path: Path) -> InvalidRequest:
    """Return the error that reading *path* raises."""
    with pytest.raises(InvalidRequest) as caught:
        corpus_texts(path)
    return caught.value


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Where a corpus may be written."""
    return tmp_path / "corpus.txt"


def test_the_same_seed_makes_the_same_texts() -> None:
    assert pool(seed=7) == pool(seed=7)


@pytest.mark.parametrize("hit_rate", [0.0, 0.1, 0.5, 1.0])
def test_the_declared_share_of_texts_holds_an_insult(hit_rate: float) -> None:
    assert hits(pool(hit_rate=hit_rate)) == round(hit_rate * POOL_SIZE)


def test_only_the_given_insults_are_put_into_texts() -> None:
    texts = pool(hit_rate=1.0, insults=["xyzzy"])
    assert all("xyzzy" in text.lower() for text in texts)
    assert hits(texts) == 0


@pytest.mark.parametrize("length", [1, 20, 80, 1000])
def test_texts_are_about_as_long_as_declared(length: int) -> None:
    lengths = [len(text) for text in pool(length=length, hit_rate=0.0)]
    assert length - 1 <= min(lengths)
    assert max(lengths) <= length + len(" assassinate")


@pytest.mark.parametrize(
    ("length", "hit_rate"), [(0, 0.1), (-1, 0.1), (80, -0.1), (80, 1.1), (80, float("nan"))]
)
def test_a_length_or_hit_rate_that_cannot_be_is_refused(length: int, hit_rate: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        generated_texts(1, length, hit_rate)
    assert caught.value.code is Code.MALFORMED


def test_without_insults_there_can_be_no_hits() -> None:
    with pytest.raises(InvalidRequest) as caught:
        generated_texts(1, hit_rate=0.5, insults=[])
    assert caught.value.code is Code.MALFORMED
    assert hits(pool(hit_rate=0.0, insults=[])) == 0


def test_a_line_of_a_corpus_is_a_text(corpus: Path) -> None:
    corpus.write_text("Thou knave!\r\n  é ß 喂 \nlast", encoding="utf-8")
    assert list(islice(corpus_texts(corpus), 3)) == ["Thou knave!", "  é ß 喂 ", "last"]


def test_a_corpus_begins_again_at_its_end(corpus: Path) -> None:
    corpus.write_text("one\ntwo\n", encoding="utf-8")
    assert list(islice(corpus_texts(corpus), 5)) == ["one", "two", "one", "two", "one"]


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"])
def test_a_corpus_without_text_is_named(corpus: Path, content: str) -> None:
    corpus.write_text(content, encoding="utf-8")
    error = refusal_of(corpus)
    assert error.code is Code.MALFORMED
    assert str(corpus) in error.message


def test_a_corpus_that_is_not_utf_8_is_named(corpus: Path) -> None:
    corpus.write_bytes("estúpido".encode("latin-1"))
    error = refusal_of(corpus)
    assert error.code is Code.BAD_ENCODING
    assert str(corpus) in error.message


def test_a_line_may_have_64_kib_and_not_a_byte_more(corpus: Path) -> None:
    corpus.write_text("x" * MAX_TEXT_BYTES, encoding="utf-8")
    assert len(next(corpus_texts(corpus))) == MAX_TEXT_BYTES
    corpus.write_text("good\n" + "x" * (MAX_TEXT_BYTES + 1), encoding="utf-8")
    assert refusal_of(corpus).code is Code.TOO_LARGE
