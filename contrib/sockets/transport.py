"""The wire: what is not a middleware's own business imports nothing else of it."""

from ._connection import Connection, answers
from ._server import Server
from ._wire import split_uri

__all__ = ["Connection", "Server", "answers", "report_dead", "split_uri"]


def report_dead(master: str, application: str, address: str) -> None:
    """Tell the *master* that the node at *address* is gone; the master looks for itself."""
    connection = Connection(master)
    try:
        connection.call("report_dead", [application, address], 2.0)
    finally:
        connection.close()
