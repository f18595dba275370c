"""The trie of token sequences under the censor."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.applications.trie import TokenTrie

SEQUENCES = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("".join)


def trie_of(*sequences: str) -> TokenTrie:
    """Return a trie of *sequences*; each letter is a token."""
    trie = TokenTrie()
    for sequence in sequences:
        trie.add(sequence)
    return trie


def test_an_empty_trie_holds_nothing() -> None:
    assert TokenTrie().longest("abc", 0) == 0
    assert not TokenTrie().starts()


@pytest.mark.parametrize(
    ("sequences", "length"),
    [("a", 1), ("ab", 2), ("abcd", 0), ("b", 0), (["a", "abc"], 3), (["abc", "a"], 3)],
)
def test_the_longest_sequence_at_a_place_is_found(sequences: list[str], length: int) -> None:
    given_sequences = [sequences] if isinstance(sequences, str) else sequences
    assert trie_of(*given_sequences).longest("abc", 0) == length


def test_a_sequence_is_found_from_the_given_place_on() -> None:
    assert [trie_of("bc").longest("abcb", start) for start in range(5)] == [0, 2, 0, 0, 0]


def test_what_stands_before_the_place_does_not_matter() -> None:
    assert trie_of("ab").longest("ab", 1) == 0


def test_the_first_tokens_are_known() -> None:
    assert set(trie_of("ab", "ac", "b").starts()) == {"a", "b"}


def test_a_sequence_that_was_added_twice_is_there_until_it_is_removed_twice() -> None:
    trie = trie_of("ab", "ab")
    trie.remove("ab")
    assert trie.longest("ab", 0) == 2
    trie.remove("ab")
    assert trie.longest("ab", 0) == 0


@pytest.mark.parametrize("absent", ["b", "ab", "ad", "abcd"])
def test_removing_what_was_never_added_is_an_error(absent: str) -> None:
    trie = trie_of("a", "abc") if absent == "abcd" else trie_of("a", "acd")
    with pytest.raises(KeyError):
        trie.remove(absent)


@given(st.lists(SEQUENCES, max_size=10), st.data())
@settings(deadline=None)
def test_after_any_changes_it_holds_what_was_added_and_not_removed(
    added: list[str], data: st.DataObject
) -> None:
    trie, kept = trie_of(*added), Counter(added)
    for gone in data.draw(st.permutations(added))[: data.draw(st.integers(0, len(added)))]:
        trie.remove(gone)
        kept[gone] -= 1
    text = data.draw(st.text("abc", max_size=6))
    lengths = [len(sequence) for sequence, count in kept.items() if count and text.startswith(sequence)]
    assert trie.longest(text, 0) == max(lengths, default=0)


@given(st.lists(SEQUENCES, max_size=10), st.data())
@settings(deadline=None)
def test_a_trie_from_which_everything_was_removed_keeps_no_memory(
    added: list[str], data: st.DataObject
) -> None:
    trie = trie_of(*added)
    for gone in data.draw(st.permutations(added)):
        trie.remove(gone)
    assert trie.starts() == {}
