"""The command-line options that nodes of all four middlewares take, and their values."""

import argparse
import ipaddress
import math
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lab.bootstrap import WRONG_USAGE, end_with
from lab.contract import Architecture
from lab.limits import BROADCAST_INTERVAL_SECONDS
from lab.settings import SettingsError, settings
from lab.settings import namespace as settings_namespace
from lab.work import Work, load_handler

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

LOOPBACK = "127.0.0.1"
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_HOST = re.compile(r"[\w.-]+")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """What a node was told on its command line."""

    host: str = LOOPBACK
    """Address to bind. Nothing listens beyond loopback unless told to."""
    port: int | None = None
    """Port to bind; 0 a free one; None the default of the role."""
    advertise: str = ""
    """Host name under which others reach this process; empty: *host*."""
    namespace: str = "insults"
    architecture: Architecture = Architecture.ONE_NODE
    interval_seconds: float = BROADCAST_INTERVAL_SECONDS
    work: Work = field(default_factory=Work)
    handler: Callable[[str], str] | None = None
    """The user's own function of a text, in place of censoring."""
    insults: Path | None = None
    """File of insults, a line each; None: the lists that come with the lab (one node) or the store's."""
    allow_subscribers: tuple[str, ...] = ()
    """Hosts, addresses and networks beyond loopback at which subscribers may be called back."""
    on_demand: bool = False
    """Let waiting texts wait for ``resolve``."""

    @property
    def advertised_host(self) -> str:
        """Return the host name under which others reach this process."""
        return self.advertise or self.host


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line: the message, then where to read more."""

    def error(self, message: str) -> NoReturn:
        """End with *message* and exit code 2."""
        self.exit(WRONG_USAGE, f"{self.prog}: {message}; see --help\n")

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is not None and value not in action.choices:
            names = ", ".join(map(str, action.choices))  # not their repr: it shows members of an enum as code
            raise argparse.ArgumentError(action, f"invalid choice: {str(value)!r} (choose from {names})")

    def _get_value(self, action: argparse.Action, arg_string: str) -> object:
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            self._check_value(action, arg_string)  # the type may be an enum, which names no choices
            raise

    def _print_message(self, message: str, file: "SupportsWrite[str] | None" = None) -> None:
        stream = file or sys.stderr
        try:
            stream.write(message)
            if stream is sys.stdout:
                print(end="", flush=True)
        except OSError as error:  # argparse goes on as if nothing were
            raise SystemExit(end_with(error)) from error


class HelpWithDefaults(argparse.ArgumentDefaultsHelpFormatter):
    """Show the default of an option where there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return super()._get_help_string(action) if action.default else action.help


def process_parser(module: str, purpose: str, default_port: int | None = None) -> argparse.ArgumentParser:
    """Return a parser of the options that every process takes."""
    parser = Parser(prog=f"python -m {module}", description=purpose, formatter_class=HelpWithDefaults)
    parser.add_argument("--host", type=host, default=LOOPBACK, help="address to bind")
    parser.add_argument(
        "--port",
        type=port,
        default=default_port,
        help="port to bind; 0: a free one; without it, the usual port of the role",
    )
    parser.add_argument(
        "--advertise",
        type=host,
        metavar="NAME",
        help="host name under which others reach it; without it, that of --host",
    )
    _add_system_options(parser)
    return parser


def client_parser(module: str, purpose: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every client takes."""
    parser = Parser(prog=f"python -m {module}", description=purpose, formatter_class=HelpWithDefaults)
    parser.add_argument(
        "--address", default="", help="node, master, name server or broker; without it, the usual place"
    )
    _add_system_options(parser)
    return parser


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``, which every command takes that may need a broker."""
    parser.add_argument("--yes", action=_Yes, nargs=0, help="install a missing broker without asking")


class _Yes(argparse.Action):
    def __call__(self, *_: object) -> None:
        install_without_asking()


def install_without_asking() -> None:
    """Let this process, and those that it starts, install a missing broker; SettingsError if it never may."""
    if settings().install == "never":
        raise SettingsError("LAB_INSTALL=never forbids --yes; leave one of the two out")
    os.environ["LAB_INSTALL"] = "yes"
    settings.cache_clear()


def add_broadcast_options(parser: argparse.ArgumentParser) -> None:
    """Add what a process that broadcasts takes."""
    parser.add_argument(
        "--interval",
        type=interval,
        default=f"{BROADCAST_INTERVAL_SECONDS:g}s",
        metavar="TIME",
        help="time between two broadcast insults, such as 5s or 200ms",
    )


def add_callback_options(parser: argparse.ArgumentParser) -> None:
    """Add what a process takes that calls subscribers back."""
    parser.add_argument(
        "--allow-subscribers",
        action="append",
        default=[],
        metavar="HOST",
        help="call subscribers back at this host, address or network (10.0.0.0/8) too; may be repeated",
    )


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """Add what a filter node takes."""
    parser.add_argument(
        "--work-time", type=duration, default=0.0, metavar="TIME", help="sleep so long per text, such as 5ms"
    )
    parser.add_argument(
        "--work-cpu", type=duration, default=0.0, metavar="TIME", help="compute so long per text, such as 2ms"
    )
    parser.add_argument(
        "--handler",
        type=handler,
        metavar="MODULE:FUNCTION",
        help="a function of your own from text to text, in place of censoring",
    )
    parser.add_argument("--insults", type=Path, metavar="FILE", help="insults to censor, one on each line")
    parser.add_argument("--on-demand", action="store_true", help="let submitted texts wait for `resolve`")


def node_options(arguments: argparse.Namespace) -> NodeOptions:
    """Collect parsed *arguments*; what the parser did not offer keeps its default."""
    given = vars(arguments)
    return NodeOptions(
        host=arguments.host,
        port=arguments.port,
        advertise=arguments.advertise or "",
        namespace=arguments.namespace,
        architecture=Architecture.N_NODE if given.get("master") else arguments.architecture,
        interval_seconds=given.get("interval", BROADCAST_INTERVAL_SECONDS),
        work=Work(given.get("work_time", 0.0), given.get("work_cpu", 0.0)),
        handler=given.get("handler"),
        insults=given.get("insults"),
        allow_subscribers=tuple(given.get("allow_subscribers", ())),
        on_demand=given.get("on_demand", False),
    )


def duration(text: str) -> float:
    """Read ``500us``, ``5ms``, ``2s``, ``1m`` or ``1h``; return seconds. A bare number is refused."""
    match = _DURATION.fullmatch(text.strip())
    if not match:
        if _NUMBER.fullmatch(number := text.strip()):
            raise argparse.ArgumentTypeError(f"{text!r} has no unit; write {number}s or {number}ms")
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 500us, 5ms, 2s, 1m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def interval(text: str) -> float:
    """Read a duration of more than zero; return seconds."""
    seconds = duration(text)
    if not seconds:
        raise argparse.ArgumentTypeError(f"{text!r} is too short: it must be more than 0, such as 200ms")
    return seconds


def as_written(read: Callable[[str], object]) -> Callable[[str], str]:
    """Return what checks a value by *read*, and keeps it as it is written: a node reads it again."""

    def check(text: str) -> str:
        read(text)
        return text

    return check


def handler(text: str) -> Callable[[str], str]:
    """Load a function of the user's own."""
    try:
        return load_handler(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def namespace(text: str) -> str:
    """Read a prefix of keys, queues and names."""
    try:
        return settings_namespace(text)
    except SettingsError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def host(text: str) -> str:
    """Read a host name or an address; an empty one would mean every address of the machine."""
    is_name = ":" not in text and _HOST.fullmatch(text)
    if not is_name and not _is_ipv6(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host; give a name or an address, without a port")
    return text


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def port(text: str) -> int:
    """Read a TCP port, 0-65535."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; give a number from 0 to 65535")
    return int(text)


def whole_number(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number from *least* to *most*."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not from {least} to {most}")
        return int(text)

    return read


def positive(what: str, *, zero: bool = False, most: float = math.inf) -> Callable[[str], float]:
    """Return what reads a number above 0, or 0 too; *what* names it in an error."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if not (0 < found < math.inf or (zero and found == 0)) or found > most:
            rule = "0 or above" if zero else "above 0"
            limit = "" if math.isinf(most) else f", and at most {most:g}"
            raise argparse.ArgumentTypeError(f"{what} must be a number {rule}{limit}, got {text!r}")
        return found

    return read


def _add_system_options(parser: argparse.ArgumentParser) -> None:
    try:
        usual = settings().namespace
    except SettingsError as error:
        parser.error(str(error))
    parser.add_argument("--namespace", type=namespace, default=usual, help="prefix of keys, queues and names")
    parser.add_argument(
        "--architecture",
        type=Architecture,
        choices=list(Architecture),
        default=Architecture.ONE_NODE,
        help="n-node keeps its state in Redis, shared by all nodes",
    )
