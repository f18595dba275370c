"""The lists of insults: those that come with the lab, and files of anybody's."""

from pathlib import Path

import pytest

from lab.data import default_insults, read_insults
from lab.errors import Code, InvalidRequest
from lab.validation import clean_insult


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a list may be written."""
    return tmp_path / "insults.txt"


def refusal_of(path: Path) -> InvalidRequest:
    """Return the error that reading *path* raises."""
    with pytest.raises(InvalidRequest) as caught:
        read_insults(path)
    return caught.value


def test_a_list_has_an_insult_a_line(path: Path) -> None:
    path.write_text("tonto\r\ncap d'espinaca\n  bobo  \nlast", encoding="utf-8")
    assert read_insults(path) == ["tonto", "cap d'espinaca", "bobo", "last"]


def test_comments_and_empty_lines_do_not_count(path: Path) -> None:
    path.write_text("# a comment\n\ntonto\n \n#bobo\n", encoding="utf-8")
    assert read_insults(path) == ["tonto"]


def test_insults_are_normalised(path: Path) -> None:
    path.write_text("estu\u0301pido\n", encoding="utf-8")
    assert read_insults(path) == ["est\u00fapido"]


def test_an_empty_list_is_a_list(path: Path) -> None:
    path.write_text("", encoding="utf-8")
    assert read_insults(path) == []


def test_a_list_that_is_not_there_is_named(path: Path) -> None:
    error = refusal_of(path)
    assert error.code is Code.MALFORMED
    assert str(path) in error.message


def test_a_list_that_is_not_utf_8_is_named(path: Path) -> None:
    path.write_bytes("estúpido".encode("latin-1"))
    error = refusal_of(path)
    assert error.code is Code.BAD_ENCODING
    assert str(path) in error.message


@pytest.mark.parametrize(
    ("line", "code"),
    [("x" * 201, Code.TOO_LARGE), ("ton\x00to", Code.MALFORMED), ("ton\tto", Code.MALFORMED)],
)
def test_a_bad_insult_is_named_with_its_line(path: Path, line: str, code: Code) -> None:
    path.write_text(f"# a comment\ntonto\n{line}\n", encoding="utf-8")
    error = refusal_of(path)
    assert error.code is code
    assert f"{path}, line 3: " in error.message


def test_the_insults_of_the_lab_are_sorted_and_each_is_there_once() -> None:
    insults = default_insults()
    assert list(insults) == sorted(set(insults))


def test_the_insults_of_the_lab_are_of_several_languages_and_words() -> None:
    assert {"tonto", "knave", "cap d'espinaca", "дурак", "उल्लू", "βλάκας"} <= set(default_insults())


def test_the_insults_of_the_lab_are_ones_that_nodes_accept() -> None:
    assert [clean_insult(insult) for insult in default_insults()] == list(default_insults())
