"""Which processes make up one-node and n-node over RabbitMQ. Clients are given the broker's URL."""

from lab.brokers.locate import locate_rabbitmq
from lab.contract import Application, Architecture
from lab.topology import BROADCASTER, NODE, Role, Topology

TOPOLOGY = Topology(
    one_node=(Role(NODE, "rabbitmq.insult_{application}"),),
    n_node=(
        Role(BROADCASTER, "rabbitmq.broadcaster", applications=(Application.SERVICE,)),
        Role(NODE, "rabbitmq.insult_{application}"),
    ),
)


def default_address(architecture: Architecture, application: Application) -> str:
    """Return where clients find a system: the broker, for both."""
    return locate_rabbitmq()
