"""The option that only Redis's nodes take."""

import argparse

from lab.limits import MAX_BATCH
from lab.options import whole_number


def add_batch_option(parser: argparse.ArgumentParser, usual: int) -> None:
    """Add ``--batch``."""
    parser.add_argument(
        "--batch",
        type=whole_number(1, MAX_BATCH),
        metavar="N",
        help=f"petitions taken, and settled, in one step; none: {usual}, or 1 where each text takes time",
    )
