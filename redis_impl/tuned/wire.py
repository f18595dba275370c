"""Petitions and replies as JSON, and the keys they travel on."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring

from lab.contract import Application
from lab.errors import Code, InternalError, InvalidRequest, LabError, error_from
from lab.limits import MAX_REQUEST_BYTES, MAX_TEXT_BYTES
from lab.operations import SIGNATURES, Operation, to_plain
from lab.validation import clean_operation_id

CODES: Mapping[Application, Mapping[str, Operation]] = {
    Application.SERVICE: {
        "X1": Operation.ADD_INSULT,
        "X2": Operation.GET_INSULTS,
        "X3": Operation.INSULT_ME,
        "X4": Operation.START_BROADCAST,
        "X5": Operation.STOP_BROADCAST,
        "X6": Operation.REMOVE_INSULT,
    },
    Application.FILTER: {"X1": Operation.SUBMIT, "X2": Operation.RESOLVE, "X3": Operation.GET_RESULTS},
}
DATA_IS_ARGUMENT = frozenset({Operation.ADD_INSULT, Operation.REMOVE_INSULT, Operation.SUBMIT})
"""Operations whose ``data`` is what they work on; that of the others says where to reply."""
LEASE_SECONDS = 2.0
"""How long a node that no longer renews its lease gets petitions, and keeps those that it has."""
MAX_LIST_NAME_CHARACTERS = 200
MAX_BARE_CHARACTERS = 4096
"""So many characters may be outside a petition's strings: tiny values take much more memory than text."""
MAX_STRINGS = 64
_WHERE = re.compile(rf'"(?:reply_to|data)"\s*:\s*"([^"\\]{{1,{MAX_LIST_NAME_CHARACTERS}}})"')
_ID = re.compile(r'"id"\s*:\s*(?:"([^"\\]{1,128})"|([^\s"\\,{}\[\]]{1,128}))')


@dataclass(frozen=True, slots=True)
class Petition:
    """A request as a node reads it. *reply_to* is empty where no reply is wanted."""

    operation: Operation
    arguments: Mapping[str, object]
    operation_id: str
    reply_to: str


class Keys:
    """The keys of an application's petitions in a namespace."""

    def __init__(self, namespace: str, application: Application) -> None:
        self.prefix = f"{namespace}:"
        self.entry = f"{namespace}:{application}"
        self.nodes = f"{self.entry}:nodes"
        self.dead = f"{self.entry}:dead"
        self.turn = f"{self.entry}:turn"
        self.identifiers = f"{namespace}:identifiers"
        self.replies = f"{namespace}:reply:"
        self.channel = f"{namespace}:broadcast:channel"
        self.recent = f"{namespace}:ticks:recent"

    def node(self, identifier: str) -> str:
        """Return the list of a node's petitions; its processing list is that with ``:processing``."""
        return f"{self.entry}:node:{identifier}"


def write_petition(code: str, data: str, operation_id: str, **more: object) -> str:
    """Write a petition; fields of *more* that are None are left out."""
    text = f'{{"operation": {_json(code)}, "data": {_json(data)}, "id": {_json(operation_id)}'
    for key, value in more.items():
        if value is not None:
            text += f', "{key}": {_json(value)}'
    return text + "}"


def read_petition(raw: str, application: Application, keys: Keys) -> Petition:
    """Read and check a petition. Bytes that are not UTF-8 stand in *raw* as lone surrogates."""
    if len(raw) > MAX_REQUEST_BYTES or _bytes_of(raw) > MAX_REQUEST_BYTES:
        raise InvalidRequest(Code.TOO_LARGE, f"the petition is longer than {MAX_REQUEST_BYTES} bytes")
    if len(raw) > MAX_BARE_CHARACTERS and _is_bomb(raw):
        raise InvalidRequest(
            Code.MALFORMED,
            f"a petition has at most {MAX_STRINGS} strings, {MAX_BARE_CHARACTERS} characters outside them",
        )
    try:
        fields = json.loads(raw)
    except RecursionError as error:
        raise InvalidRequest(Code.MALFORMED, "the petition is nested too deeply") from error
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, f"the petition is not JSON: {str(error)[:100]}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(Code.WRONG_TYPE, 'a petition is an object {"operation": "X1", "data": ...}')
    return _petition(fields, application, keys)


def reply_to_of(raw: str, keys: Keys) -> tuple[str, str]:
    """Return where a bad petition wants its reply, and its id; empty where they cannot be found. A petition
    that cannot be parsed, or is too long for it, gets an answer too. So both are searched in its text, in the
    first and last 64 Ki characters.
    """
    edges = raw if len(raw) <= 2 * MAX_TEXT_BYTES else f"{raw[:MAX_TEXT_BYTES]} {raw[-MAX_TEXT_BYTES:]}"
    where = next((found[1] for found in _WHERE.finditer(edges) if _is_reply_list(found[1], keys)), "")
    operation_id = _ID.search(edges) if where else None
    return where, (operation_id[1] or operation_id[2]) if operation_id else ""


def write_reply(operation_id: str, answer: object) -> str:
    """Write an answer, or a LabError, as a reply."""
    if isinstance(answer, LabError):
        return json.dumps({"id": operation_id, "error": answer.code, "message": answer.message})
    return f'{{"id": {_json(operation_id)}, "answer": {_json(answer)}}}'


def read_reply(raw: str) -> tuple[str, object]:
    """Return the id of a reply and its answer, or the LabError it stands for; of anything else no id."""
    try:
        fields = json.loads(raw)
        operation_id = fields["id"]
        if not isinstance(operation_id, str):
            raise TypeError("its id is no text")
        if "error" in fields:
            return operation_id, error_from(str(fields["error"]), str(fields["message"]))
        return operation_id, fields["answer"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return "", InternalError("reply", f"not a reply: {str(error)[:100]}")


def _json(value: object) -> str:
    """Return *value* as JSON. Nearly all are texts: for them the encoder costs more than the encoding."""
    if isinstance(value, str):
        return encode_basestring(value)
    return json.dumps(to_plain(value), ensure_ascii=False)


def _petition(fields: dict[str, object], application: Application, keys: Keys) -> Petition:
    code = fields.get("operation")
    if code is None:
        raise InvalidRequest(Code.MISSING_FIELD, 'the petition has no "operation"')
    operation = CODES[application].get(code) if isinstance(code, str) else None
    if operation is None:
        known = ", ".join(CODES[application])
        raise InvalidRequest(
            Code.UNKNOWN_OPERATION, f"no operation {str(code)[:60]!r} here; there are {known}"
        )
    if "data" not in fields:
        raise InvalidRequest(Code.MISSING_FIELD, f'{code} ({operation}) needs "data"')
    operation_id = clean_operation_id(fields["id"]) if "id" in fields else ""
    is_argument = operation in DATA_IS_ARGUMENT
    arguments = {name: fields[name] for name in SIGNATURES[operation].parameters if name in fields}
    if is_argument:
        arguments[SIGNATURES[operation].parameters[0]] = fields["data"]
    reply_to = _reply_to(fields.get("reply_to") if is_argument else fields["data"], keys)
    if operation is Operation.GET_RESULTS and "petition_id" in fields:
        operation, arguments = Operation.RESULT, {"petition_id": fields["petition_id"]}
    elif operation is Operation.SUBMIT and reply_to:
        operation = Operation.FILTER
    return Petition(operation, arguments, operation_id, reply_to)


def _reply_to(value: object, keys: Keys) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, "where to reply is the name of a list, as text")
    if not _is_reply_list(value, keys):
        raise InvalidRequest(Code.MALFORMED, f"replies go to lists whose names begin with {keys.replies}")
    return value


def _is_reply_list(name: str, keys: Keys) -> bool:
    is_short = len(name) <= MAX_LIST_NAME_CHARACTERS
    return is_short and name.startswith(keys.replies) and name.isprintable()


def _is_bomb(raw: str) -> bool:
    """Tell whether a text has more structure than a petition can have, before any of it is built."""
    if "\\" in raw:  # drop what is escaped, quotes above all
        raw = raw.replace(r"\\", "").replace(r"\"", "")
    parts = raw.split('"', 2 * MAX_STRINGS)
    return len(parts) > 2 * MAX_STRINGS or sum(map(len, parts[::2])) > MAX_BARE_CHARACTERS


def _bytes_of(raw: str) -> int:
    try:
        return len(raw) if raw.isascii() else len(raw.encode())
    except UnicodeEncodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, "the petition is not UTF-8") from error
