"""Architectures as data: which processes make up a system, in the order in which they start."""

from dataclasses import dataclass

from lab.contract import Application, Architecture


@dataclass(frozen=True, slots=True)
class Role:
    """One kind of process of a system.

    *module* is run with ``-m``; ``{application}`` in it stands for ``service`` or ``filter``. *arguments*
    are added to the options that every process takes; ``{NAME}`` in them stands for the address that the
    role NAME, started before, said when it was ready, and ``{application}`` for the application.
    """

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    applications: tuple[Application, ...] = tuple(Application)


NODE = "node"
"""The role of which n-node has n."""
BROADCASTER = "broadcaster"
MASTER = "master"


@dataclass(frozen=True, slots=True)
class Topology:
    """Both architectures of a middleware. *entry* is the role whose address clients are given; none: the
    broker's URL."""

    one_node: tuple[Role, ...]
    n_node: tuple[Role, ...]
    one_node_entry: str = ""
    n_node_entry: str = ""

    def roles(self, architecture: Architecture, application: Application) -> tuple[Role, ...]:
        """Return the roles that *application* needs, in the order in which they start."""
        roles = self.one_node if architecture is Architecture.ONE_NODE else self.n_node
        return tuple(role for role in roles if application in role.applications)

    def entry(self, architecture: Architecture) -> str:
        """Return the role whose address clients are given."""
        return self.one_node_entry if architecture is Architecture.ONE_NODE else self.n_node_entry
