"""Requests as data: their names, their arguments, and what a node makes of them."""

import inspect

import pytest

from lab.applications.filter import FilterApplication
from lab.applications.service import ServiceApplication, perform
from lab.contract import InsultFilter, InsultService
from lab.errors import Code, InvalidRequest
from lab.operations import (
    FILTER_OPERATIONS,
    MUTATING_OPERATIONS,
    SERVICE_OPERATIONS,
    SIGNATURES,
    Operation,
    bind,
    operation_named,
)
from lab.store import MemoryStore


def application_of(operation: Operation) -> type:
    return ServiceApplication if operation in SERVICE_OPERATIONS else FilterApplication


def test_every_operation_is_of_one_application() -> None:
    assert sorted(SERVICE_OPERATIONS + FILTER_OPERATIONS) == sorted(Operation)


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


@pytest.mark.parametrize("operation", [name for name in Operation if not name.endswith("subscriber")])
def test_every_operation_but_those_on_subscribers_is_in_the_contract(operation: Operation) -> None:
    contract = InsultService if operation in SERVICE_OPERATIONS else InsultFilter
    assert hasattr(contract, operation)


@pytest.mark.parametrize("operation", Operation)
def test_an_operation_is_found_by_its_name(operation: Operation) -> None:
    assert operation_named(str(operation), tuple(Operation)) is operation


@pytest.mark.parametrize("name", ["", "add", "ADD_INSULT", "filter", "__init__", None, 1, ["add_insult"], {}])
def test_an_unknown_operation_is_refused_and_those_there_are_named(name: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        operation_named(name, SERVICE_OPERATIONS)
    assert caught.value.code is Code.UNKNOWN_OPERATION
    assert "add_insult" in caught.value.message


def test_a_name_of_any_length_makes_a_short_message() -> None:
    with pytest.raises(InvalidRequest) as caught:
        operation_named("x" * 1_000_000, SERVICE_OPERATIONS)
    assert len(caught.value.message) < 500


def test_arguments_get_their_names() -> None:
    assert bind(Operation.GET_INSULTS, ["tonto", 10]) == {"after": "tonto", "limit": 10}
    assert bind(Operation.GET_INSULTS, ["tonto"]) == {"after": "tonto"}
    assert bind(Operation.GET_INSULTS, []) == {}


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


def test_a_performed_operation_gives_the_answer_of_the_application() -> None:
    application = ServiceApplication(MemoryStore())
    assert perform(application, Operation.ADD_INSULT, {"insult": " tonto "}) is True
    assert perform(application, Operation.GET_INSULTS, {"limit": 1}) == ["tonto"]


def test_an_operation_performed_again_under_its_id_has_its_effect_once() -> None:
    application = ServiceApplication(MemoryStore())
    answers = [perform(application, Operation.ADD_INSULT, {"insult": "tonto"}, "id") for _ in range(2)]
    assert answers == [True, True]


def test_a_bad_operation_id_is_refused_before_anything_happens() -> None:
    store = MemoryStore()
    with pytest.raises(InvalidRequest):
        perform(ServiceApplication(store), Operation.ADD_INSULT, {"insult": "tonto"}, "a b")
    assert store.count_insults() == 0


def test_an_operation_that_changes_nothing_needs_no_good_id() -> None:
    application = ServiceApplication(MemoryStore())
    assert perform(application, Operation.GET_INSULTS, {}, "a b") == []
