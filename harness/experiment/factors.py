"""The factors of an experiment by name: how each is read, and which field of a side it sets."""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.experiment.revision import commit
from harness.experiment.side import APPLICATIONS, FILTER, TEXT, Side
from harness.load.workload import INSULT_ME
from harness.record.run import Guarantee
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH, MAX_TEXT_BYTES
from lab.load.texts import corpus_texts
from lab.middleware import VARIANTS, middleware_name
from lab.options import as_written, duration, interval
from lab.work import load_handler

MOST_NODES, MOST_CLIENTS = 64, 10_000
"""On this machine: each node is a process, and each client a thread with a connection."""
_SIZE = re.compile(r"(\d+) ?(B|KiB)")
_WORK = re.compile(r"(\S+) (waiting|computing)")


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or not int(text):
        raise ValueError("a whole number, 1 or more")
    return int(text)


def up_to(most: int) -> Callable[[str], int]:
    """Return what reads a whole number from 1 to *most*: more would fail only when it is measured."""

    def read(text: str) -> int:
        if (number := count(text)) > most:
            raise ValueError(f"a whole number up to {most}")
        return number

    return read


def size(text: str) -> int:
    """Read the length of texts; return bytes, 0 for generated texts."""
    if text == "generated":
        return 0
    match = _SIZE.fullmatch(text)
    length = int(match[1]) * {"B": 1, "KiB": 1024}[match[2]] if match else 0
    if not len(TEXT) <= length <= MAX_TEXT_BYTES:
        raise ValueError(f"generated, or a length from {len(TEXT)} B to {MAX_TEXT_BYTES // 1024} KiB")
    return length


def work(text: str) -> str:
    """Read what a text costs a node, such as "5ms waiting"; "none": nothing."""
    if text == "none":
        return ""
    match = _WORK.fullmatch(text)
    try:
        duration(match[1] if match else "")
    except argparse.ArgumentTypeError as error:
        raise ValueError('none, or a time and its kind: "5ms waiting" or "2ms computing"') from error
    return text


def corpus(text: str) -> Path:
    """Check a file of texts."""
    try:
        corpus_texts(Path(text))
    except InvalidRequest as error:
        raise ValueError(f"a file of texts: {error.message}") from error
    return Path(text).resolve()


def choice(*values: str) -> Callable[[str], str]:
    """Return what reads one of *values*."""

    def read(text: str) -> str:
        if text not in values:
            raise ValueError(", ".join(values))
        return text

    return read


def member(kind: type[StrEnum]) -> Callable[[str], StrEnum]:
    """Return what reads a member of *kind*."""
    return lambda text: kind(choice(*kind)(text))


def operation(text: str) -> str:
    """Read what clients ask for; an application stands for its usual operation."""
    usual = {"filter": FILTER, "service": INSULT_ME}
    return usual.get(text) or choice(*APPLICATIONS)(text)


def middleware(text: str) -> str:
    """Read the name of a variant."""
    try:
        return middleware_name(text)
    except argparse.ArgumentTypeError as error:
        raise ValueError(", ".join(VARIANTS)) from error


FACTORS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "middleware": ("middleware", middleware),
    "architecture": ("architecture", member(Architecture)),
    "nodes": ("nodes", up_to(MOST_NODES)),
    "clients": ("clients", up_to(MOST_CLIENTS)),
    "in flight": ("in_flight", up_to(MAX_BATCH)),
    "batch": ("batch", lambda text: 0 if text == "off" else up_to(MAX_BATCH)(text)),
    "text": ("text_bytes", size),
    "corpus": ("corpus", corpus),
    "work": ("work", work),
    "handler": ("handler", as_written(load_handler)),
    "unchecked": ("unchecked", lambda text: choice("yes", "no")(text) == "yes"),
    "guarantee": ("guarantee", member(Guarantee)),
    "application": ("operation", operation),
    "operation": ("operation", operation),
    "insults": ("insults", count),
    "subscribers": ("subscribers", up_to(MOST_CLIENTS)),
    "interval": ("interval", as_written(interval)),
    "load generators": ("processes", up_to(MOST_NODES)),
    "revision": ("revision", commit),
}
"""By name: the field of a side that it sets, and what reads it. A ValueError says what is possible."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of one middleware: where it is set, under which name, and its values, the usual one first."""

    field: str
    """Of a side: options, variables or changes."""
    name: str
    values: tuple[str, ...] = ()
    """None: whole numbers, up to *most*."""
    most: int = 0

    def added(self, value: str) -> tuple[object, ...]:
        """Return what a value adds to the field."""
        (choice(*self.values) if self.values else up_to(self.most))(value)
        if self.field == "changes":
            return () if value == self.values[0] else (f"{self.name}={value}",)
        return (f"{self.name}={value}",) if self.field == "options" else ((self.name, value),)


SETTINGS: dict[str, dict[str, Setting]] = {
    "xmlrpc": {"keep-alive": Setting("changes", "keep-alive", ("on", "off"))},
    "pyro4": {
        "serializer": Setting("variables", "LAB_PYRO_SERIALIZER", ("msgpack", "serpent")),
        "server type": Setting("options", "--server-type", ("thread", "multiplex")),
    },
    "pyro4:stock": {"serializer": Setting("variables", "PYRO_SERIALIZER", ("serpent", "msgpack"))},
    "redis_impl": {"batch": Setting("options", "--batch", most=MAX_BATCH)},
    "rabbitmq": {
        "prefetch": Setting("options", "--prefetch", most=65535),
        "queue type": Setting("variables", "LAB_QUEUE_TYPE", ("classic", "quorum")),
        "confirms": Setting("changes", "confirms", ("asynchronous", "none", "each")),
        "messages": Setting("changes", "messages", ("persistent", "transient")),
        "acknowledge": Setting("changes", "acknowledge", ("multiple", "each")),
    },
}
"""By variant and name. Of Redis, "batch" is how many petitions a node takes at once: it has no other."""


def named(name: str) -> str:
    """Return the usual spelling of a factor's name: command lines write in_flight or in-flight."""
    spaced = name.replace("_", " ").replace("-", " ")
    return "keep-alive" if spaced == "keep alive" else spaced


def side_of(given: Mapping[str, object], **fields: Any) -> Side:
    """Return the side that the factors *given* describe; *fields* are those of a side, set directly.

    InvalidRequest names the factor, its value and what is possible.
    """
    factors = {named(name): str(value) for name, value in given.items()}
    found: dict[str, Any] = {}
    if "middleware" not in factors:
        raise InvalidRequest(Code.MALFORMED, f"middleware: is missing; possible is {', '.join(VARIANTS)}")
    own = SETTINGS.get(_read("middleware", factors["middleware"]), {})
    for name, value in factors.items():
        if name in own:
            setting = own[name]
            found[setting.field] = (*found.get(setting.field, ()), *checked(name, value, setting.added))
        elif name in FACTORS:
            found[FACTORS[name][0]] = _read(name, value)
        else:
            raise InvalidRequest(
                Code.MALFORMED, f"{name}: no such factor; possible is {', '.join(possible(own))}"
            )
    if "nodes" in found:
        found.setdefault("architecture", Architecture.N_NODE)
    if "PYRO_SERIALIZER" in dict(found.get("variables", ())):  # stock nodes read serpent alone as they come
        found["variables"] += (("PYRO_SERIALIZERS_ACCEPTED", "serpent,msgpack"),)
    return Side(**found, **fields)


def possible(own: Mapping[str, Setting]) -> list[str]:
    """Return the names of all factors, those of one middleware last."""
    return [*FACTORS, *(name for name in own if name not in FACTORS)]


def _read(name: str, value: str) -> Any:
    return checked(name, value, FACTORS[name][1])


def checked(name: str, value: object, read: Callable[[str], Any]) -> Any:
    """Return what *read* makes of *value*; InvalidRequest names the field and what is possible."""
    try:
        return read(str(value))
    except argparse.ArgumentTypeError as error:  # a whole sentence, with the value
        raise InvalidRequest(Code.MALFORMED, f"{name}: {error}") from error
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, f"{name}: {value!r}; possible is {error}") from error


def read_side(text: str) -> dict[str, object]:
    """Read a side as a command line has it: ``rabbitmq:stock,prefetch=1`` or ``rabbitmq:prefetch=1``."""
    name, _, rest = text.partition(":")
    parts = [part for part in rest.split(",") if part]
    if not rest:
        name, *parts = text.split(",")
    if parts and "=" not in parts[0] and f"{name}:{parts[0]}" in (*VARIANTS, f"{name}:tuned"):
        name = f"{name}:{parts.pop(0)}"
    factors: dict[str, object] = {"middleware": name}
    for part in parts:
        factor, equals, value = part.partition("=")
        if not equals or not factor or not value:
            raise InvalidRequest(Code.MALFORMED, f"{part!r} is not option=value, as in rabbitmq:prefetch=1")
        if named(factor) in factors:
            raise InvalidRequest(Code.MALFORMED, f"{text!r} gives {factor} twice")
        factors[named(factor)] = value
    return factors
