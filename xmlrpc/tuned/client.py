"""What the clients of both applications share: a connection to a node, replaced when the node dies.

Replaces nothing of the library: it has no fail-over.
"""

from lab.client.direct import DirectClient
from lab.contract import Application, Target
from lab.process import serving

from .connection import XmlRpcConnection
from .server import WIRE


class NodeClient(DirectClient[XmlRpcConnection]):
    """Calls operations on the node at *target*, or on the one that the master at *target* names."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        super().__init__(target, application, deadline_seconds, XmlRpcConnection, WIRE.answers)


def report_dead(master: str, application: Application, url: str) -> None:
    """Tell the *master* that the node at *url* is gone; the master looks for itself."""
    serving.report_dead(WIRE, master, application, url)
