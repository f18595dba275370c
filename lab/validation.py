"""Check what clients pass. Each function returns the clean value or raises one InvalidRequest.

Our clients check before they send, so that the error is the same on every wire. Nodes check again, because a
client may not be ours.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from lab.errors import Code, InvalidRequest
from lab.limits import (
    MAX_BATCH,
    MAX_INSULT_CHARACTERS,
    MAX_OPERATION_ID_CHARACTERS,
    MAX_PAGE,
    MAX_TEXT_BYTES,
    MAX_TIMEOUT_SECONDS,
    MAX_URI_CHARACTERS,
)

_PLACE = re.compile(r"([\w.-]+|\[[0-9a-f:.]+\]):\d+", re.IGNORECASE)


def clean_insult(value: object) -> str:
    """Return *value* NFC-normalised and stripped: 1-200 characters, none of them a control character."""
    insult = clean_string("insult", value)
    if len(insult) > 4 * MAX_INSULT_CHARACTERS:  # before the costlier steps; stripping and NFC shrink less
        raise _insult_too_long(len(insult))
    insult = unicodedata.normalize("NFC", insult).strip()
    if not insult:
        raise InvalidRequest(Code.MALFORMED, "the insult is empty; give 1-200 characters")
    if len(insult) > MAX_INSULT_CHARACTERS:
        raise _insult_too_long(len(insult))
    if not insult.isprintable() and any(unicodedata.category(char) in ("Cc", "Zl", "Zp") for char in insult):
        raise InvalidRequest(Code.MALFORMED, "the insult holds a control character or line break; remove it")
    return insult


def clean_text(value: object) -> str:
    """Return *value* if it is text of at most 64 KiB in UTF-8."""
    text = clean_string("text", value)
    if len(text) > MAX_TEXT_BYTES or (not text.isascii() and len(text.encode()) > MAX_TEXT_BYTES):
        message = f"the text is longer than {MAX_TEXT_BYTES} bytes of UTF-8; send it in parts"
        raise InvalidRequest(Code.TOO_LARGE, message)
    return text


def clean_limit(value: object) -> int:
    """Return *value* if it is a whole number from 1 to 1,000."""
    return _whole_number("limit", value, MAX_PAGE)


def clean_in_flight(value: object) -> int:
    """Return *value* if it is a whole number from 1 to 1,000."""
    return _whole_number("in_flight", value, MAX_BATCH)


def clean_timeout(value: object) -> float:
    """Return *value* if it is a number of seconds from 0 to a day."""
    seconds = _seconds("timeout", value)
    if not 0 <= seconds <= MAX_TIMEOUT_SECONDS:
        message = f"timeout must be from 0 to {MAX_TIMEOUT_SECONDS:.0f} seconds"
        raise InvalidRequest(Code.TOO_LARGE, message)
    return float(seconds)


def clean_deadline(value: object) -> float:
    """Return *value* if it is a number of seconds above 0 and up to a day."""
    seconds = _seconds("deadline_seconds", value)
    if not 0 < seconds <= MAX_TIMEOUT_SECONDS:
        message = f"deadline_seconds must be above 0 and at most {MAX_TIMEOUT_SECONDS:.0f} seconds"
        raise InvalidRequest(Code.TOO_LARGE, message)
    return float(seconds)


def clean_texts(values: object) -> Iterator[str]:
    """Return an iterator over *values* that raises at the first one that is not a text to filter."""
    if isinstance(values, str | bytes | bytearray) or not isinstance(values, Iterable):
        message = f"texts must be a list or a stream of texts, got {type(values).__name__}"
        raise InvalidRequest(Code.WRONG_TYPE, message)
    return map(clean_text, values)


def clean_after(value: object) -> str:
    """Return the name after which a page of insults starts."""
    after = clean_string("after", value)
    if len(after) > MAX_INSULT_CHARACTERS:
        raise InvalidRequest(Code.TOO_LARGE, f"after is longer than any insult ({MAX_INSULT_CHARACTERS})")
    return after


def clean_operation_id(value: object) -> str:
    """Return an operation or petition id: 1-128 printable ASCII characters without spaces."""
    operation_id = clean_string("id", value)
    if len(operation_id) > MAX_OPERATION_ID_CHARACTERS:
        message = f"the id is longer than {MAX_OPERATION_ID_CHARACTERS} characters"
        raise InvalidRequest(Code.TOO_LARGE, message)
    printable = operation_id.isascii() and operation_id.isprintable()
    if not printable or not operation_id or " " in operation_id:
        raise InvalidRequest(Code.MALFORMED, "an id is 1-128 printable ASCII characters without spaces")
    return operation_id


def clean_subscriber(value: object, schemes: tuple[str, ...]) -> str:
    """Return a subscriber's URI if its scheme is one of *schemes*."""
    uri = clean_string("uri", value)
    if len(uri) > MAX_URI_CHARACTERS:
        raise InvalidRequest(Code.TOO_LARGE, f"the subscriber's URI is longer than {MAX_URI_CHARACTERS}")
    if not uri.isascii() or not uri.isprintable() or " " in uri or _scheme(uri) not in schemes:
        raise InvalidRequest(Code.MALFORMED, f"a subscriber is given as a URI that starts with {schemes}")
    return uri


def clean_address(value: str, *schemes: str, default_port: int = 0) -> tuple[str, int]:
    """Return the host and the port of *value*: a URL of one of *schemes*, or HOST:PORT if there are none.

    MALFORMED if it is anything else. A URL needs no port where there is a *default_port*. Where the *schemes*
    are several, they are a broker's: its library finds the host.
    """
    try:
        parts = urlsplit(value if schemes else f"//{value}")
        host, port = parts.hostname or "", parts.port or default_port
    except ValueError:  # a port that is no number, brackets that hold no IPv6 address
        raise _no_address(value, schemes) from None
    is_plain = bool(schemes) or bool(_PLACE.fullmatch(value))
    if parts.scheme not in (schemes or ("",)) or not is_plain or not ((host and port) or len(schemes) > 1):
        raise _no_address(value, schemes)
    return host, port


def _no_address(value: str, schemes: tuple[str, ...]) -> InvalidRequest:
    shown = re.sub(r"//[^/@]*@", "//", value)  # not its password
    wanted = f"a URL like {schemes[0]}://HOST:PORT" if schemes else "HOST:PORT"
    return InvalidRequest(Code.MALFORMED, f"{shown!r} is no address here: give {wanted}, IPv6 in brackets")


def clean_string(name: str, value: object) -> str:
    """Return *value* if it is text that UTF-8 can write; *name* stands in the error."""
    if not isinstance(value, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be text, got {type(value).__name__}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            message = f"{name} holds a lone surrogate, which is not text"
            raise InvalidRequest(Code.BAD_ENCODING, message) from error
    return value if type(value) is str else str.__str__(value)


def _whole_number(name: str, value: object, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidRequest(Code.WRONG_TYPE, f"{name} must be a whole number, got {type(value).__name__}")
    if not 1 <= value <= most:
        raise InvalidRequest(Code.TOO_LARGE, f"{name} must be from 1 to {most}")
    return int(value)


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        message = f"{name} must be a number of seconds, got {type(value).__name__}"
        raise InvalidRequest(Code.WRONG_TYPE, message)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest(Code.MALFORMED, f"{name} must be a finite number of seconds, got {value}")
    return value


def _scheme(uri: str) -> str:
    try:
        return urlsplit(uri).scheme
    except ValueError:  # brackets that hold no IPv6 address
        return ""


def _insult_too_long(length: int) -> InvalidRequest:
    message = f"the insult has {length} characters; at most {MAX_INSULT_CHARACTERS} are kept"
    return InvalidRequest(Code.TOO_LARGE, message)
