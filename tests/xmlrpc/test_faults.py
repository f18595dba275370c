"""XML-RPC under faults: masters and nodes that die, freeze or stop, while clients work."""

from typing import Any

from harness.faults.kinds.xmlrpc import GOOD, post
from lab.process.system import System
from tests.direct import DirectFaults
from xmlrpc.client import ServerProxy


class TestFaults(DirectFaults):
    middleware = "xmlrpc"
    half_a_request = post(GOOD)[:-1]
    too_many = 2000

    def live(self, system: System) -> list[str]:
        with ServerProxy(system.target.address) as master:
            nodes: Any = master.get_nodes()
            return list(nodes["service"])
