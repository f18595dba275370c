"""Bounds for serpent, which Python's own parser reads: in one step, while every other thread waits.

A list that fills a message took it 3 s and 300 MB, a batch of a thousand calls takes it 6 ms.
"""

import re
from itertools import chain
from typing import cast

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH

UNCHECKED_BYTES = 2048
"""A message of so many cannot cost much, whatever is in it."""
MAX_STRUCTURE = 16 * 1024
"""Bytes besides the texts, and a byte for each of these: a thousand calls take 12,000."""
MAX_TEXT = 512 * 1024
"""Bytes of one text as serpent writes it: the longest that is allowed, escaped throughout, takes less."""
MAX_SIGNS = 1000
"""Plus and minus: a long sum takes long to read, and is none of our values."""
_A_TEXT = rb"""(?:'(?:[^'\\]++|(?:\\.)++)*+'|"(?:[^"\\]++|(?:\\.)++)*+")"""
_TEXT = re.compile(_A_TEXT, re.DOTALL)
_OTHER = rb"""[^'"]{0,%d}+""" % MAX_STRUCTURE
_BOUNDED = re.compile(rb"(?:%s(?>%s)){0,%d}%s" % (_OTHER, _A_TEXT, MAX_STRUCTURE, _OTHER), re.DOTALL)
"""As many texts, with as much between them, as may be; it looks no further than that."""


def check_serpent(data: bytes) -> None:
    """Raise TOO_LARGE or MALFORMED for a message that would take long to read."""
    if len(data) <= UNCHECKED_BYTES:
        return
    end = cast(re.Match[bytes], _BOUNDED.match(data)).end()
    if _is_open_text(data, end):
        raise InvalidRequest(Code.MALFORMED, "a text in it does not end")
    texts = [text.span() for text in _TEXT.finditer(data)] if end == len(data) else []
    edges = [0, *chain.from_iterable(texts), len(data)]
    structure = b"t".join(data[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))
    if len(structure) > MAX_STRUCTURE:
        message = f"besides its texts it has more than {MAX_STRUCTURE} bytes; send fewer values"
        raise InvalidRequest(Code.TOO_LARGE, message)
    if structure.count(b"+") + structure.count(b"-") > MAX_SIGNS:
        raise InvalidRequest(Code.MALFORMED, f"it has more than {MAX_SIGNS} signs; send values")
    if structure.count(b"})") > MAX_BATCH + 1:
        raise InvalidRequest(Code.TOO_LARGE, f"it has more than {MAX_BATCH} calls; send fewer in one batch")
    if any(end - begin > MAX_TEXT for begin, end in texts):
        raise InvalidRequest(Code.TOO_LARGE, f"a text has more than {MAX_TEXT} bytes in serpent")


def _is_open_text(data: bytes, end: int) -> bool:
    """Tell whether what stands at *end*, up to where the bounds were kept, is a text without its end."""
    if data[end : end + 1] not in (b"'", b'"'):
        return False
    quotes = data.count(b"'", 0, end) + data.count(b'"', 0, end)
    return quotes < 2 * MAX_STRUCTURE or not _TEXT.match(data, end)  # else it is one text too many
