"""What a supervisor says to the master."""

from contextlib import closing

from lab.contract import Application

from ._membership import MASTER_SECONDS, MasterClient


def report_dead(master: str, application: Application, url: str) -> None:
    """Tell the *master* that the node at *url* is gone; the master looks for itself."""
    with closing(MasterClient(master)) as client:
        client.report_dead(application, url, MASTER_SECONDS)
