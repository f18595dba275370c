"""Remote methods that refuse with our codes, whatever they are called with."""

import functools
import inspect
import logging
from collections.abc import Callable
from typing import TypeVar
from uuid import uuid4

from Pyro4 import errors

from lab.errors import Code, InternalError, InvalidRequest, LabError
from lab.limits import MAX_URI_CHARACTERS

from ._refusals import as_builtin

log = logging.getLogger(__name__)

Method = TypeVar("Method", bound=Callable[..., object])


def checked(method: Method) -> Method:
    """Let *method* refuse arguments that do not fit, and texts that are none or too long."""
    signature = inspect.signature(method)
    texts = [name for name, parameter in signature.parameters.items() if parameter.annotation is str]

    @coded
    @functools.wraps(method)
    def call(*arguments: object, **named: object) -> object:
        try:
            bound = signature.bind(*arguments, **named).arguments
        except TypeError as error:
            code = Code.MISSING_FIELD if "missing" in str(error) else Code.WRONG_TYPE
            raise InvalidRequest(code, f"{method.__name__}: {str(error)[:100]}") from error
        for name in texts:
            check_text(name, bound.get(name, ""))
        return method(*arguments, **named)

    return call  # type: ignore[return-value]


def coded(method: Callable[..., object]) -> Callable[..., object]:
    """Let *method* raise what any proxy understands; the traceback of a failure stays in the log."""

    @functools.wraps(method)
    def call(*arguments: object, **named: object) -> object:
        try:
            return method(*arguments, **named)
        except LabError as error:
            raise as_builtin(error) from None
        except errors.NamingError:  # Pyro4's own clients expect it
            raise
        except Exception as error:
            error_id = uuid4().hex[:12]
            log.exception("%s failed, error id %s", call.__name__, error_id)
            raise as_builtin(InternalError(error_id)) from error

    return call


def check_text(name: str, value: object) -> None:
    """Raise WRONG_TYPE, TOO_LARGE or BAD_ENCODING unless *value* is text of a length that may be needed."""
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be text, got {type(value).__name__}")
    if len(value) > MAX_URI_CHARACTERS:
        raise InvalidRequest(Code.TOO_LARGE, f"{name} is longer than {MAX_URI_CHARACTERS} characters")
    if not value.isprintable():  # nor are lone surrogates
        raise InvalidRequest(Code.BAD_ENCODING, f"{name} holds a control character or a lone surrogate")
