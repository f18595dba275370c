"""The options that only Pyro4's processes take."""

import argparse

from ._settings import SERVER_TYPES
from .topology import NAME_SERVER_PORT


def add_name_server_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--name-server``."""
    parser.add_argument(
        "--name-server",
        default=f"127.0.0.1:{NAME_SERVER_PORT}",
        metavar="HOST:PORT",
        help="where the name server is (python -m pyro4.name_server)",
    )


def add_server_type_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--server-type``."""
    parser.add_argument(
        "--server-type",
        choices=SERVER_TYPES,
        default=SERVER_TYPES[0],
        help="a thread for each client, or one for all, in which a silent client stalls the others",
    )
