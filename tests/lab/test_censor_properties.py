"""Censoring any text: the rule as a property, and what the dearest text may cost."""

import math
import random
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.load.workload import reference_censor
from lab.applications.censor import Censor
from lab.errors import InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.load.texts import default_insults, generated_texts
from lab.validation import clean_insult

LETTERS = [*"abABάΆйßẞİıiſsKkσςΣﬂﬁध喂傻瓜กไ바박_1²が", "ss", "fl"]
BETWEEN = [*"   '-!\n\t😈☠\u00a0\u3000\u200b\u200d\u2019\u02bc\u2011\u2013\U0001d15e≠", "=\u0338", "!\u0301"]
MARKED = ["α\u0301", "Α\u0301", "и\u0306", "й\u0301", "i\u0307", "ß\u0301", "धि", "喂\u0301"]
LOOSE = ["\u0301", "\u0316", "\ufe0f", "\ufe0e", "\U000e0100"]
ANY_CHARACTER = st.characters(exclude_categories=["Cs", "M"])
FORMS: st.SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [str, str.upper, str.lower, str.swapcase, lambda text: unicodedata.normalize("NFD", text)]
)
DEAREST = 10
"""At most so many times an ordinary text of the same size, which is made as the load generator makes texts.

Processor time is compared as a ratio, the least of several runs in turn: a busy machine does not decide. The
bar is not reached against a text that holds no insult: it is read once and never cut into units. Texts
of nothing but matches cost 13 to 17 times as much as that, texts of different letters 20 to 30 times.
"""
PIECES = [
    *"a!x é’傻¡ก\n☠",
    "ab",
    "e\u0301",
    "\u0301\u0316",
    "\u0f73",
    "\ufe0f",
    "  ",
    "a ",
    "ß",
    "ﬃ",
    "İ",
    "don't ",
]
GENERATED = " ".join(islice(generated_texts(1), 820))

MARKED += ["กิ", "か\u3099", "a\u0301", "s\u0323\u0307"]


def pieces(*, line_breaks: bool) -> st.SearchStrategy[str]:
    """Make strings of few different pieces, so that insults and texts meet often."""
    between = [piece for piece in BETWEEN if line_breaks or piece not in "\n\t"]
    return st.one_of(*map(st.sampled_from, (LETTERS, between, MARKED, LOOSE)))


TEXTS = st.lists(pieces(line_breaks=True), max_size=25).map("".join)

RAW_INSULTS = st.lists(pieces(line_breaks=False), min_size=1, max_size=4).map("".join)

INSULTS = RAW_INSULTS.map(str.strip).filter(bool)


@given(st.lists(INSULTS, max_size=8), TEXTS)
@settings(max_examples=500, deadline=None)
@example(["a a", "a"], "a a a")
@example(["ss"], "ß SS")
@example(["i\u0307"], "İ i")
@example(["00\U0001d157\U0001d165"], "00\U0001d15e")  # no composition gives that note back
@example(["≠"], "=\u0338 ≠ =")
@example(["!"], "!\u0301 !")
@example(["\u0301"], " \u0301!\u0301")
def test_the_censor_writes_what_the_rule_says(insults: list[str], text: str) -> None:
    assert Censor(insults).censor(text) == reference_censor(text, insults)


@given(st.lists(st.text("ab !", min_size=1, max_size=5), max_size=6), st.text("abAB !_\n", max_size=40))
@settings(max_examples=500, deadline=None)
def test_in_plain_ascii_the_censor_writes_what_the_rule_says(insults: list[str], text: str) -> None:
    assert Censor(insults).censor(text) == reference_censor(text, insults)


@given(st.text(ANY_CHARACTER, max_size=30), st.data())
@settings(max_examples=300, deadline=None)
def test_a_piece_of_any_text_is_censored_as_the_rule_says(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    try:
        insult = clean_insult(text[start:end])
    except InvalidRequest:
        assume(False)
    assert Censor([insult]).censor(text) == reference_censor(text, [insult])


@given(st.lists(INSULTS, min_size=1, max_size=5), TEXTS, st.data())
@settings(max_examples=200, deadline=None)
def test_an_insult_is_found_in_every_case_and_form(
    insults: list[str], text: str, data: st.DataObject
) -> None:
    insult, form = data.draw(st.sampled_from(insults)), data.draw(FORMS)
    written = f"{text} {form(insult)} {text}"
    assert Censor(insults).censor(written) == reference_censor(written, insults)


@given(st.lists(INSULTS, min_size=1, max_size=8), TEXTS)
@settings(max_examples=300, deadline=None)
def test_what_an_automaton_finds_is_what_the_rule_says(insults: list[str], text: str) -> None:
    with mock.patch("lab.applications.censor.STEPS_OF_A_LOOK", 10_000):
        assert Censor(insults).censor(text) == reference_censor(text, insults)


class ChangingCensor(RuleBasedStateMachine):
    """A censor that insults are added to and removed from, beside the set of those that it should hold."""

    def __init__(self) -> None:
        super().__init__()
        self.censor = Censor()
        self.insults: set[str] = set()

    @rule(insult=INSULTS)
    def add(self, insult: str) -> None:
        self.censor.add(insult)
        self.insults.add(insult)

    @rule(insult=INSULTS)
    def remove_any(self, insult: str) -> None:
        self.censor.remove(insult)
        self.insults.discard(insult)

    @rule(data=st.data())
    def remove_one_that_is_there(self, data: st.DataObject) -> None:
        if self.insults:
            self.remove_any(data.draw(st.sampled_from(sorted(self.insults))))

    @rule(text=TEXTS)
    def censor_a_text(self, text: str) -> None:
        assert self.censor.censor(text) == reference_censor(text, self.insults)

    @rule()
    def censor_its_own_insults(self) -> None:
        text = " ".join(sorted(self.insults))
        assert self.censor.censor(text) == reference_censor(text, self.insults)

    @invariant()
    def it_counts_its_insults(self) -> None:
        assert len(self.censor) == len(self.insults)


TestChangingCensor: Any = ChangingCensor.TestCase

TestChangingCensor.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def text_of(piece: str, beginning: str = "") -> str:
    """Return the longest valid text of *beginning* and then *piece* again and again."""
    room = MAX_TEXT_BYTES - len(beginning.encode())
    return beginning + piece * (room // len(piece.encode()))


def ratio(insults: Sequence[str], text: str, runs: int = 3) -> float:
    """Return how many times an ordinary text *text* costs, both with *insults* and some ordinary ones."""
    assert len(text.encode()) <= MAX_TEXT_BYTES
    censor = Censor([*default_insults(), *insults])
    ordinary = GENERATED.encode()[:MAX_TEXT_BYTES].decode(errors="ignore")
    least = {text: math.inf, ordinary: math.inf}
    for _ in range(runs):
        for each in least:
            begun = time.thread_time()
            censor.censor(each)
            least[each] = min(least[each], time.thread_time() - begun)
    return least[text] / least[ordinary]


CASES: list[Any] = [
    pytest.param([], text_of("\u0301\u0316", "a"), id="a letter with 32,000 marks"),
    pytest.param([], text_of("\u0301\u0316", "fool a"), id="an insult and a letter with 32,000 marks"),
    pytest.param([], text_of("\u0f73", "fool \u0f40"), id="marks that are two marks each"),
    pytest.param(["!" * 199 + "x"], text_of("!", "x "), id="an insult that nearly matches everywhere"),
    pytest.param(["!" * 199 + "x"], text_of("!", "é x "), id="the same in a text that is not ASCII"),
    pytest.param(["!" * k for k in range(1, 201)], text_of("!"), id="insults of every length"),
    pytest.param(
        ["!" * k + "x" for k in range(1, 200)], text_of("!", "x "), id="near misses of every length"
    ),
    pytest.param(["a!"], text_of("a!"), id="an insult everywhere"),
    pytest.param(["a"], text_of("a "), id="a short insult everywhere"),
    pytest.param(["傻" * 199 + "瓜"], text_of("傻", "瓜 "), id="a script without spaces"),
    pytest.param(["a b"], text_of("a \n\ufe0f"), id="runs of white space"),
    pytest.param(
        [], "fool " + " ".join(f"é{number:x}" for number in range(9000)), id="words that are all different"
    ),
    pytest.param(
        [], "fool " + " ".join(map(chr, range(0x3400, 0x7300))), id="letters that are all different"
    ),
    pytest.param(
        [],
        "fool " + " ".join(f"{chr(code)}\u0301" for code in range(0x370, 0x2900)),
        id="letters with a mark",
    ),
    pytest.param([], "fool " + "".join(map(chr, range(0x10000, 0x13FF0))), id="symbols beyond U+FFFF"),
    pytest.param(["a b"], text_of("a  b!"), id="an insult with a run of white space everywhere"),
    pytest.param(["ab!"], text_of("ab!", "é"), id="an insult of a word everywhere"),
    pytest.param(["!!"], text_of("!", "é"), id="an insult of symbols everywhere"),
]


@pytest.mark.parametrize(("insults", "text"), CASES)
def test_a_dear_text_takes_at_most_ten_times_as_long_as_an_ordinary_one(
    insults: list[str], text: str
) -> None:
    assert ratio(insults, text) < DEAREST


def test_with_100_000_insults_a_dear_text_takes_at_most_ten_times_as_long_as_an_ordinary_one() -> None:
    insults = [f"zz{number:x} of them" if number % 2 else f"zz{number:x}" for number in range(100_000)]
    assert ratio([*insults, "!" * 199 + "x"], text_of("!", "x ")) < DEAREST


def test_no_text_that_a_search_finds_takes_ten_times_as_long_as_an_ordinary_one() -> None:
    """Climb: change insults and text at random, and keep what costs more."""
    choose = random.Random(14)

    def some(most: int) -> str:
        return "".join(choose.choices(PIECES, k=choose.randint(1, most)))

    def insult() -> str:
        repeated = some(3) * choose.choice([1, 1, 20, 60])
        try:
            return clean_insult((repeated + some(2))[:200])
        except InvalidRequest:
            return "x"

    best, dearest = ([insult()], some(4), some(2)), 0.0
    for _ in range(40):
        insults, piece, beginning = best
        mutation = choose.randrange(3)
        if mutation == 0:
            insults = [*insults[-10:], insult()]
        elif mutation == 1:
            piece = some(4)
        else:
            beginning = some(2) + choose.choice(insults) + " "
        cost = ratio(insults, text_of(piece, beginning))
        if cost > dearest:
            best, dearest = (insults, piece, beginning), cost
    assert dearest < DEAREST, best
