"""Which processes make up one-node and n-node over RabbitMQ. Clients are given the broker's URL."""

from lab.brokers import locate_rabbitmq
from lab.contract import Application, Architecture
from lab.topology import BROADCASTER, NODE, Role, Topology

TOPOLOGY = Topology(
    one_node=(Role(NODE, "rabbitmq.insult_{application}"),),
    n_node=(
        Role(BROADCASTER, "rabbitmq.broadcaster", applications=(Application.SERVICE,)),
        Role(NODE, "rabbitmq.insult_{application}"),
    ),
)

_NODE = Role(NODE, "rabbitmq.stock", ("{application}",))
STOCK_TOPOLOGY = Topology(
    one_node=(_NODE,),
    n_node=(Role(BROADCASTER, "rabbitmq.stock", (BROADCASTER,), applications=(Application.SERVICE,)), _NODE),
)


def default_address(architecture: Architecture, application: Application) -> str:
    """Return where clients find a system: the broker, for both."""
    return locate_rabbitmq()
