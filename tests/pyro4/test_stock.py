"""The stock variant: Pyro4 as it comes, for bare proxies and tuned nodes, with nothing of ours in between."""

import subprocess
import sys

import Pyro4
import pytest

from lab.bootstrap import ROOT
from lab.contract import Application, Architecture
from lab.errors import Code, NoInsults
from lab.middleware import MIDDLEWARES
from lab.process.system import System
from lab.settings import settings
from tests.conftest import StartSystem

ENDS_WITHIN_SECONDS = 60
STOCK = MIDDLEWARES["pyro4:stock"]
TRACE = """
import sys
from lab.contract import Architecture, Target
from pyro4.stock import InsultFilterClient, NameServer, ServiceNode, FilterNode
from lab.options import NodeOptions

files = set()

def note(frame, event, argument):
    if event == "call":
        files.add(frame.f_code.co_filename)

import threading
threading.setprofile(note)
names = NameServer(NodeOptions(port=0)).start()
node = FilterNode(NodeOptions(port=0), names)
node.start()
node.join()
client = InsultFilterClient(Target(names, Architecture.ONE_NODE, "lab-00000000"))
client.filter("warm")
files.clear()
sys.setprofile(note)
assert client.filter("tonto") == "CENSORED"
sys.setprofile(None)
print("\\n".join(sorted(files)), flush=True)
import os
os._exit(0)
"""


def proxy_of(system: System) -> Pyro4.Proxy:
    name = "insult.service" if system.spec.application is Application.SERVICE else "filter.service"
    return Pyro4.Proxy(f"PYRONAME:{name}@{system.target.address}")


def test_a_bare_proxy_is_answered_as_the_page_on_protocols_says(start_system: StartSystem) -> None:
    with proxy_of(start_system("pyro4:stock", Application.SERVICE)) as node:
        assert node.add_insult("tonto") is True
        assert node.add_insult("tonto") is False
        assert node.insult_me() == "tonto"
        assert node.get_insults(limit=10) == ["tonto"]
        with pytest.raises(ValueError, match=f"{Code.TOO_LARGE}: "):
            node.add_insult("x" * 201)
        assert [node.start_broadcast(), node.start_broadcast(), node.stop_broadcast()] == [True, False, True]
        assert node.remove_insult("tonto") is True
        with pytest.raises(ValueError, match=f"{Code.NO_INSULTS}: "):
            node.insult_me()


def test_the_master_of_n_nodes_gives_a_bare_proxy_a_node(start_system: StartSystem) -> None:
    running = start_system("pyro4:stock", Application.FILTER, Architecture.N_NODE, nodes=2)
    with Pyro4.Proxy(f"PYRONAME:master.service@{running.target.address}") as master:
        assert {master.get_resolver_filter() for _ in range(4)} == {node.address for node in running.nodes}
        with Pyro4.Proxy(master.get_resolver_filter()) as node:
            assert node.filter("tonto, friend") == "CENSORED, friend"


@pytest.mark.parametrize("architecture", Architecture)
def test_a_stock_client_drives_tuned_nodes(start_system: StartSystem, architecture: Architecture) -> None:
    service = start_system("pyro4", Application.SERVICE, architecture)
    with STOCK.service_client(service.target) as client, pytest.raises(NoInsults):
        client.insult_me()
    with STOCK.service_client(service.target) as client:
        assert client.add_insult("tonto")
        assert client.get_insults() == ["tonto"]
    filters = start_system("pyro4", Application.FILTER, architecture, nodes=1)
    with STOCK.filter_client(filters.target) as client:
        assert client.filter("tonto") == "CENSORED"
        assert list(client.filter_many(["tonto", "friend"])) == ["CENSORED", "friend"]
        assert client.result(client.submit("tonto"), 10.0) == "CENSORED"


def test_a_tuned_client_that_writes_serpent_drives_a_stock_node(
    start_system: StartSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start_system("pyro4:stock", Application.SERVICE)
    monkeypatch.setenv("LAB_PYRO_SERIALIZER", "serpent")
    settings.cache_clear()
    with MIDDLEWARES["pyro4"].service_client(running.target) as client:
        with pytest.raises(NoInsults):
            client.insult_me()
        assert client.add_insult("tonto")
        assert client.insult_me() == "tonto"
    settings.cache_clear()


def test_nothing_of_ours_lies_between_a_stock_client_and_its_library() -> None:
    traced = subprocess.run(
        [sys.executable, "-c", TRACE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=ENDS_WITHIN_SECONDS,
    ).stdout.splitlines()
    assert any("Pyro4/core.py" in file for file in traced)
    assert not [file for file in traced if "tuned" in file or "/lab/process/" in file]


def test_a_tuned_client_leaves_the_settings_of_the_library_alone() -> None:
    program = """if True:
        import Pyro4
        from Pyro4 import message, util
        def state():
            changed = message.Message.from_header.__func__, util.SerializerBase.deserializeCall
            return Pyro4.config.asDict(), changed
        before = state()
        from lab.contract import Architecture, Target
        from pyro4.insult_service import InsultServiceClient
        InsultServiceClient(Target("127.0.0.1:1", Architecture.ONE_NODE, "lab-00000000")).close()
        assert state() == before
    """
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=ENDS_WITHIN_SECONDS)
