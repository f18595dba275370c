"""Cutting a stream of texts into batches that fit into one request."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.client.calls import MAX_BATCH_CHARACTERS, batches
from lab.limits import MAX_TEXT_BYTES


def test_a_batch_has_up_to_the_given_number_of_texts() -> None:
    assert list(batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]


def test_of_no_texts_there_is_no_batch() -> None:
    assert list(batches([], 10)) == []


@pytest.mark.parametrize("most", [1, 1000])
def test_a_batch_may_have_from_1_to_1000_texts(most: int) -> None:
    assert next(map(len, batches(["x"] * 1001, most))) == most


def test_a_batch_ends_before_it_has_too_many_characters() -> None:
    third = "x" * (MAX_BATCH_CHARACTERS // 3)
    assert [len(batch) for batch in batches([third] * 7, 100)] == [3, 3, 1]


def test_a_batch_may_have_exactly_as_many_characters_as_fit() -> None:
    half = "x" * (MAX_BATCH_CHARACTERS // 2)
    assert [len(batch) for batch in batches([half, half, "", "x"], 100)] == [3, 1]


def test_the_largest_text_is_a_batch_of_its_own() -> None:
    largest = "x" * MAX_TEXT_BYTES
    assert list(batches(["a", largest, "b"], 100)) == [["a"], [largest], ["b"]]


def test_texts_are_read_only_as_far_as_they_are_needed() -> None:
    read = []

    def endless() -> Iterator[str]:
        while True:
            read.append("x")
            yield "x"

    assert next(batches(endless(), 10)) == ["x"] * 10
    assert len(read) <= 11


@given(st.lists(st.integers(0, MAX_TEXT_BYTES), max_size=30), st.integers(1, 10))
def test_batches_hold_every_text_once_in_order_and_keep_both_limits(sizes: list[int], most: int) -> None:
    texts = ["x" * size for size in sizes]
    cut = list(batches(texts, most))
    assert [text for batch in cut for text in batch] == texts
    assert all(1 <= len(batch) <= most for batch in cut)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= MAX_BATCH_CHARACTERS for batch in cut)
