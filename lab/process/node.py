"""Run a process of a system from its command line: start, prove that it serves, say so, drain at the end.

Below are the command lines that all four share: the subscriber, and a program with several roles.
"""

import argparse
import ctypes
import errno
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from lab.bootstrap import FAILED, GOOD, INTERRUPTED, WRONG_USAGE, run_program
from lab.contract import Application, Architecture, InsultService, Target, Tick
from lab.errors import AlreadyRunning, Code, DeadlineExceeded, InvalidRequest, LabError
from lab.limits import DRAIN_SECONDS
from lab.options import add_broadcast_options, add_filter_options, client_parser, node_options, process_parser
from lab.settings import settings
from lab.topology import BROADCASTER
from lab.validation import clean_address
from lab.work import without_declared_work

log = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
MAPPED_FROM_BYTES = 512 * 1024
"""A block of so many bytes is mapped by itself, and returned when it is freed."""
KEPT_BYTES = 2 * 1024 * 1024
"""So much may stay free at the end of the heap. With 128 KiB, each batch would allocate it again."""


class Node(Protocol):
    """A process of a system: a node, a master, a broadcaster."""

    def start(self) -> str:
        """Serve, in threads of its own, but join nobody yet; return the address to reach it by."""

    def canary(self) -> None:
        """Let one request go through the whole path; raise a LabError if it does not come back."""

    def join(self) -> None:
        """Let the others know: from now on clients are sent here."""

    def drain(self, timeout_seconds: float) -> None:
        """Take nothing more, finish what was taken, acknowledge it, and free everything."""


def run(name: str, make: Callable[[], Node]) -> int:
    """Run the node that *make* returns until SIGTERM or Ctrl-C; return the exit code.

    Once a canary request went through it, one JSON line on standard output says that it is ready and where.
    """
    return run_program(lambda: _run(name, make))


def _run(name: str, make: Callable[[], Node]) -> int:
    logging.basicConfig(
        level=settings().log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    # Blocked here and in every thread started from now on; a handler that sets an Event can deadlock.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    return_freed_heap()
    try:
        die_with(settings().parent)
        node = make()
        try:
            address = node.start()
            _check(node)
            node.join()
            ready = {"ready": True, "role": name, "address": address, "pid": os.getpid()}
            print(json.dumps(ready), flush=True)
            received = signal.sigwait(STOP_SIGNALS)
        except BaseException:
            with suppress(Exception):  # it may not have all that it would end
                node.drain(DRAIN_SECONDS)
            raise
        node.drain(DRAIN_SECONDS)
    except LabError as error:
        print(f"{name}: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, (InvalidRequest, AlreadyRunning)) else FAILED
    log.info("%s stopped", name)
    return INTERRUPTED if received == signal.SIGINT else GOOD


def _check(node: Node) -> None:
    """Send the canary request. If it is late, the error names the options, as they may be the cause."""
    try:
        with without_declared_work():
            node.canary()
    except DeadlineExceeded as error:
        options = " ".join(sys.argv[1:]) or "none"
        raise DeadlineExceeded(f"{error.message} (the node's options: {options})") from error


def die_with(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel for a parent-death signal: *how* comes when *parent*, which started us, ends (Linux).

    Elsewhere, and for 0, this does nothing. The kernel looks at the *thread* that started us. The setting
    survives exec.
    """
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, how, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call: no signal will come
        sys.exit(1)


def return_freed_heap() -> None:
    """Return freed heap to the operating system: keep no block that held a large message.

    This is for glibc; elsewhere it does nothing.

    glibc raises its threshold to the largest block that was freed, and then cuts small pieces out of such
    blocks: a few requests of 1 MiB, and a node is 10 MB larger for ever.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library; on Windows there is no None
        return
    mallopt(_M_MMAP_THRESHOLD, MAPPED_FROM_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def cannot_listen(host: str, port: int, error: OSError) -> LabError:
    """Return the error with which a process ends that cannot bind *port* of *host*: exit code 2."""
    where = f"cannot listen on {host}:{port}: {error.strerror or error}"
    if error.errno == errno.EADDRINUSE:
        return AlreadyRunning(f"{where}; does it run already? If not, try another --port")
    return InvalidRequest(Code.MALFORMED, f"{where}; try another --host or --port")


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
    if arguments.role == BROADCASTER:
        arguments.architecture = Architecture.N_NODE  # one node broadcasts by itself
    if option == "--master":
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
    parser.add_argument("--count", type=_count, default=0, help="end after this many ticks; 0: at Ctrl-C")
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
