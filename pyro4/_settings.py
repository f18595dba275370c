"""Pyro4's settings, and what it leaves open to abuse closed. Applied before Pyro4 is used."""

import Pyro4
from Pyro4 import util

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH, MAX_REQUEST_BYTES

BATCH_METHOD = "<batch>"


def _load_call(
    serializer: util.SerializerBase, data: bytes, compressed: bool = False
) -> tuple[str, str, list[object], dict[str, object]]:
    """Read a call, unless it is compressed (292 kB can hide gigabytes) or a batch without bound."""
    _refuse_compressed(compressed)
    call: tuple[str, str, list[object], dict[str, object]] = serializer.loadsCall(data)
    if call[1] == BATCH_METHOD and len(call[2]) > MAX_BATCH:
        raise InvalidRequest(Code.TOO_LARGE, f"{len(call[2])} calls in one batch; at most {MAX_BATCH}")
    return call


def _load_data(serializer: util.SerializerBase, data: bytes, compressed: bool = False) -> object:
    """Read an answer, unless it is compressed."""
    _refuse_compressed(compressed)
    return serializer.loads(data)


def _write_data(serializer: util.SerializerBase, data: object, compress: bool = False) -> tuple[bytes, bool]:
    """Write an answer, unless it is larger than the other side takes."""
    written: bytes = serializer.dumps(data)
    if len(written) > MAX_REQUEST_BYTES - 4096:  # room for annotations
        raise InvalidRequest(Code.TOO_LARGE, "the answer is too large to send; ask for fewer")
    return written, False


def _refuse_compressed(compressed: bool) -> None:
    if compressed:
        raise InvalidRequest(Code.BAD_ENCODING, "compressed messages are refused; send it as it is")


def _no_traceback(*_: object, **__: object) -> list[str]:
    """Stand in for Pyro4's traceback, which it would send to the client."""
    return []


def apply_settings() -> None:
    """Set up Pyro4 for this process; a second call changes nothing."""
    config = Pyro4.config
    config.SERVERTYPE = "thread"  # multiplex stalls everybody on one silent client
    config.THREADPOOL_SIZE = 1024  # the default of 40 refused 60 of 100 idle clients
    config.THREADPOOL_SIZE_MIN = 8
    config.COMMTIMEOUT = 5.0  # without it one silent client freezes accept
    config.MAX_MESSAGE_SIZE = MAX_REQUEST_BYTES
    config.SERIALIZERS_ACCEPTED = {"serpent", "msgpack"}  # pickle would run the sender's code
    config.SERIALIZER = "msgpack"
    config.SOCK_NODELAY = True
    config.MAX_RETRIES = 0  # a repeated call needs its operation id; whoever calls repeats it
    config.COMPRESSION = False
    config.DETAILED_TRACEBACK = False
    util.SerializerBase.deserializeCall = _load_call
    util.SerializerBase.deserializeData = _load_data
    util.SerializerBase.serializeData = _write_data
    util.formatTraceback = _no_traceback


apply_settings()
