"""The bounds for serpent: whatever is within them is read, and what costs much is refused before."""

import pytest
import serpent
from hypothesis import example, given
from hypothesis import strategies as st

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH
from pyro4.tuned.wire import BOUNDED, MAX_SIGNS, MAX_STRUCTURE, UNCHECKED_BYTES, check_serpent

PADDING = "x" * UNCHECKED_BYTES
"""Makes a message long enough to be looked at."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@given(VALUES)
def test_what_serpent_writes_within_the_bounds_is_read(value: object) -> None:
    check_serpent(serpent.dumps([PADDING, value]))


@given(st.text(alphabet="'\"\\a,", max_size=14).map(str.encode))
@example(b"['','','x")
@example(b"'xx\\'")
def test_where_texts_end_is_seen_as_by_a_plain_scanner(data: bytes) -> None:
    """Python 3.11.2 (Debian 12) goes on behind a possessive group that did not match."""
    matched = BOUNDED.match(data)
    assert matched
    assert matched.end() == end_of_texts(data)


def end_of_texts(data: bytes) -> int:
    """Return where a text begins that does not end, or the length of *data*."""
    place = 0
    while place < len(data):
        begin, quote = place, data[place]
        place += 1
        if quote in b"'\"":
            while place < len(data) and data[place] != quote:
                place += 2 if data[place] == ord("\\") else 1
            if place >= len(data):
                return begin
            place += 1
    return place


@pytest.mark.parametrize("text", ["'", '"', "\\", "\\'", "\n", "})", "+-", "喂"])
def test_what_stands_in_a_text_counts_for_nothing(text: str) -> None:
    check_serpent(serpent.dumps([text * 5000]))


def test_a_thousand_calls_are_read_and_one_more_is_not() -> None:
    calls: list[object] = [("add_insult", ("tonto",), {})] * MAX_BATCH
    check_serpent(serpent.dumps(("insult.service", "<batch>", calls, {})))
    assert refusal(serpent.dumps(("insult.service", "<batch>", [*calls, calls[0]], {}))) is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" + b"1," * MAX_STRUCTURE + b"]", Code.TOO_LARGE),
        (b"[" + b"''," * MAX_STRUCTURE + b"]", Code.TOO_LARGE),
        (b"''" * (MAX_STRUCTURE + 1), Code.TOO_LARGE),
        (b"1" + b"+1" * (MAX_SIGNS + 1) + b" " * UNCHECKED_BYTES, Code.MALFORMED),
        (b"[" + b"''," * 1000 + b"'", Code.MALFORMED),
        (b"'" + b"x" * UNCHECKED_BYTES + b"\\'", Code.MALFORMED),
    ],
)
def test_what_costs_much_is_refused(data: bytes, code: Code) -> None:
    assert refusal(data) is code


def refusal(data: bytes) -> Code:
    with pytest.raises(InvalidRequest) as raised:
        check_serpent(data)
    return raised.value.code
