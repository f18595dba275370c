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
