"""Open the store that a node's command line asks for."""

from lab.brokers.locate import locate_redis
from lab.contract import Architecture
from lab.options import NodeOptions
from lab.store import Store, open_store


def open_node_store(options: NodeOptions) -> Store:
    """Open the store of the architecture: in memory for one node, in Redis for n."""
    url = locate_redis() if options.architecture is Architecture.N_NODE else ""
    return open_store(url, options.namespace)
