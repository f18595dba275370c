"""How the clients of both applications find their node: by its name, or by the master's.

Replaces nothing of Pyro4, which has no fail-over.
"""

from collections.abc import Sequence
from contextlib import closing

from lab.client.retry import Deadline
from lab.contract import Application, Architecture, Target

from .connection import PyroConnection
from .name_server import MASTER, Names

_RESOLVERS = {Application.SERVICE: "get_resolver_slave", Application.FILTER: "get_resolver_filter"}
_NAMES = {Application.SERVICE: "insult.service", Application.FILTER: "filter.service"}


class NameLocator:
    """Finds the one node by its name, or one of n by the master, which has a name."""

    def __init__(self, target: Target) -> None:
        self._names = Names(target.address)
        self.has_others = target.architecture is Architecture.N_NODE

    def find(self, application: Application, timeout_seconds: float) -> str:
        if not self.has_others:
            return self._names.lookup(_NAMES[application], timeout_seconds)
        return str(_call_master(self._names, _RESOLVERS[application], (), timeout_seconds))

    def report_dead(self, application: Application, address: str, timeout_seconds: float) -> None:
        _call_master(self._names, "report_dead", (address,), timeout_seconds)

    def close(self) -> None:
        self._names.close()


def _call_master(names: Names, method: str, arguments: Sequence[object], timeout_seconds: float) -> object:
    deadline = Deadline(timeout_seconds)
    with closing(PyroConnection(names.lookup(MASTER, timeout_seconds))) as master:
        return master.call(method, arguments, deadline.left)
