"""What is let in and what is refused, with which code, at the borders of every limit."""

from collections.abc import Callable

import pytest

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_OPERATION_ID_CHARACTERS, MAX_TEXT_BYTES, MAX_URI_CHARACTERS
from lab.validation import (
    clean_after,
    clean_insult,
    clean_limit,
    clean_operation_id,
    clean_subscriber,
    clean_text,
)

Check = Callable[[object], object]
HTTP = "http://127.0.0.1:9000/"


def http_subscriber(value: object) -> str:
    return clean_subscriber(value, ("http", "https"))


TEXT_CHECKS: list[Check] = [clean_insult, clean_text, clean_after, clean_operation_id, http_subscriber]


def refusal(check: Check, value: object) -> InvalidRequest:
    """Return the error that *check* raises for *value*."""
    with pytest.raises(InvalidRequest) as caught:
        check(value)
    return caught.value


@pytest.mark.parametrize("check", TEXT_CHECKS)
@pytest.mark.parametrize("value", [None, 1, 1.5, True, b"tonto", ["tonto"], {"insult": "tonto"}])
def test_what_is_not_text_has_the_wrong_type(check: Check, value: object) -> None:
    error = refusal(check, value)
    assert error.code is Code.WRONG_TYPE
    assert type(value).__name__ in error.message


@pytest.mark.parametrize("check", TEXT_CHECKS)
@pytest.mark.parametrize("value", ["\ud800", "tonto \udfff"])
def test_a_lone_surrogate_is_no_text(check: Check, value: str) -> None:
    assert refusal(check, value).code is Code.BAD_ENCODING


@pytest.mark.parametrize("insult", ["t", "tonto", "cap d'espinaca", "Tonto", "बुद्धू", "x" * 200, "😈" * 200])
def test_a_good_insult_is_kept_as_it_is(insult: str) -> None:
    assert clean_insult(insult) == insult


@pytest.mark.parametrize("insult", [" tonto", "tonto ", "\t tonto\n", "\u00a0tonto\u3000", "\u2028tonto"])
def test_an_insult_is_stripped(insult: str) -> None:
    assert clean_insult(insult) == "tonto"


def test_an_insult_is_normalised() -> None:
    assert clean_insult("estu\u0301pido") == "est\u00fapido"


@pytest.mark.parametrize("insult", ["", " ", "\t\n", "\u3000", "\u2028"])
def test_an_empty_insult_is_malformed(insult: str) -> None:
    assert refusal(clean_insult, insult).code is Code.MALFORMED


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"])
def test_an_insult_with_a_control_character_is_malformed(character: str) -> None:
    assert refusal(clean_insult, f"ton{character}to").code is Code.MALFORMED


@pytest.mark.parametrize("character", ["\u00a0", "\u200d", "\u3000", "\ufeff", "\u00ad"])
def test_an_unusual_character_that_controls_nothing_is_let_in(character: str) -> None:
    assert clean_insult(f"ton{character}to") == f"ton{character}to"


@pytest.mark.parametrize("length", [201, 800, 801, 100_000])
def test_an_insult_of_more_than_200_characters_is_too_large(length: int) -> None:
    error = refusal(clean_insult, "x" * length)
    assert error.code is Code.TOO_LARGE
    assert str(length) in error.message
    assert "200" in error.message


def test_the_length_of_an_insult_counts_once_it_is_stripped_and_normalised() -> None:
    assert clean_insult("  " + "u\u0301" * 200 + "  ") == "\u00fa" * 200
    assert refusal(clean_insult, "u\u0301" * 201).code is Code.TOO_LARGE


def test_the_letter_that_shrinks_most_is_counted_once() -> None:
    decomposed = "\u03b1\u0313\u0300\u0345"
    assert clean_insult(decomposed * 200) == "\u1f82" * 200


@pytest.mark.parametrize("text", ["", " ", "\x00", "two\r\nlines", "e\u0301", "x" * MAX_TEXT_BYTES])
def test_a_good_text_is_passed_on_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize("character", ["x", "é", "喂", "😈"])
def test_a_text_may_have_64_kib_of_utf_8_and_not_a_byte_more(character: str) -> None:
    count, rest = divmod(MAX_TEXT_BYTES, len(character.encode()))
    largest = character * count + "x" * rest
    assert clean_text(largest) == largest
    assert refusal(clean_text, largest + "x").code is Code.TOO_LARGE


@pytest.mark.parametrize("limit", [1, 2, 999, 1000])
def test_a_limit_from_1_to_1000_is_good(limit: int) -> None:
    assert clean_limit(limit) == limit


@pytest.mark.parametrize("limit", [0, -1, 1001, 10**30, -(10**30)])
def test_a_limit_beyond_that_is_too_large(limit: int) -> None:
    assert refusal(clean_limit, limit).code is Code.TOO_LARGE


@pytest.mark.parametrize("limit", [None, "10", 10.0, True, False, [10]])
def test_a_limit_that_is_no_whole_number_has_the_wrong_type(limit: object) -> None:
    assert refusal(clean_limit, limit).code is Code.WRONG_TYPE


@pytest.mark.parametrize("after", ["", "tonto", "x" * 200, "not\nan insult"])
def test_a_page_may_start_anywhere(after: str) -> None:
    assert clean_after(after) == after


def test_no_page_starts_behind_what_is_longer_than_any_insult() -> None:
    assert refusal(clean_after, "x" * 201).code is Code.TOO_LARGE


@pytest.mark.parametrize("value", ["a", "5d41-4a", "~!@#$%^&*()", "x" * MAX_OPERATION_ID_CHARACTERS])
def test_a_good_operation_id_is_kept(value: str) -> None:
    assert clean_operation_id(value) == value


@pytest.mark.parametrize("value", ["", " ", "a b", "a\nb", "a\x00", "\x7f", "é", "喂"])
def test_an_operation_id_with_other_than_printable_ascii_is_malformed(value: str) -> None:
    assert refusal(clean_operation_id, value).code is Code.MALFORMED


def test_an_operation_id_of_more_than_128_characters_is_too_large() -> None:
    assert refusal(clean_operation_id, "x" * (MAX_OPERATION_ID_CHARACTERS + 1)).code is Code.TOO_LARGE


@pytest.mark.parametrize("uri", [HTTP, "https://[::1]:9000/x?y#z", "HTTP://host"])
def test_a_subscriber_is_given_by_a_uri_of_a_known_scheme(uri: str) -> None:
    assert http_subscriber(uri) == uri


@pytest.mark.parametrize(
    "uri", ["", "tonto", "ftp://host/", "file:///etc/passwd", "//host/", f" {HTTP}", f"{HTTP}\n", f"{HTTP}é"]
)
def test_a_subscriber_of_another_scheme_or_of_no_uri_is_malformed(uri: str) -> None:
    assert refusal(http_subscriber, uri).code is Code.MALFORMED


@pytest.mark.parametrize("uri", ["http://[::1", "http://[x]/", "http://]"])
def test_a_subscriber_whose_uri_cannot_be_parsed_is_malformed(uri: str) -> None:
    assert refusal(http_subscriber, uri).code is Code.MALFORMED


def test_a_subscribers_uri_has_a_limit() -> None:
    longest = HTTP.ljust(MAX_URI_CHARACTERS, "x")
    assert http_subscriber(longest) == longest
    assert refusal(http_subscriber, longest + "x").code is Code.TOO_LARGE
