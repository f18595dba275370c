"""The command lines that all four share: the subscriber, and a program with several roles."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lab.bootstrap import GOOD, run_program
from lab.contract import Application, Architecture, InsultService, Target, Tick
from lab.errors import InvalidRequest
from lab.options import add_broadcast_options, add_filter_options, client_parser, node_options, process_parser
from lab.process.node import Node, run
from lab.validation import clean_address

SUBSCRIBER = "subscriber"


def main_of_roles(
    module: str,
    roles: Mapping[str, Callable[..., Node]],
    connect: Callable[[Target], InsultService],
    default_address: Callable[[Architecture, Application], str],
    argv: list[str] | None,
    *,
    entry: tuple[str, str, str] = ("", "", ""),
) -> int:
    """Run the role that *argv* names first, until SIGTERM or Ctrl-C; return the exit code.

    A role is made from its options. *entry*: an option that says where the others are found, its default and
    its help; its value is the second argument of each role.
    """
    given = sys.argv[1:] if argv is None else argv
    if given[:1] == [SUBSCRIBER]:
        return subscriber_main(module, connect, default_address, given[1:])
    parser = process_parser(module, "Run one process of a system.")
    parser.add_argument("role", choices=(*roles, SUBSCRIBER))
    option, default, help_text = entry
    if option:
        like = default_address(Architecture.N_NODE, Application.SERVICE)
        read = _address_like(like)
        parser.add_argument(
            option, type=read, default=default, dest="entry", metavar="ADDRESS", help=help_text
        )
    add_broadcast_options(parser)
    add_filter_options(parser)
    arguments = parser.parse_args(given)
    options = node_options(arguments)
    if option == "--master" and arguments.entry:
        arguments.master = arguments.entry
        options = node_options(arguments)
    others: tuple[Any, ...] = (arguments.entry,) if option else ()
    return run(arguments.role, lambda: roles[arguments.role](options, *others))


def _address_like(usual: str) -> Callable[[str], str]:
    """Return what reads an address that has the form of *usual*, or none at all."""
    schemes = (usual.partition("://")[0],) if "://" in usual else ()

    def read(text: str) -> str:
        try:
            if text:
                clean_address(text, *schemes, default_port=80)
        except InvalidRequest as error:
            raise argparse.ArgumentTypeError(error.message) from error
        return text

    return read


def subscriber_main(
    module: str,
    connect: Callable[[Target], InsultService],
    default_address: Callable[[Architecture, Application], str],
    argv: list[str] | None,
) -> int:
    """Subscribe and print each tick on a line until Ctrl-C, or ``--count`` of them."""
    parser = client_parser(module, "Subscribe to the broadcast and print what comes.")
    parser.add_argument("--count", type=_count, default=0, help="end after so many ticks; 0: at Ctrl-C")
    arguments = parser.parse_args(argv)

    def follow() -> int:
        address = arguments.address or default_address(arguments.architecture, Application.SERVICE)
        target = Target(address, arguments.architecture, arguments.namespace)
        with connect(target) as client, client.subscribe() as subscription:
            print(f"subscribed at {module}; waiting for ticks", file=sys.stderr, flush=True)
            print_ticks(subscription, arguments.count)
        return GOOD

    return run_program(follow)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def print_ticks(ticks: Iterable[Tick], count: int = 0) -> None:
    """Print each tick on a line, before it the numbers that were missed; stop after *count* (0: never)."""
    for received, tick in enumerate(ticks, 1):
        if tick.missed:
            print(f"missed {len(tick.missed)}: {', '.join(map(str, tick.missed))}", flush=True)
        print(f"{time.strftime('%H:%M:%S')} #{tick.number} {tick.insult}", flush=True)
        if received == count:
            return
