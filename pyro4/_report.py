"""What a supervisor says to the master."""

from contextlib import closing

from lab.contract import Application

from ._connection import PyroConnection
from ._names import MASTER, NAMES_SECONDS, Names


def report_dead(name_server: str, application: Application, uri: str) -> None:
    """Tell the master, found by the *name_server*, that the node at *uri* is gone; it looks for itself."""
    with closing(Names(name_server)) as names:
        master = names.lookup(MASTER)
    with closing(PyroConnection(master)) as connection:
        connection.call("report_dead", (uri,), NAMES_SECONDS)
