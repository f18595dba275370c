"""What is here, what is missing, and how to get it: the rows of ``lab doctor``."""

import importlib.metadata
import sys
from dataclasses import dataclass
from pathlib import Path

from lab.bootstrap import ROOT, VENV, pins
from lab.brokers import rabbitmq_broker, rabbitmq_server, redis_broker, redis_server
from lab.brokers.locate import located
from lab.brokers.provide import RABBITMQ_MEND, REDIS_MEND
from lab.brokers.server import is_open
from lab.cli.leftovers import idle_folders, idle_namespaces
from lab.errors import Unavailable
from lab.settings import Settings

GOOD, NOTE, MISSING = "good", "note", "MISSING"
PORTS = {
    "ports of XML-RPC": (
        range(8000, 8011),
        "a node takes the next free one; give a master another by --port",
    ),
    "port of Pyro4's names": (range(9090, 9091), "give the name server another by --port"),
    "port of Redis": (range(6379, 6380), ""),
    "port of RabbitMQ": (range(5672, 5673), ""),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One row: *state* is GOOD, NOTE (worth knowing) or MISSING (something will not run)."""

    what: str
    state: str
    detail: str
    mend: str = ""


def findings(known: Settings, idle_seconds: float) -> list[Finding]:
    """Look at everything the lab needs, and at what killed runs left unused for *idle_seconds*."""
    rows = [_python(), *_requirements(), _redis(known), _rabbitmq(known)]
    rows += [_ports(what, *expected) for what, expected in PORTS.items()]
    return [*rows, _leftovers(known, idle_seconds)]


def stale_namespaces(known: Settings, idle_seconds: float) -> list[str]:
    """Return the throw-away namespaces that nobody used for *idle_seconds* in the Redis that runs, if any."""
    found = located("redis", known)
    usable = found is not None and redis_server.answers(found[0])
    return idle_namespaces(found[0], idle_seconds) if found and usable else []


def _python() -> Finding:
    where = ".venv" if Path(sys.prefix) == VENV else sys.executable
    return Finding("Python", GOOD, f"{sys.version.split()[0]} in {where}")


def _requirements() -> list[Finding]:
    rows = []
    for name, wanted in pins(ROOT / "requirements.txt"):
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = ""
        good = version == wanted
        mend = "" if good else f"delete {VENV} and run any command: it is made again"
        rows.append(Finding(name, GOOD if good else MISSING, version or "not installed", mend))
    return rows


def _redis(known: Settings) -> Finding:
    try:
        if located("redis", known):
            broker = redis_broker(known)
            weak = "WEAK" in broker.guarantees
            mend = "CONFIG SET appendonly yes and appendfsync always, or use `python3 -m lab up`"
            return Finding("Redis", NOTE if weak else GOOD, broker.describe(), mend if weak else "")
    except Unavailable as error:
        return Finding("Redis", MISSING, error.message)
    path = redis_server.binary()
    return _startable("Redis", path, "the first run installs one that needs no root; or " + REDIS_MEND)


def _rabbitmq(known: Settings) -> Finding:
    try:
        if located("rabbitmq", known):
            return Finding("RabbitMQ", GOOD, rabbitmq_broker(known).describe())
    except Unavailable as error:
        return Finding("RabbitMQ", MISSING, error.message)
    return _startable("RabbitMQ", rabbitmq_server.script(), RABBITMQ_MEND)


def _startable(what: str, path: str, mend: str) -> Finding:
    if not path:
        return Finding(what, MISSING, "not here", mend)
    return Finding(what, GOOD, f"not running; {path} is started privately when it is needed")


def _ports(what: str, ports: range, mend: str) -> Finding:
    taken = [str(port) for port in ports if is_open(port)]
    name = f"{ports.start}-{ports.stop - 1}" if len(ports) > 1 else str(ports.start)
    if not taken:
        return Finding(what, GOOD, f"{name} free")
    return Finding(what, NOTE, f"{', '.join(taken)} taken", mend)


def _leftovers(known: Settings, idle_seconds: float) -> Finding:
    left = [*stale_namespaces(known, idle_seconds), *map(str, idle_folders(idle_seconds))]
    if not left:
        return Finding("left behind", GOOD, "nothing")
    return Finding("left behind", NOTE, ", ".join(left), "python3 -m lab doctor --sweep")
