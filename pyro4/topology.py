"""Which processes make up one-node and n-node over Pyro4. Clients are given the name server's address."""

from lab.contract import Application
from lab.topology import BROADCASTER, NODE, Role, Topology

_FIND = ("--name-server", "{name_server}")
_NAME_SERVER = Role("name_server", "pyro4.name_server")

TOPOLOGY = Topology(
    one_node=(_NAME_SERVER, Role(NODE, "pyro4.insult_{application}", _FIND)),
    n_node=(
        _NAME_SERVER,
        Role("master", "pyro4.master", _FIND),
        Role(BROADCASTER, "pyro4.broadcaster", _FIND, applications=(Application.SERVICE,)),
        Role(NODE, "pyro4.insult_{application}", _FIND),
    ),
    one_node_entry="name_server",
    n_node_entry="name_server",
)
