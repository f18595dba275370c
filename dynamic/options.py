"""The options of the controller, and what of them its pool is told."""

import argparse
import math

from dynamic.pool.worker import DEFAULT_PREFETCH
from dynamic.sample import START_PRICE, TARGET_SECONDS
from lab.contract import Architecture
from lab.options import add_filter_options, interval
from lab.settings import settings

READING_SECONDS = 2.0
ORPHAN_SECONDS = 60.0


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Add what the pool takes beside a filter node's options."""
    add_filter_options(parser)
    parser.set_defaults(architecture=Architecture.N_NODE)
    parser.add_argument("--max", type=count, default=10, metavar="N", help="most workers")
    parser.add_argument(
        "--spares", type=whole, default=1, metavar="N", help="connected workers that wait for the next rise"
    )
    parser.add_argument(
        "--prefetch", type=count, default=DEFAULT_PREFETCH, metavar="N", help="events under way to a worker"
    )
    parser.add_argument(
        "--queue-type",
        choices=["classic", "quorum"],
        default=settings().queue_type,
        help="kind of the durable queues; publishers follow LAB_QUEUE_TYPE",
    )
    parser.add_argument(
        "--orphan-time",
        type=interval,
        default=ORPHAN_SECONDS,
        metavar="TIME",
        help="workers leave when no controller came for so long",
    )


def add_controller_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``python -m dynamic`` takes."""
    add_pool_options(parser)
    parser.add_argument("--min", type=whole, default=0, metavar="N", help="fewest workers")
    parser.add_argument(
        "--policy",
        default="adaptive",
        metavar="NAME",
        help="such as adaptive, assignment, hpa or static:workers=5",
    )
    parser.add_argument(
        "--interval",
        type=interval,
        default=READING_SECONDS,
        metavar="TIME",
        help="time between two decisions",
    )
    parser.add_argument(
        "--C",
        type=capacity,
        metavar="C",
        help=f"messages per worker per Tr ({TARGET_SECONDS:g} s), as `lab dynamic --calibrate` prints; "
        "none: what the declared work allows",
    )
    parser.add_argument(
        "--start-price",
        type=price,
        default=START_PRICE,
        metavar="SECONDS",
        help=f"worker-seconds that a start costs; adaptive holds workers for it (default {START_PRICE:g})",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object a decision")
    parser.add_argument("--forecast", metavar="FILE", help="the rates to come, for the policy reference")


def pool_arguments(arguments: argparse.Namespace) -> list[str]:
    """Return the command line of the pool that a controller with *arguments* needs."""
    given = [
        *("--namespace", arguments.namespace),
        *("--architecture", arguments.architecture),
        *("--max", str(arguments.max)),
        *("--spares", str(arguments.spares)),
        *("--prefetch", str(arguments.prefetch)),
        *("--queue-type", arguments.queue_type),
        *("--orphan-time", f"{arguments.orphan_time:.6f}s"),
        *("--work-time", f"{arguments.work_time:.6f}s"),
        *("--work-cpu", f"{arguments.work_cpu:.6f}s"),
    ]
    if arguments.insults and arguments.architecture is Architecture.ONE_NODE:
        given += ["--insults", str(arguments.insults.resolve())]
    return given


def whole(text: str) -> int:
    """Read a number of workers that may be 0."""
    if not text.isdecimal() or int(text) > 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 1000")
    return int(text)


def count(text: str) -> int:
    """Read a number of workers, or of messages, that must not be 0."""
    if not whole(text):
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(text)


def capacity(text: str) -> float:
    """Read C, messages per worker per Tr."""
    return _positive("C must be a number of messages above 0", text)


def price(text: str) -> float:
    """Read what a start costs, in worker-seconds; it may be 0."""
    return 0.0 if text == "0" else _positive("a price must be a number of worker-seconds from 0 on", text)


def factor(text: str) -> float:
    """Read by what something is multiplied."""
    return _positive("a factor must be a number above 0", text)


def _positive(rule: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{rule}, got {text!r}")
    return number
