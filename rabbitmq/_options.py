"""The options that only RabbitMQ's nodes take."""

import argparse

from lab.settings import settings

from ._queues import QUEUE_TYPES


def add_queue_options(parser: argparse.ArgumentParser, usual_prefetch: int) -> None:
    """Add ``--prefetch`` and ``--queue-type``."""
    parser.add_argument(
        "--prefetch",
        type=_positive,
        metavar="N",
        help=f"messages under way to this node; none: {usual_prefetch}, or 2 where each text takes time",
    )
    parser.add_argument(
        "--queue-type",
        choices=QUEUE_TYPES,
        default=settings().queue_type,
        help="kind of the durable queues; clients follow LAB_QUEUE_TYPE",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 65535")
    return int(text)
