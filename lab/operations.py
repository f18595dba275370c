"""The operations of the two applications: parameters, ids and answers. Each wire has its own codes."""

import itertools
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from lab.contract import Result, ResultPage
from lab.errors import Code, InternalError, InvalidRequest
from lab.limits import MAX_PAGE
from lab.validation import clean_operation_id


class Operation(StrEnum):
    """One request a node answers; the value is the method's name in :mod:`lab.contract`."""

    ADD_INSULT = "add_insult"
    REMOVE_INSULT = "remove_insult"
    GET_INSULTS = "get_insults"
    INSULT_ME = "insult_me"
    ADD_SUBSCRIBER = "add_subscriber"
    REMOVE_SUBSCRIBER = "remove_subscriber"
    START_BROADCAST = "start_broadcast"
    STOP_BROADCAST = "stop_broadcast"
    FILTER = "filter"
    SUBMIT = "submit"
    RESULT = "result"
    GET_RESULTS = "get_results"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of an operation, in order; the last of them have these *defaults*."""

    parameters: tuple[str, ...] = ()
    required: int = 0
    defaults: tuple[object, ...] = ()


SIGNATURES: Mapping[Operation, Signature] = {
    Operation.ADD_INSULT: Signature(("insult",), 1),
    Operation.REMOVE_INSULT: Signature(("insult",), 1),
    Operation.GET_INSULTS: Signature(("after", "limit"), 0, ("", MAX_PAGE)),
    Operation.INSULT_ME: Signature(),
    Operation.ADD_SUBSCRIBER: Signature(("uri",), 1),
    Operation.REMOVE_SUBSCRIBER: Signature(("uri",), 1),
    Operation.START_BROADCAST: Signature(),
    Operation.STOP_BROADCAST: Signature(),
    Operation.FILTER: Signature(("text",), 1),
    Operation.SUBMIT: Signature(("text",), 1),
    Operation.RESULT: Signature(("petition_id",), 1),
    Operation.GET_RESULTS: Signature(("limit",), 0, (MAX_PAGE,)),
    Operation.RESOLVE: Signature(),
}

SERVICE_OPERATIONS = tuple(Operation)[: tuple(Operation).index(Operation.FILTER)]
FILTER_OPERATIONS = tuple(Operation)[tuple(Operation).index(Operation.FILTER) :]
MUTATING_OPERATIONS = frozenset(
    {
        Operation.ADD_INSULT,
        Operation.REMOVE_INSULT,
        Operation.START_BROADCAST,
        Operation.STOP_BROADCAST,
        Operation.SUBMIT,
        Operation.RESOLVE,
    }
)
"""Operations whose repetition must have its effect once: they carry an operation id."""


def bind(operation: Operation, arguments: Sequence[object]) -> dict[str, object]:
    """Name positional *arguments*, or raise MISSING_FIELD or WRONG_TYPE when their number is off."""
    signature = SIGNATURES[operation]
    if len(arguments) < signature.required:
        missing = ", ".join(signature.parameters[len(arguments) : signature.required])
        raise InvalidRequest(Code.MISSING_FIELD, f"{operation} needs {missing}")
    if len(arguments) > len(signature.parameters):
        expected = len(signature.parameters)
        message = f"{operation} takes at most {expected} argument(s), got {len(arguments)}"
        raise InvalidRequest(Code.WRONG_TYPE, message)
    return dict(zip(signature.parameters, arguments, strict=False))


def positional(
    operation: Operation, arguments: Sequence[object], named: Mapping[str, object]
) -> list[object]:
    """Return *arguments* with the *named* ones in their places; defaults stand where there is a gap."""
    signature = SIGNATURES[operation]
    given, left = list(arguments), dict(named)
    for name in named:
        if name not in signature.parameters:
            raise InvalidRequest(Code.WRONG_TYPE, f"{operation} has no argument {name[:60]!r}")
        if name in signature.parameters[: len(given)]:
            raise InvalidRequest(Code.WRONG_TYPE, f"{operation} was given its argument {name} twice")
    for place, name in enumerate(signature.parameters[len(given) :], len(given)):
        if not left:
            break
        if name not in left and place < signature.required:
            raise InvalidRequest(Code.MISSING_FIELD, f"{operation} needs {name}")
        given.append(left.pop(name) if name in left else signature.defaults[place - signature.required])
    return given


def perform(
    application: object, operation: Operation, arguments: Mapping[str, object], operation_id: str = ""
) -> object:
    """Let *application* answer *operation*; an empty *operation_id* makes no exactly-once promise."""
    method = getattr(application, operation)
    if operation_id and operation in MUTATING_OPERATIONS:
        return method(**arguments, operation_id=clean_operation_id(operation_id))
    return method(**arguments)


def to_plain(answer: object) -> object:
    """Return *answer* as a value every wire can carry."""
    if isinstance(answer, ResultPage):
        return {"results": [list(result) for result in answer], "more": answer.more}
    return answer


def page_from_plain(value: object) -> ResultPage:
    """Return the page of results that :func:`to_plain` wrote."""
    if not isinstance(value, Mapping) or "results" not in value:
        raise InternalError("reply", f"not a page of results: {type(value).__name__}")
    page = ResultPage(Result(*pair) for pair in cast(list[list[str]], value["results"]))
    page.more = bool(value.get("more"))
    return page


_prefix = secrets.token_hex(6)
_counter = itertools.count(1)


def new_operation_id() -> str:
    """Return an id that no other process and no earlier call has given."""
    return f"{_prefix}-{next(_counter):x}"


def _renew_prefix() -> None:
    """Let a forked process differ from the one it came from."""
    global _prefix
    _prefix = secrets.token_hex(6)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_prefix)
