"""Messages of Pyro4 as bytes, and what is refused in them.

Replaces, of Pyro4: ``Message.to_bytes`` and ``Message.recv`` for the messages of the fast path, and what its
serializers do before they read a call. Why: for each message Pyro4 makes an object, a copy of the annotations
and a checksum in several steps. It also reads what costs the node much: compressed messages, lists without a
bound, values that Python's parser needs seconds for. ``python3 -m lab bench --only pyro4`` measures the gain.

A message of the fast path is whole, in msgpack, neither signed nor compressed, and one call or one answer.
Every other message is read and written by Pyro4. The bytes on the wire are the same (decision 10).
"""

import re
import struct
from collections.abc import Mapping, Sequence, Sized
from itertools import chain
from typing import Any, NamedTuple, cast

import msgpack  # type: ignore[import-untyped]
from Pyro4 import constants, errors, message, util

from lab.client.direct import TICK_ID
from lab.errors import Code, InvalidRequest, LabError, as_text
from lab.limits import MAX_BATCH, MAX_REQUEST_BYTES

_OPERATION_ID = "OPID"
"""The annotation with the operation id."""
_TICK = "TICK"
"""The annotation with the number of a broadcast tick, which is the operation id of a notification."""
SERIALIZERS = {"serpent", "msgpack"}
SERIALIZER_IDS = {util.get_serializer(name).serializer_id for name in SERIALIZERS}
SERPENT = util.SerpentSerializer.serializer_id
MSGPACK = util.MsgpackSerializer.serializer_id
NOT_SIGNED = "the message is not signed with the key of this system; both sides need the same LAB_PYRO_KEY"

HEADER = struct.Struct(message.Message.header_format)
_ANNOTATION = struct.Struct("!4sH")
_VERSION, _MAGIC = constants.PROTOCOL_VERSION, message.Message.checksum_magic
_msgpack = util.get_serializer("msgpack")

_BATCH_METHOD = "<batch>"
_SPECIAL_METHODS = {_BATCH_METHOD, "__getattr__", "__setattr__"}
MAX_VALUES = 20_000
"""In a msgpack message: 1,000 calls in a batch have 9,000. A byte may become an object of 64."""
UNCHECKED_BYTES = 2048
"""A serpent message of this size cannot cost much, so it is not checked."""
MAX_STRUCTURE = 16 * 1024
"""Bytes besides the texts, and a byte for each text: a thousand calls take 12,000."""
MAX_TEXT = 512 * 1024
"""Bytes of one text as serpent writes it: the longest that is allowed, escaped throughout, takes less."""
MAX_SIGNS = 1000
"""Plus and minus: a long sum takes long to read, and none of our values is one."""
_A_TEXT = rb"""(?:'(?:[^'\\]++|(?:\\.)++)*+'|"(?:[^"\\]++|(?:\\.)++)*+")"""
_TEXT = re.compile(_A_TEXT, re.DOTALL)
_OTHER = rb"""[^'"]{0,%d}+""" % MAX_STRUCTURE
BOUNDED = re.compile(rb"(?:%s(?>%s)){0,%d}%s" % (_OTHER, _A_TEXT, MAX_STRUCTURE, _OTHER), re.DOTALL)
"""As many texts, with as much between them, as are allowed; it looks no further than that."""
_INSIDE = re.compile("<[^>]*>")


def annotations_of(operation_id: str) -> dict[str, bytes]:
    """Return the annotations of a call that has *operation_id*; empty: none."""
    if operation_id.startswith(TICK_ID):
        return {_TICK: operation_id.removeprefix(TICK_ID).encode()}
    return {_OPERATION_ID: operation_id.encode()} if operation_id else {}


def operation_id_in(annotations: Mapping[str, Any]) -> str:
    """Return the operation id of a call that has *annotations*; empty: none."""
    if _TICK in annotations:
        return TICK_ID + bytes(annotations[_TICK]).decode("latin-1")
    if annotations.get(_OPERATION_ID) == b"":
        raise InvalidRequest(Code.MALFORMED, "the annotation OPID is empty; leave it out")
    return bytes(annotations.get(_OPERATION_ID, b"")).decode("latin-1")


class FastMessage(NamedTuple):
    """A message of the fast path and how many bytes it has."""

    size: int
    seq: int
    annotations: dict[str, bytes]
    content: object


def read_fast(data: bytes, kind: int) -> FastMessage | None:
    """Return the message of *kind* with which *data* begins; None if it is not fast, or not whole."""
    tag, version, its_kind, flags, seq, size, serializer, noted, _, checksum = HEADER.unpack_from(data)
    begin = HEADER.size + noted
    if (
        tag != b"PYRO"
        or (version, its_kind, flags, serializer) != (_VERSION, kind, 0, MSGPACK)
        or checksum != (kind + _VERSION + size + noted + serializer + seq + _MAGIC) & 0xFFFF
        or not 0 < size <= MAX_VALUES  # a larger one may hold too many values
        or len(data) < begin + size
    ):
        return None
    annotations = _annotations(data, begin) if noted else {}
    packed = data[begin : begin + size]
    if annotations is None or "HMAC" in annotations or b"__class__" in packed:  # an object of Pyro4's
        return None
    try:
        content = msgpack.unpackb(packed, raw=False)
    except (ValueError, RecursionError):
        return None
    return FastMessage(begin + size, seq, annotations, content)


def write_call(
    served: str, method: str, arguments: Sequence[object], seq: int, annotations: Mapping[str, bytes]
) -> bytes:
    """Return the call of *method* on the object named *served*."""
    content = msgpack.packb((served, method, arguments, {}), default=_msgpack.default)
    return write(message.MSG_INVOKE, seq, content, annotations)


def write_answer(seq: int, answer: object) -> bytes:
    """Return *answer* to the call *seq*."""
    content, _ = write_data(_msgpack, answer)
    return write(message.MSG_RESULT, seq, content, {})


def write(kind: int, seq: int, content: bytes, annotations: Mapping[str, bytes]) -> bytes:
    """Return the message of *kind* with *content*, which is msgpack already."""
    noted = b""
    for name, value in annotations.items():
        noted += _ANNOTATION.pack(name.encode("ascii"), len(value)) + value
    size, noted_size = len(content), len(noted)
    checksum = (kind + _VERSION + size + noted_size + MSGPACK + seq + _MAGIC) & 0xFFFF
    header = HEADER.pack(b"PYRO", _VERSION, kind, 0, seq, size, MSGPACK, noted_size, 0, checksum)
    return header + noted + content


def _annotations(data: bytes, end: int) -> dict[str, bytes] | None:
    """Return the annotations between the header and *end*; None if they do not fit."""
    found, at = {}, HEADER.size
    while at + _ANNOTATION.size <= end:
        name, size = _ANNOTATION.unpack_from(data, at)
        at += _ANNOTATION.size
        if not name.isascii():
            return None
        found[name.decode()] = data[at : at + size]
        at += size
    return found if at == end else None


def is_call(method: object, arguments: object, named: object) -> bool:
    """Tell whether these make a single call."""
    return (
        isinstance(method, str)
        and method not in _SPECIAL_METHODS
        and isinstance(arguments, list)
        and isinstance(named, dict)
        and all(isinstance(name, str) for name in named)
    )


def load(serializer: util.SerializerBase, data: bytes) -> Any:
    """Read a message's data; TOO_LARGE if there are too many values in it."""
    if isinstance(serializer, util.MsgpackSerializer):
        return _unpack(serializer, data) if len(data) > MAX_VALUES else serializer.loads(data)
    if isinstance(serializer, util.SerpentSerializer):
        check_serpent(data)
    return serializer.loads(data)


def load_call(
    serializer: util.SerializerBase, data: bytes, compressed: bool = False
) -> tuple[str, str, list[object], dict[str, object]]:
    """Read a call. Refuse one that is compressed (292 kB can hide gigabytes), is no call, or has no bound."""
    _refuse_compressed(compressed)
    call: tuple[str, str, list[object], dict[str, object]] = load(serializer, data)
    _, method, arguments, named = call
    _check_call(method, arguments, named or {})  # a batch has None
    if len(arguments) > MAX_BATCH:  # whatever the method is called: a flag makes it a batch
        raise InvalidRequest(Code.TOO_LARGE, f"{len(arguments)} calls in one batch; at most {MAX_BATCH}")
    for one in arguments if method == _BATCH_METHOD else ():
        if not isinstance(one, (list, tuple)) or len(one) != 3:
            raise InvalidRequest(Code.MALFORMED, "a call in a batch is (method, arguments, named arguments)")
        _check_call(*one)
    return call


def load_data(serializer: util.SerializerBase, data: bytes, compressed: bool = False) -> object:
    """Read an answer, unless it is compressed."""
    _refuse_compressed(compressed)
    return load(serializer, data)


def write_data(serializer: util.SerializerBase, data: object, compress: bool = False) -> tuple[bytes, bool]:
    """Write an answer, unless it is larger than the other side takes."""
    written: bytes = serializer.dumps(data)
    if len(written) > MAX_REQUEST_BYTES - 4096:  # room for annotations
        raise InvalidRequest(Code.TOO_LARGE, "the answer is too large to send; ask for fewer")
    return written, False


_read_header = message.Message.from_header.__func__


def read_header(kind: type, data: bytes) -> object:
    """Read a message's header. Refuse a message that is too large before Pyro4 would close the connection."""
    header = cast(Any, _read_header(kind, data))
    size = header.data_size + header.annotations_size
    if header.data_size < 0:
        refusal = InvalidRequest(Code.MALFORMED, "the message has a negative length")
    elif size > MAX_REQUEST_BYTES:
        limit = f"at most {MAX_REQUEST_BYTES} are read"
        refusal = InvalidRequest(Code.TOO_LARGE, f"the message has {size} bytes; {limit}")
    else:
        return header
    error = errors.MessageTooLargeError(as_text(refusal))
    error.pyroMsg = header
    raise error


def serializer_of(serializer_id: int) -> Any:
    """Return the serializer in which to answer: the client's; serpent if there is no such one."""
    try:
        return util.get_serializer_by_id(serializer_id)
    except errors.PyroError:
        return util.get_serializer_by_id(SERPENT)


def as_builtin(error: Exception) -> Exception:
    """Return *error* as one that a proxy without our code can read: a ValueError with ``CODE: message``."""
    if isinstance(error, LabError):
        return ValueError(as_text(error))
    said = str(error)
    if said.partition(": ")[0] in Code.__members__:
        return error if type(error) is ValueError else ValueError(said)
    reason = _INSIDE.sub("...", said)[:100].encode("unicode_escape").decode()
    if isinstance(error, errors.SecurityError):
        return ValueError(f"{Code.MALFORMED}: {NOT_SIGNED}")
    if isinstance(error, errors.NamingError):  # which Pyro4's own clients expect
        named: Exception = errors.NamingError(f"{Code.NOT_FOUND}: {reason}")
        return named
    if isinstance(error, AttributeError):
        return ValueError(f"{Code.UNKNOWN_OPERATION}: no such method: {reason}")
    if isinstance(error, errors.DaemonError):
        return ValueError(f"{Code.NOT_FOUND}: {reason}")
    if isinstance(error, errors.SerializeError):
        return ValueError(f"{Code.BAD_ENCODING}: {reason}; serpent and msgpack are understood")
    if isinstance(error, UnicodeError):
        return ValueError(f"{Code.BAD_ENCODING}: the request is not UTF-8: {reason}")
    if isinstance(error, (RecursionError, MemoryError)) or not reason:  # msgpack's StackError says nothing
        return ValueError(f"{Code.MALFORMED}: the request is nested too deeply")
    return ValueError(f"{Code.MALFORMED}: the request cannot be read: {type(error).__name__}: {reason}")


def check_serpent(data: bytes) -> None:
    """Raise TOO_LARGE or MALFORMED for a serpent message that would take long to read.

    Python's own parser reads serpent, in one step, while every other thread waits. A list that fills a
    message took it 3 s and 300 MB; a batch of a thousand calls takes it 6 ms.
    """
    if len(data) <= UNCHECKED_BYTES:
        return
    end = cast(re.Match[bytes], BOUNDED.match(data)).end()
    if _is_open_text(data, end):
        raise InvalidRequest(Code.MALFORMED, "a text in it does not end")
    texts = [text.span() for text in _TEXT.finditer(data)] if end == len(data) else []
    edges = [0, *chain.from_iterable(texts), len(data)]
    structure = b"t".join(data[begin:end] for begin, end in zip(edges[::2], edges[1::2], strict=True))
    if len(structure) > MAX_STRUCTURE:
        refusal = f"besides its texts it has more than {MAX_STRUCTURE} bytes; send fewer values"
        raise InvalidRequest(Code.TOO_LARGE, refusal)
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


def _unpack(serializer: util.SerializerBase, data: bytes) -> Any:
    """Read msgpack, counting its values while they are read."""
    left = MAX_VALUES

    def count(container: Sized) -> Any:
        nonlocal left
        left -= 1 + len(container)
        if left < 0:
            raise InvalidRequest(Code.TOO_LARGE, f"it has more than {MAX_VALUES} values; send fewer")
        return container

    try:
        return msgpack.unpackb(
            bytes(data),
            object_hook=lambda fields: serializer.object_hook(count(fields)),
            list_hook=count,
            ext_hook=serializer.ext_hook,
            max_array_len=MAX_BATCH,  # no page is longer either; refused before it takes memory
            max_map_len=MAX_VALUES,
        )
    except ValueError as error:
        if "exceeds max_" not in str(error):
            raise
        raise InvalidRequest(Code.TOO_LARGE, f"the message cannot be read: {str(error)[:60]}") from error


def _check_call(method: object, arguments: object, named: object) -> None:
    if not isinstance(method, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"the method's name must be text, got {type(method).__name__}")
    if not isinstance(arguments, (list, tuple)) or not isinstance(named, dict):
        raise InvalidRequest(Code.WRONG_TYPE, "arguments are a list, named arguments a dictionary")
    if not all(isinstance(name, str) for name in named):
        raise InvalidRequest(Code.WRONG_TYPE, "the names of named arguments must be text")


def _refuse_compressed(compressed: bool) -> None:
    if compressed:
        raise InvalidRequest(Code.BAD_ENCODING, "compressed messages are refused; send it as it is")
