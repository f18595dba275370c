"""The options that only RabbitMQ's nodes take."""

import argparse

from lab.options import whole_number
from lab.settings import settings

from ._queues import QUEUE_TYPES


def add_queue_options(parser: argparse.ArgumentParser, usual_prefetch: int) -> None:
    """Add ``--prefetch`` and ``--queue-type``."""
    parser.add_argument(
        "--prefetch",
        type=whole_number(1, 65535),
        metavar="N",
        help=f"messages under way to this node; none: {usual_prefetch}, or 2 where each text takes time",
    )
    parser.add_argument(
        "--queue-type",
        choices=QUEUE_TYPES,
        default=settings().queue_type,
        help="kind of the durable queues; clients follow LAB_QUEUE_TYPE",
    )
