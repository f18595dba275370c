"""Pyro4's settings, and what it leaves open to abuse closed. Applied before Pyro4 is used."""

from collections.abc import Sized
from contextlib import suppress
from typing import Any, cast

import msgpack  # type: ignore[import-untyped]
import Pyro4
from Pyro4 import errors, message, util
from Pyro4.socketserver import threadpoolserver

from lab.errors import Code, InvalidRequest, as_text
from lab.limits import MAX_BATCH, MAX_REQUEST_BYTES
from lab.settings import SettingsError, settings

from ._instant import Conversation, LockedPool
from ._serpent import check_serpent

BATCH_METHOD = "<batch>"
_SPECIAL_METHODS = {BATCH_METHOD, "__getattr__", "__setattr__"}
MAX_VALUES = 20_000
"""In a msgpack message: 1,000 calls in a batch have 9,000. A byte may become an object of 64."""
SERIALIZERS = {"serpent", "msgpack"}
SERVER_TYPES = ("thread", "multiplex")
"""The first is the usual one: multiplex stalls everybody on one silent client."""
SERIALIZER_IDS = {util.get_serializer(name).serializer_id for name in SERIALIZERS}


def load(serializer: util.SerializerBase, data: bytes) -> Any:
    """Read a message's data; TOO_LARGE if there are too many values in it."""
    if isinstance(serializer, util.MsgpackSerializer):
        return _unpack(serializer, data) if len(data) > MAX_VALUES else serializer.loads(data)
    if isinstance(serializer, util.SerpentSerializer):
        check_serpent(data)
    return serializer.loads(data)


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


def _load_call(
    serializer: util.SerializerBase, data: bytes, compressed: bool = False
) -> tuple[str, str, list[object], dict[str, object]]:
    """Read a call, unless it is compressed (292 kB can hide gigabytes), no call, or a batch without bound."""
    _refuse_compressed(compressed)
    call: tuple[str, str, list[object], dict[str, object]] = load(serializer, data)
    _, method, arguments, named = call
    _check_call(method, arguments, named or {})  # a batch has None
    if len(arguments) > MAX_BATCH:  # whatever the method is called: a flag makes it a batch
        raise InvalidRequest(Code.TOO_LARGE, f"{len(arguments)} calls in one batch; at most {MAX_BATCH}")
    for one in arguments if method == BATCH_METHOD else ():
        if not isinstance(one, (list, tuple)) or len(one) != 3:
            raise InvalidRequest(Code.MALFORMED, "a call in a batch is (method, arguments, named arguments)")
        _check_call(*one)
    return call


def _check_call(method: object, arguments: object, named: object) -> None:
    if not isinstance(method, str):
        raise InvalidRequest(Code.WRONG_TYPE, f"the method's name must be text, got {type(method).__name__}")
    if not isinstance(arguments, (list, tuple)) or not isinstance(named, dict):
        raise InvalidRequest(Code.WRONG_TYPE, "arguments are a list, named arguments a dictionary")
    if not all(isinstance(name, str) for name in named):
        raise InvalidRequest(Code.WRONG_TYPE, "the names of named arguments must be text")


def is_call(method: object, arguments: object, named: object) -> bool:
    """Tell whether these make a single call."""
    return (
        isinstance(method, str)
        and method not in _SPECIAL_METHODS
        and isinstance(arguments, list)
        and isinstance(named, dict)
        and all(isinstance(name, str) for name in named)
    )


def _load_data(serializer: util.SerializerBase, data: bytes, compressed: bool = False) -> object:
    """Read an answer, unless it is compressed."""
    _refuse_compressed(compressed)
    return load(serializer, data)


def _write_data(serializer: util.SerializerBase, data: object, compress: bool = False) -> tuple[bytes, bool]:
    """Write an answer, unless it is larger than the other side takes."""
    written: bytes = serializer.dumps(data)
    if len(written) > MAX_REQUEST_BYTES - 4096:  # room for annotations
        raise InvalidRequest(Code.TOO_LARGE, "the answer is too large to send; ask for fewer")
    return written, False


_read_header = message.Message.from_header.__func__


def _header(kind: type, data: bytes) -> object:
    """Read a message's header, and refuse a message too large, before Pyro4 would close the connection."""
    header = cast(Any, _read_header(kind, data))
    size = header.data_size + header.annotations_size
    if header.data_size < 0:
        refusal = InvalidRequest(Code.MALFORMED, "the message has a negative length")
    elif size > MAX_REQUEST_BYTES:
        refusal = InvalidRequest(
            Code.TOO_LARGE, f"the message has {size} bytes; at most {MAX_REQUEST_BYTES} are read"
        )
    else:
        return header
    error = errors.MessageTooLargeError(as_text(refusal))
    error.pyroMsg = header
    raise error


def _refuse_compressed(compressed: bool) -> None:
    if compressed:
        raise InvalidRequest(Code.BAD_ENCODING, "compressed messages are refused; send it as it is")


def _no_traceback(*_: object, **__: object) -> list[str]:
    """Stand in for Pyro4's traceback, which it would send to the client."""
    return []


def apply_settings() -> None:
    """Set up Pyro4 for this process; a second call changes nothing."""
    config = Pyro4.config
    config.SERVERTYPE = SERVER_TYPES[0]
    config.THREADPOOL_SIZE = 1024  # the default of 40 refused 60 of 100 idle clients
    config.THREADPOOL_SIZE_MIN = 1  # every subscriber serves, too: a thousand would keep thousands idle
    config.COMMTIMEOUT = 5.0  # without it one silent client freezes accept
    config.MAX_MESSAGE_SIZE = MAX_REQUEST_BYTES
    config.ONEWAY_THREADED = False  # a thread for each call that nobody waits for would have no bound
    config.SERIALIZERS_ACCEPTED = SERIALIZERS  # pickle would run the sender's code
    with suppress(SettingsError):  # whoever reads the options says it
        config.SERIALIZER = settings().pyro_serializer
    config.SOCK_NODELAY = True
    config.MAX_RETRIES = 0  # a repeated call needs its operation id; whoever calls repeats it
    config.COMPRESSION = False
    config.DETAILED_TRACEBACK = False
    message.Message.from_header = classmethod(_header)
    util.SerializerBase.deserializeCall = _load_call
    util.SerializerBase.deserializeData = _load_data
    util.SerializerBase.serializeData = _write_data
    util.formatTraceback = _no_traceback
    threadpoolserver.ClientConnectionJob = Conversation
    threadpoolserver.Pool = LockedPool


apply_settings()
