"""Which processes make up one-node and n-node over XML-RPC."""

from lab.contract import Application
from lab.topology import BROADCASTER, NODE, Role, Topology

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
