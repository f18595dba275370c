"""The option that only Pyro4's processes take."""

import argparse

from .topology import NAME_SERVER_PORT


def add_name_server_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--name-server``."""
    parser.add_argument(
        "--name-server",
        default=f"127.0.0.1:{NAME_SERVER_PORT}",
        metavar="HOST:PORT",
        help="where the name server is (python -m pyro4.name_server)",
    )
