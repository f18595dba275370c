"""Errors on their way over a wire: what was raised at the node is what the client raises."""

import pytest

from lab.errors import (
    Code,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    LabError,
    NoInsults,
    NotFound,
    Overloaded,
    Unavailable,
    as_text,
    error_from,
    error_from_text,
)

INVALID = [
    Code.MALFORMED,
    Code.UNKNOWN_OPERATION,
    Code.MISSING_FIELD,
    Code.WRONG_TYPE,
    Code.TOO_LARGE,
    Code.BAD_ENCODING,
]
ERRORS: list[LabError] = [
    *(InvalidRequest(code, "limit: must be 1, got 'x'\n") for code in INVALID),
    *(kind("é: what, where") for kind in (NoInsults, NotFound, Overloaded, Unavailable, DeadlineExceeded)),
    InternalError("5d41402a"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_an_error_arrives_as_what_it_was(error: LabError) -> None:
    arrived = error_from(str(error.code), error.message)
    assert (type(arrived), arrived.code, arrived.message) == (type(error), error.code, error.message)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_an_error_written_as_text_is_read_as_what_it_was(error: LabError) -> None:
    arrived = error_from_text(as_text(error))
    assert arrived is not None
    assert (type(arrived), arrived.code, arrived.message) == (type(error), error.code, error.message)


def test_every_code_has_an_error() -> None:
    assert {error.code for error in ERRORS} == set(Code)


def test_the_id_under_which_the_log_tells_more_arrives() -> None:
    arrived = error_from("INTERNAL_ERROR", InternalError("5d41402a").message)
    assert isinstance(arrived, InternalError)
    assert arrived.error_id == "5d41402a"


@pytest.mark.parametrize("code", ["", "NEW_CODE", "not_found", "200"])
def test_an_unknown_code_is_a_failure_of_the_node_that_keeps_what_was_said(code: str) -> None:
    arrived = error_from(code, "the message")
    assert isinstance(arrived, InternalError)
    assert "the message" in arrived.message
    assert repr(code) in arrived.message


@pytest.mark.parametrize("text", ["", "NOT_FOUND", "NOT_FOUND:", "not_found: x", "something: else", ": x"])
def test_other_text_is_no_error(text: str) -> None:
    assert error_from_text(text) is None


def test_the_message_of_an_error_is_what_is_printed() -> None:
    assert str(NotFound("nothing here")) == "nothing here"
