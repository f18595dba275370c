"""A master and its nodes as a client of a direct middleware meets them, without the middleware."""

from lab.client.retry import Failover
from lab.errors import Unavailable

DEADLINE_SECONDS = 5.0


class Connection:
    """A connection to a node, which knows whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    def close(self) -> None:
        self.closed = True


class System:
    """A master that hands out nodes in turn, and the nodes, some of them dead."""

    def __init__(self, *nodes: str, dead: tuple[str, ...] = ()) -> None:
        self.nodes = list(nodes)
        self.dead = set(dead)
        self.reported: list[str] = []
        self.connections: list[Connection] = []
        self.limits: list[float] = []
        self.client = Failover(self.assign, self.connect, self.report_dead)

    def assign(self, left: float) -> str:
        self.limits.append(left)
        if not self.nodes:
            raise Unavailable("no node is live")
        self.nodes.append(self.nodes.pop(0))
        return self.nodes[-1]

    def connect(self, address: str, left: float) -> Connection:
        self.limits.append(left)
        self.connections.append(Connection(address))
        return self.connections[-1]

    def report_dead(self, address: str, left: float) -> None:
        self.limits.append(left)
        self.reported.append(address)

    def answer(self, connection: Connection, left: float) -> str:
        self.limits.append(left)
        if connection.address in self.dead:
            raise Unavailable(f"{connection.address} does not answer")
        return connection.address

    def call(self) -> str:
        return self.client.call(self.answer, DEADLINE_SECONDS)
