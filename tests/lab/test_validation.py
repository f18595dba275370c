"""What is let in and what is refused, with which code, and how errors and requests travel."""

import inspect
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.applications.filter import FilterApplication
from lab.applications.service import ServiceApplication
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
from lab.limits import MAX_TEXT_BYTES, MAX_URI_CHARACTERS
from lab.load.texts import default_insults, read_insults
from lab.operations import MUTATING_OPERATIONS, SERVICE_OPERATIONS, SIGNATURES, Operation, bind, perform
from lab.process.launcher import DidNotStart
from lab.store import MemoryStore
from lab.validation import clean_insult, clean_subscriber, clean_text

Check = Callable[[object], object]
HTTP = "http://127.0.0.1:9000/"
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


def http_subscriber(value: object) -> str:
    return clean_subscriber(value, ("http", "https"))


def refusal(check: Check, value: object) -> InvalidRequest:
    """Return the error that *check* raises for *value*."""
    with pytest.raises(InvalidRequest) as caught:
        check(value)
    return caught.value


@pytest.mark.parametrize("insult", [" tonto", "tonto ", "\t tonto\n", "\u00a0tonto\u3000", "\u2028tonto"])
def test_an_insult_is_stripped(insult: str) -> None:
    assert clean_insult(insult) == "tonto"


def test_an_insult_is_normalised() -> None:
    assert clean_insult("estu\u0301pido") == "est\u00fapido"


@pytest.mark.parametrize("character", ["\n", "\r", "\t", "\x00", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"])
def test_an_insult_with_a_control_character_is_malformed(character: str) -> None:
    assert refusal(clean_insult, f"ton{character}to").code is Code.MALFORMED


@pytest.mark.parametrize("character", ["\u00a0", "\u200d", "\u3000", "\ufeff", "\u00ad"])
def test_an_unusual_character_that_controls_nothing_is_let_in(character: str) -> None:
    assert clean_insult(f"ton{character}to") == f"ton{character}to"


def test_the_length_of_an_insult_counts_once_it_is_stripped_and_normalised() -> None:
    assert clean_insult("  " + "u\u0301" * 200 + "  ") == "\u00fa" * 200
    assert refusal(clean_insult, "u\u0301" * 201).code is Code.TOO_LARGE


@pytest.mark.parametrize("text", ["", " ", "\x00", "two\r\nlines", "e\u0301", "x" * MAX_TEXT_BYTES])
def test_a_good_text_is_passed_on_as_it_is(text: str) -> None:
    assert clean_text(text) == text


@pytest.mark.parametrize("character", ["x", "é", "喂", "😈"])
def test_a_text_may_have_64_kib_of_utf_8_and_not_a_byte_more(character: str) -> None:
    count, rest = divmod(MAX_TEXT_BYTES, len(character.encode()))
    largest = character * count + "x" * rest
    assert clean_text(largest) == largest
    assert refusal(clean_text, largest + "x").code is Code.TOO_LARGE


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


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_an_error_arrives_as_what_it_was(error: LabError) -> None:
    arrived = error_from(str(error.code), error.message)
    assert (type(arrived), arrived.code, arrived.message) == (type(error), error.code, error.message)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error.code))
def test_an_error_written_as_text_is_read_as_what_it_was(error: LabError) -> None:
    arrived = error_from_text(as_text(error))
    assert arrived is not None
    assert (type(arrived), arrived.code, arrived.message) == (type(error), error.code, error.message)


def test_an_error_is_the_same_after_it_was_pickled() -> None:
    for error in (*ERRORS, DidNotStart("node did not start: why", 2)):
        arrived = pickle.loads(pickle.dumps(error))
        assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_every_code_has_an_error() -> None:
    assert {error.code for error in ERRORS} == set(Code)


@pytest.mark.parametrize("code", ["", "NEW_CODE", "not_found", "200"])
def test_an_unknown_code_is_a_failure_of_the_node_that_keeps_what_was_said(code: str) -> None:
    arrived = error_from(code, "the message")
    assert isinstance(arrived, InternalError)
    assert "the message" in arrived.message
    assert repr(code) in arrived.message


@pytest.mark.parametrize("text", ["", "NOT_FOUND", "NOT_FOUND:", "not_found: x", "something: else", ": x"])
def test_other_text_is_no_error(text: str) -> None:
    assert error_from_text(text) is None


def application_of(operation: Operation) -> type:
    return ServiceApplication if operation in SERVICE_OPERATIONS else FilterApplication


@pytest.mark.parametrize("operation", Operation)
def test_the_signature_of_an_operation_is_that_of_the_application(operation: Operation) -> None:
    parameters = inspect.signature(getattr(application_of(operation), operation)).parameters
    names = [name for name in parameters if name not in ("self", "operation_id")]
    required = [name for name in names if parameters[name].default is inspect.Parameter.empty]
    assert (SIGNATURES[operation].parameters, SIGNATURES[operation].required) == (tuple(names), len(required))


@pytest.mark.parametrize("operation", Operation)
def test_exactly_the_operations_that_change_something_take_an_operation_id(operation: Operation) -> None:
    parameters = inspect.signature(getattr(application_of(operation), operation)).parameters
    assert ("operation_id" in parameters) is (operation in MUTATING_OPERATIONS)


def test_a_missing_argument_is_named() -> None:
    with pytest.raises(InvalidRequest) as caught:
        bind(Operation.ADD_INSULT, [])
    assert (caught.value.code, caught.value.message) == (Code.MISSING_FIELD, "add_insult needs insult")


@pytest.mark.parametrize(
    ("operation", "arguments"), [(Operation.INSULT_ME, [1]), (Operation.ADD_INSULT, ["tonto", "id"])]
)
def test_more_arguments_than_there_are_parameters_are_refused(
    operation: Operation, arguments: list[object]
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        bind(operation, arguments)
    assert caught.value.code is Code.WRONG_TYPE


def test_an_operation_performed_again_under_its_id_has_its_effect_once() -> None:
    application = ServiceApplication(MemoryStore())
    answers = [perform(application, Operation.ADD_INSULT, {"insult": "tonto"}, "id") for _ in range(2)]
    assert answers == [True, True]


def test_a_bad_operation_id_is_refused_before_anything_happens() -> None:
    store = MemoryStore()
    with pytest.raises(InvalidRequest):
        perform(ServiceApplication(store), Operation.ADD_INSULT, {"insult": "tonto"}, "a b")
    assert store.count_insults() == 0


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
