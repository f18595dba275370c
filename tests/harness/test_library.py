"""Nothing of the tuned variant lies between a stock client and its library, in client or node."""

import subprocess
import sys

import pytest

from harness.experiment.bench import Bench
from harness.experiment.library import library_share
from harness.load.workload import Workload
from lab.bootstrap import ROOT
from lab.contract import Application
from lab.middleware import STOCK_LACKS
from lab.process.system import BrokerUrls

ALLOWED = (
    "lab/client/calls.py",
    "lab/operations.py",
    "lab/process/",
    "lab/errors.py",
    "lab/background.py",
    "lab/work.py",
)
"""What checks arguments, names operations, keeps a process and its jobs, or spends the declared work."""


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_a_stock_call_runs_the_library_and_nothing_that_replaces_it(
    request: pytest.FixtureRequest, middleware: str
) -> None:
    needs = {"redis_impl": "redis_url", "rabbitmq": "amqp_url"}.get(middleware)
    url = request.getfixturevalue(needs) if needs else ""
    brokers = BrokerUrls(url if middleware == "redis_impl" else "", url if middleware == "rabbitmq" else "")
    share = library_share(Bench(brokers, Workload(Application.FILTER)), f"{middleware}:stock", 0.3)
    own = (f"{middleware}/stock.py", *ALLOWED)
    assert [file for file in share.files if not file.startswith(own)] == []
    assert share.calls["library"] > share.calls["carrying"]


LIBRARIES = {
    "xmlrpc": ("http.client", "http.server", "socketserver", "xmlrpc.client", "xmlrpc.server"),
    "pyro4": ("Pyro4", "Pyro4.core", "Pyro4.message", "Pyro4.naming", "Pyro4.util", "serpent"),
    "redis_impl": ("redis", "redis.client", "redis.connection"),
    "rabbitmq": ("pika", "pika.adapters.blocking_connection", "pika.channel", "pika.connection"),
}
PATCHES = """
import importlib, inspect, sys
stock, *names = sys.argv[1:]
modules = [importlib.import_module(name) for name in names]

def state():
    classes = (one for module in modules for _, one in inspect.getmembers(module, inspect.isclass))
    things = [*modules, *classes]
    settings = vars(modules[0]).get("config")
    found = {(id(thing), name): id(value) for thing in things for name, value in vars(thing).items()}
    return found, settings and settings.asDict()

before = state()
importlib.import_module(stock)
assert state() == before, "patched"
assert not [name for name in sys.modules if ".tuned" in name]
"""


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_stock_patches_nothing_of_its_library_and_changes_none_of_its_settings(middleware: str) -> None:
    command = [sys.executable, "-c", PATCHES, f"{middleware}.stock", *LIBRARIES[middleware]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
