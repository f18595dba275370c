"""A dictionary that forgets what is old and what is too much, by a clock that the test gives."""

import pytest

from lab.store.memory import Recent

TTL_SECONDS = 10.0
MOST = 3


@pytest.fixture
def recent() -> Recent[str]:
    """An empty dictionary of three entries at most."""
    return Recent(TTL_SECONDS, MOST)


def test_what_was_put_is_there(recent: Recent[str]) -> None:
    recent.put("a", "1", now=0.0)
    assert recent.get("a", now=0.0) == "1"


def test_what_was_never_put_is_not_there(recent: Recent[str]) -> None:
    assert recent.get("a", now=0.0) is None


def test_an_entry_is_there_until_its_time_to_live_is_over(recent: Recent[str]) -> None:
    recent.put("a", "1", now=5.0)
    assert recent.get("a", now=14.9) == "1"
    assert recent.get("a", now=15.0) is None


def test_beyond_the_number_the_oldest_is_forgotten(recent: Recent[str]) -> None:
    for key in "abcd":
        recent.put(key, key, now=0.0)
    assert [recent.get(key, now=0.0) for key in "abcd"] == [None, "b", "c", "d"]


def test_what_is_put_again_has_its_new_value_and_forgets_nobody(recent: Recent[str]) -> None:
    for key in "abca":
        recent.put(key, key.upper(), now=0.0)
    recent.put("b", "new", now=0.0)
    assert [recent.get(key, now=0.0) for key in "abc"] == ["A", "new", "C"]


def test_entries_come_newest_first(recent: Recent[str]) -> None:
    for key in "bca":
        recent.put(key, key.upper(), now=0.0)
    assert list(recent.newest_first(now=0.0)) == [("a", "A"), ("c", "C"), ("b", "B")]


def test_entries_that_are_too_old_do_not_come(recent: Recent[str]) -> None:
    recent.put("old", "1", now=0.0)
    recent.put("new", "2", now=5.0)
    assert list(recent.newest_first(now=12.0)) == [("new", "2")]
    assert list(recent.newest_first(now=15.0)) == []


def test_what_is_put_again_when_it_is_too_old_is_the_newest(recent: Recent[str]) -> None:
    recent.put("a", "1", now=0.0)
    recent.put("b", "1", now=5.0)
    recent.put("a", "2", now=12.0)
    assert list(recent.newest_first(now=12.0)) == [("a", "2"), ("b", "1")]
