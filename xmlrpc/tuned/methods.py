"""The methods of an XML-RPC server, with introspection and multicall.

Replaces ``xmlrpc.server.SimpleXMLRPCDispatcher``: it has no operation ids, and answers any error with its
text.
"""

from collections.abc import Mapping, Sequence

from lab.errors import Code, InvalidRequest, LabError
from lab.limits import MAX_BATCH, MAX_REPLY_BYTES
from lab.process.serving import Executor, Method, call_method, find_method

from .wire import as_fault


class Methods:
    """The table of methods; ``system.*`` are added."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._methods = {
            **methods,
            "system.listMethods": Method(self._list, Executor.LOOP, "Return the names of all methods."),
            "system.methodHelp": Method(self._help, Executor.LOOP, "Return what the method NAME does."),
            "system.multicall": Method(
                self._multicall,
                max((m.executor for m in methods.values()), key=list(Executor).index),
                "Call many: an array of {methodName, params}; each answer stands in an array of its own.",
            ),
        }

    def find(self, name: str) -> Method:
        """Return the method called *name*, or raise UNKNOWN_OPERATION naming those there are."""
        return find_method(self._methods, name)

    def call(self, name: str, arguments: Sequence[object], operation_id: str) -> object:
        """Call a method. Any failure comes out as a LabError; a traceback stays in the log."""
        return call_method(self._methods, name, arguments, operation_id)

    def _list(self, arguments: Sequence[object], operation_id: str) -> list[str]:
        return sorted(self._methods)

    def _help(self, arguments: Sequence[object], operation_id: str) -> str:
        if len(arguments) != 1 or not isinstance(arguments[0], str):
            raise InvalidRequest(Code.MISSING_FIELD, "system.methodHelp needs the name of a method")
        return self.find(arguments[0]).help

    def _multicall(self, arguments: Sequence[object], operation_id: str) -> list[object]:
        if len(arguments) != 1 or not isinstance(arguments[0], list):
            raise InvalidRequest(Code.WRONG_TYPE, "system.multicall needs one array of calls")
        calls = arguments[0]
        if len(calls) > MAX_BATCH:
            raise InvalidRequest(Code.TOO_LARGE, f"{len(calls)} calls in one multicall; at most {MAX_BATCH}")
        answers: list[object] = []
        size = 0
        for index, call in enumerate(calls):
            answer, length = self._one(call, f"{operation_id}/{index}" if operation_id else "", size)
            answers.append(answer)
            size += length
        return answers

    def _one(self, call: object, operation_id: str, size: int) -> tuple[object, int]:
        try:
            if size > MAX_REPLY_BYTES:  # not performed: its answer could not be sent
                message = "the answers so far fill a reply; this call was not made, repeat it"
                raise InvalidRequest(Code.TOO_LARGE, message)
            name, arguments = _parts(call)
            answer = self.call(name, arguments, operation_id)
        except LabError as error:
            fault = as_fault(error)
            return {"faultCode": fault.faultCode, "faultString": fault.faultString}, len(error.message)
        return [answer], _length(answer)


def _parts(call: object) -> tuple[str, Sequence[object]]:
    if not isinstance(call, dict):
        raise InvalidRequest(Code.WRONG_TYPE, "a call in a multicall is a struct {methodName, params}")
    name, arguments = call.get("methodName"), call.get("params", [])
    if name is None:
        raise InvalidRequest(Code.MISSING_FIELD, "a call in a multicall needs methodName")
    if not isinstance(name, str) or not isinstance(arguments, list):
        raise InvalidRequest(Code.WRONG_TYPE, "methodName must be text and params an array")
    if name == "system.multicall":
        raise InvalidRequest(Code.UNKNOWN_OPERATION, "a multicall cannot hold another one")
    return name, arguments


def _length(answer: object) -> int:
    """Return about how many characters *answer* takes on the wire."""
    if isinstance(answer, str):
        return len(answer)
    if isinstance(answer, (list, tuple)):
        return sum(map(_length, answer))
    if isinstance(answer, dict):
        return sum(map(_length, answer.values()))
    return 8
