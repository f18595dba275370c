"""Which processes make up one-node and n-node over sockets, and the ports they usually have."""

from lab.contract import Application, Architecture
from lab.topology import MASTER, NODE, Role, Topology

MASTER_PORT = 8100
SERVICE_PORT = 8101
FILTER_PORT = 8102

TOPOLOGY = Topology(
    one_node=(Role(NODE, "contrib.sockets.insult_{application}"),),
    n_node=(
        Role(MASTER, "contrib.sockets.master"),
        Role(NODE, "contrib.sockets.insult_{application}", ("--master", "{master}")),
    ),
    one_node_entry=NODE,
    n_node_entry=MASTER,
)


def default_address(architecture: Architecture, application: Application) -> str:
    """Return where clients find a system on its usual ports: the node, or the master of n."""
    alone = SERVICE_PORT if application is Application.SERVICE else FILTER_PORT
    return f"tcp://127.0.0.1:{alone if architecture is Architecture.ONE_NODE else MASTER_PORT}"
