"""Refusals of a request as it is read."""

import logging
from uuid import uuid4

from lab.errors import Code, InternalError, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES

log = logging.getLogger(__name__)


def too_large() -> InvalidRequest:
    """Return the error of a body beyond the limit."""
    message = f"the request is longer than {MAX_REQUEST_BYTES} bytes; send it in parts"
    return InvalidRequest(Code.TOO_LARGE, message)


def cause_of(error: BaseException) -> LabError:
    """Return the LabError that a callback raised; anything else is ours, and stays in the log."""
    cause = error.__cause__ or error.__context__
    if isinstance(cause, LabError):
        return cause
    error_id = uuid4().hex[:12]
    log.error("reading a request failed, error id %s", error_id, exc_info=cause)
    return InternalError(error_id)
