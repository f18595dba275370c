"""The one tree of errors. Every wire carries the same codes; no traceback ever reaches a client."""

import copyreg
from enum import StrEnum


class Code(StrEnum):
    """What went wrong, in one word, the same on every wire."""

    MALFORMED = "MALFORMED"
    UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
    MISSING_FIELD = "MISSING_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    TOO_LARGE = "TOO_LARGE"
    BAD_ENCODING = "BAD_ENCODING"
    NO_INSULTS = "NO_INSULTS"
    NOT_FOUND = "NOT_FOUND"
    OVERLOADED = "OVERLOADED"
    UNAVAILABLE = "UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL_ERROR = "INTERNAL_ERROR"


class LabError(Exception):
    """An error a client may see: a code, and a sentence that says what, where, which limit, what to do."""

    code = Code.INTERNAL_ERROR

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be pickled, whatever its constructor takes: Dask sends errors from machine to machine."""
        return copyreg.__newobj__, (type(self), self.message), self.__dict__  # type: ignore[attr-defined]


class InvalidRequest(LabError):
    """The request itself is at fault; repeating it will not help."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


class NoInsults(LabError):
    """A random insult was asked for and there is none."""

    code = Code.NO_INSULTS


class NotFound(LabError):
    """The thing asked for is not there: not yet, not any more, or never."""

    code = Code.NOT_FOUND


class Overloaded(LabError):
    """The node or broker takes no more for now; try again later."""

    code = Code.OVERLOADED


class Unavailable(LabError):
    """Nobody can serve the request now: no node, no broker, or no store."""

    code = Code.UNAVAILABLE


class AlreadyRunning(Unavailable):
    """Another process has this role, or this port. A process that starts ends with exit code 2."""


class DeadlineExceeded(LabError):
    """The answer did not come within the deadline; the request may or may not have had its effect."""

    code = Code.DEADLINE_EXCEEDED


class InternalError(LabError):
    """The node failed; the traceback stands in its log under *error_id*."""

    code = Code.INTERNAL_ERROR

    def __init__(self, error_id: str, message: str = "") -> None:
        super().__init__(message or f"the node failed; its log tells more under {error_id}")
        self.error_id = error_id


_BY_CODE: dict[Code, type[LabError]] = {
    kind.code: kind for kind in (NoInsults, NotFound, Overloaded, Unavailable, DeadlineExceeded)
}


def error_from(code: str, message: str) -> LabError:
    """Rebuild the error that travelled as *code* and *message*."""
    try:
        known = Code(code)
    except ValueError:
        return InternalError("unknown", f"unknown error code {code!r}: {message}")
    if known is Code.INTERNAL_ERROR:
        return InternalError(message.rpartition(" ")[2], message)
    kind = _BY_CODE.get(known)
    return kind(message) if kind else InvalidRequest(known, message)


def as_text(error: LabError) -> str:
    """Write *error* as ``CODE: message``, for wires whose errors are text."""
    return f"{error.code}: {error.message}"


def error_from_text(text: str) -> LabError | None:
    """Read what :func:`as_text` wrote; None if *text* is something else."""
    code, separator, message = text.partition(": ")
    return error_from(code, message) if separator and code in Code.__members__ else None
