"""The command line of a program with several roles: a middleware in one file."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

from lab.contract import Application, Architecture, InsultService, Target
from lab.errors import InvalidRequest
from lab.options import add_broadcast_options, add_filter_options, node_options, process_parser
from lab.process.node import Node, run
from lab.process.subscriber import subscriber_main
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
