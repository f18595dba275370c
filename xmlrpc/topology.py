"""Which processes make up one-node and n-node over XML-RPC, and the ports they usually have."""

from lab.contract import Application, Architecture
from lab.topology import BROADCASTER, MASTER, NODE, Role, Topology

MASTER_PORT = 8000
BROADCASTER_PORT = 8001
SERVICE_PORT = 8002
FILTER_PORT = 8003

TOPOLOGY = Topology(
    one_node=(Role(NODE, "xmlrpc.insult_{application}"),),
    n_node=(
        Role("master", "xmlrpc.master"),
        Role(BROADCASTER, "xmlrpc.broadcaster", applications=(Application.SERVICE,)),
        Role(NODE, "xmlrpc.insult_{application}", ("--master", "{master}")),
    ),
    one_node_entry=NODE,
    n_node_entry="master",
)

_ROLE = "{application}"
STOCK_TOPOLOGY = Topology(
    one_node=(Role(NODE, "xmlrpc.stock", (_ROLE,)),),
    n_node=(
        Role(MASTER, "xmlrpc.stock", (MASTER,)),
        Role(BROADCASTER, "xmlrpc.stock", (BROADCASTER,), applications=(Application.SERVICE,)),
        Role(NODE, "xmlrpc.stock", (_ROLE, "--master", "{master}")),
    ),
    one_node_entry=NODE,
    n_node_entry=MASTER,
)


def default_address(architecture: Architecture, application: Application) -> str:
    """Return where clients find a system on its usual ports: the node, or the master of n."""
    one = SERVICE_PORT if application is Application.SERVICE else FILTER_PORT
    port = one if architecture is Architecture.ONE_NODE else MASTER_PORT
    return f"http://127.0.0.1:{port}"
