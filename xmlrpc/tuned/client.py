"""What the clients of both applications share: a connection to a node, replaced when the node dies.

Replaces nothing of the library: it has no fail-over.
"""

from lab.client.direct import DirectClient, MasterLocator, TheNode
from lab.contract import Application, Architecture, Target
from lab.process import serving

from .connection import XmlRpcConnection
from .server import WIRE


class NodeClient(DirectClient[XmlRpcConnection]):
    """Calls operations on the node at *target*, or on the one that the master at *target* names."""

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        is_one_of_n = target.architecture is Architecture.N_NODE
        locator = MasterLocator(XmlRpcConnection(target.address)) if is_one_of_n else TheNode(target.address)
        super().__init__(target, application, deadline_seconds, locator, XmlRpcConnection, WIRE.answers)


def report_dead(master: str, application: Application, url: str) -> None:
    """Tell the *master* that the node at *url* is gone; the master looks for itself."""
    serving.report_dead(WIRE, master, application, url)
