"""Two tables: which part of a request a stack belongs to, and which files are of a middleware's library."""

import linecache
import re
import sysconfig
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from harness.record.findings import (
    APPLICATION,
    CARRYING,
    HANDLING,
    HARNESS,
    LIBRARY,
    PARSING,
    THREADS,
    TRANSPORT,
    UNKNOWN,
)
from lab.bootstrap import ROOT

_STACK = "most recent call first"
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?+) in (.*)$', re.MULTILINE)


class Frame(NamedTuple):
    """A place in the code; *line* is 0 where the interpreter did not know it."""

    path: str
    line: int
    function: str


Stack = tuple[Frame, ...]
"""The innermost frame first."""


def read_stacks(text: str) -> Counter[Stack]:
    """Read what faulthandler wrote; a stack without a frame counts as an empty one."""
    _, *dumps = text.split(_STACK)
    return Counter(
        tuple(
            Frame(path, int(line) if line.isdecimal() else 0, function)
            for path, line, function in _FRAME.findall(dump)
        )
        for dump in dumps
    )


class Rule(NamedTuple):
    """A frame belongs to *part* if all of its patterns fit: the whole path, the function, part of the line.

    Paths are relative: to the project, to the installed packages, or to the standard library.
    """

    part: str
    path: str
    function: str = ".*"
    line: str = ""


_OURS = r"(?:xmlrpc|pyro4|redis_impl|rabbitmq)"
_PRIVATE = rf"{_OURS}/(?:_|tuned/)"
_SHARED = r"lab/(?:\w+/)?(?:callbacks|connection)"
_CALLS_SOCKET = (
    r"\.(?:send|sendall|recv|recv_into|accept|connect|select|poll|write|writelines|settimeout|setblocking"
    r"|setsockopt|can_read|shutdown)\(|create_connection\("
)
_CALLS_PARSER = (
    r"json\.|msgpack\.|serpent\.|packb\(|unpackb\(|loads\(|dumps\(|struct\.|\.gets\(|\.feed|\.pack\(|Request\("
    r"|_packed\(|\.encode\(|\.decode\(|\.marshal\(|decode_frame\(|_PLAIN"
)
RULES = (
    Rule(HARNESS, r"(?:tests|harness)/.*"),
    Rule(HARNESS, r"multiprocessing/.*"),
    # What C code does is seen at the line that calls it.
    Rule(TRANSPORT, rf"(?:{_PRIVATE}\w+|Pyro4/.*|pika/.*|redis/.*|{_SHARED})\.py", line=_CALLS_SOCKET),
    Rule(PARSING, rf"(?:{_PRIVATE}\w+|Pyro4/.*|pika/.*|redis/.*)\.py", line=_CALLS_PARSER),
    Rule(TRANSPORT, r"(?:socket|selectors|ssl|socketserver)\.py|asyncio/.*|uvloop/.*"),
    Rule(TRANSPORT, r"threading\.py", r"run"),  # nothing of Python inside: the event loop of uvloop
    Rule(THREADS, r"threading\.py", r"(?!_bootstrap).*"),
    Rule(THREADS, r"(?:queue|_weakrefset)\.py|concurrent/futures/.*"),
    Rule(PARSING, r"(?:json|encodings|msgpack|email)/.*|(?:struct|serpent)\.py|xmlrpc/client\.py"),
    Rule(TRANSPORT, r"Pyro4/(?:socketutil\.py|socketserver/.*)"),
    Rule(PARSING, r"Pyro4/(?:message|util)\.py"),
    Rule(TRANSPORT, r"pika/(?:adapters/.*|heartbeat\.py|tcp_socket_opts\.py)"),
    Rule(PARSING, r"pika/(?:frame|spec|data|amqp_object|validators|compat)\.py"),
    Rule(
        PARSING, r"redis/_parsers/.*|redis/connection\.py", r"(?:pack|encode|_?decode|parse|read_response).*"
    ),
    Rule(TRANSPORT, r"redis/(?:connection|_parsers/.*|utils)\.py|redis/_parsers/.*"),
    Rule(PARSING, rf"{_PRIVATE}(?:codec|frames|wire|http|plain|settings|bounds|serpent|scripts)\.py"),
    Rule(TRANSPORT, rf"{_PRIVATE}(?:connection|receive|instant|nonblocking)\.py"),
    Rule(APPLICATION, r"lab/(?:applications|store)/.*"),
    Rule(HANDLING, rf"(?:lab|{_OURS}|Pyro4|pika|redis)/.*"),
)
"""The first that fits a frame decides; a frame that none fits leaves it to the one that called it."""


def part_of(stack: Stack) -> str:
    """Return the part that *stack* belongs to."""
    return next((part for part in map(_part_of_frame, stack) if part), UNKNOWN)


def place_of(stack: Stack) -> str:
    """Return the innermost place of *stack* that a rule knows, as people name it: file:function."""
    known = next((frame for frame in stack if _part_of_frame(frame)), None)
    return f"{relative(known.path)}:{known.function}" if known else "nowhere that is known"


REST = "rest"
"""What of Python is neither the lab's nor the middleware's library."""
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "xmlrpc": ("xmlrpc/", "http/", "xml/", "socketserver.py", "email/"),
    "pyro4": ("Pyro4/", "serpent.py", "msgpack/"),
    "redis_impl": ("redis/", "hiredis/"),
    "rabbitmq": ("pika/",),
}
_APPLICATION = ("lab/applications/", "lab/store/", "lab/validation.py", "lab/data/")


def kind_of(path: str, middleware: str) -> str:
    """Return which of the four kinds the file at *path* is of, for a variant of *middleware*."""
    inside = relative(path)
    if path.startswith(f"{ROOT}/") and ".venv" not in path:
        return APPLICATION if inside.startswith(_APPLICATION) else CARRYING
    return LIBRARY if inside.startswith(LIBRARIES[middleware.partition(":")[0]]) else REST


def kind_of_stack(stack: Stack, middleware: str) -> str:
    """Return the kind of the innermost frame that is not of the rest of Python."""
    kinds = (kind_of(frame.path, middleware) for frame in stack)
    return next((kind for kind in kinds if kind != REST), REST)


@cache
def relative(path: str) -> str:
    """Return *path* without what it is in: the project, the installed packages, the standard library."""
    for folder in _folders():
        if path.startswith(folder):
            return path[len(folder) :].lstrip("/")
    return path


@cache
def _part_of_frame(frame: Frame) -> str:
    path = relative(frame.path)
    for rule in RULES:
        if not re.fullmatch(rule.path, path) or not re.fullmatch(rule.function, frame.function):
            continue
        if not rule.line or re.search(rule.line, linecache.getline(frame.path, frame.line)):
            return rule.part
    return ""


@cache
def _folders() -> Iterable[str]:
    """Return what paths are relative to, the innermost first: packages are often inside the other two."""
    packages = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    library = {sysconfig.get_path("stdlib"), str(Path(re.__file__).resolve().parent.parent)}
    return (*packages, *library, str(ROOT))
