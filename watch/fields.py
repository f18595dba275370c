"""Read the fields of a button's request; each function raises one InvalidRequest."""

from lab.errors import Code, InvalidRequest
from watch.hub import Fields


def number(fields: Fields, name: str, most: float) -> float:
    """Return the number *name*, from 0 to *most*."""
    value = _given(fields, name)
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be a number, got {_kind(value)}")
    if not 0 <= value <= most:  # nor is NaN
        raise InvalidRequest(Code.TOO_LARGE, f"{name} must be from 0 to {most:g}")
    return float(value)


def whole(fields: Fields, name: str) -> int:
    """Return the whole number *name*."""
    value = _given(fields, name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be a whole number, got {_kind(value)}")
    return value


def text(fields: Fields, name: str) -> str:
    """Return the text *name*, as it came."""
    value = _given(fields, name)
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be text, got {_kind(value)}")
    return value


def _given(fields: Fields, name: str) -> object:
    if name not in fields:
        raise InvalidRequest(Code.MISSING_FIELD, f"{name} is missing")
    return fields[name]


def _kind(value: object) -> str:
    """Name the type of *value* as JSON does."""
    names = {
        "str": "text",
        "bool": "true or false",
        "NoneType": "null",
        "dict": "an object",
        "list": "a list",
    }
    return names.get(type(value).__name__, "a number with a point")
