"""Which processes make up one-node and n-node over Pyro4. Clients are given the name server's address."""

from lab.contract import Application, Architecture
from lab.topology import BROADCASTER, NODE, Role, Topology

NAME_SERVER_PORT = 9090

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

_NAMES = Role("name_server", "pyro4.stock", ("name_server",))
STOCK_TOPOLOGY = Topology(
    one_node=(_NAMES, Role(NODE, "pyro4.stock", ("{application}", *_FIND))),
    n_node=(
        _NAMES,
        Role("master", "pyro4.stock", ("master", *_FIND)),
        Role(BROADCASTER, "pyro4.stock", (BROADCASTER, *_FIND), applications=(Application.SERVICE,)),
        Role(NODE, "pyro4.stock", ("{application}", *_FIND)),
    ),
    one_node_entry="name_server",
    n_node_entry="name_server",
)


def default_address(architecture: Architecture, application: Application) -> str:
    """Return where clients find a system: the name server, for both."""
    return f"127.0.0.1:{NAME_SERVER_PORT}"
