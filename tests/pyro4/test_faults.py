"""Pyro4 under faults: masters and nodes that die, freeze or stop, while clients work."""

import Pyro4

from harness.faults.kinds.pyro4 import CONNECT, GREETING, message
from lab.process.system import System
from pyro4.tuned.name_server import MASTER, Names
from pyro4.tuned.server import THREADS
from tests.direct import DirectFaults


class TestFaults(DirectFaults):
    middleware = "pyro4"
    half_a_request = message(GREETING, CONNECT)[:-1]
    too_many = THREADS + 50

    def live(self, system: System) -> list[str]:
        names = Names(system.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master:
            return [names.lookup(name) for name in master.check_slave()]
