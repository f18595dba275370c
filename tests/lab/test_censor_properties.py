"""The censor against the plain statement of its rule, on random insults and texts."""

import unicodedata
from collections.abc import Callable
from typing import Any
from unittest import mock

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from harness.load.workload import reference_censor
from lab.applications.censor import Censor
from lab.errors import InvalidRequest
from lab.validation import clean_insult

LETTERS = [*"abABάΆйßẞİıiſsKkσςΣﬂﬁध喂傻瓜กไ바박_1²が", "ss", "fl"]
BETWEEN = [*"   '-!\n\t😈☠\u00a0\u3000\u200b\u200d\u2019\u02bc\u2011\u2013\U0001d15e≠", "=\u0338", "!\u0301"]
MARKED = ["α\u0301", "Α\u0301", "и\u0306", "й\u0301", "i\u0307", "ß\u0301", "धि", "喂\u0301"]
MARKED += ["กิ", "か\u3099", "a\u0301", "s\u0323\u0307"]
LOOSE = ["\u0301", "\u0316", "\ufe0f", "\ufe0e", "\U000e0100"]
ANY_CHARACTER = st.characters(exclude_categories=["Cs", "M"])


def pieces(*, line_breaks: bool) -> st.SearchStrategy[str]:
    """Make strings of few different pieces, so that insults and texts meet often."""
    between = [piece for piece in BETWEEN if line_breaks or piece not in "\n\t"]
    return st.one_of(*map(st.sampled_from, (LETTERS, between, MARKED, LOOSE)))


TEXTS = st.lists(pieces(line_breaks=True), max_size=25).map("".join)
RAW_INSULTS = st.lists(pieces(line_breaks=False), min_size=1, max_size=4).map("".join)
INSULTS = RAW_INSULTS.map(str.strip).filter(bool)
FORMS: st.SearchStrategy[Callable[[str], str]] = st.sampled_from(
    [str, str.upper, str.lower, str.swapcase, lambda text: unicodedata.normalize("NFD", text)]
)


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
