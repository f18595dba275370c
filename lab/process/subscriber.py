"""The subscriber's command line, the same in all four middlewares."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable

from lab.bootstrap import GOOD, run_program
from lab.contract import Application, Architecture, InsultService, Target, Tick
from lab.options import client_parser


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
