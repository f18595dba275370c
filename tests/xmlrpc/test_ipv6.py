"""Every role serves at ::1, and its URL has the address in brackets."""

from collections.abc import Iterator

import pytest

from lab.addresses import host_port, listener, reachable
from lab.contract import Architecture, Target
from lab.process.direct import receive_ticks
from lab.process.launcher import Handle, LocalLauncher, ProcessSpec
from xmlrpc.insult_filter import InsultFilterClient
from xmlrpc.insult_service import InsultServiceClient
from xmlrpc.tuned.server import WIRE

AT_LOOPBACK = ("--host", "::1", "--port", "0")


@pytest.fixture(autouse=True)
def _needs_ipv6() -> None:
    try:
        listener("::1", 0).close()
    except OSError:
        pytest.skip("this machine has no IPv6")


@pytest.fixture
def launcher() -> Iterator[LocalLauncher]:
    with LocalLauncher() as launcher:
        yield launcher


def start(launcher: LocalLauncher, module: str, *arguments: str, **environment: str) -> Handle:
    variables = {f"LAB_{name.upper()}": value for name, value in environment.items()}
    return launcher.start(ProcessSpec(module, f"xmlrpc.{module}", arguments, variables))


def test_one_node_at_an_ipv6_address_is_used_and_calls_back_subscribers_there(
    launcher: LocalLauncher,
) -> None:
    node = start(launcher, "insult_service", *AT_LOOPBACK, "--interval", "100ms")
    assert node.address.startswith("http://[::1]:")
    target = Target(node.address)
    with InsultServiceClient(target) as client:
        assert client.add_insult("tonto")
        with receive_ticks(WIRE, InsultServiceClient(target), "::1") as ticks:
            client.start_broadcast()
            tick = ticks.receive(10.0)
            assert tick is not None
            assert tick.insult == "tonto"


def test_n_nodes_their_master_and_broadcaster_serve_at_an_ipv6_address(
    launcher: LocalLauncher, redis_url: str, namespace: str
) -> None:
    shared = {"redis_url": redis_url, "namespace": namespace}
    master = start(launcher, "master", *AT_LOOPBACK)
    broadcaster = start(launcher, "broadcaster", *AT_LOOPBACK, "--interval", "100ms", **shared)
    addresses = [master.address, broadcaster.address]
    for module in ("insult_service", "insult_service", "insult_filter"):
        joining = ("--host", "::1", "--master", master.address)
        addresses.append(start(launcher, module, *joining, **shared).address)
    assert all(address.startswith("http://[::1]:") for address in addresses)
    assert len(set(addresses)) == 5
    target = Target(master.address, Architecture.N_NODE, namespace)
    with InsultServiceClient(target) as service, InsultFilterClient(target) as filters:
        assert service.add_insult("tonto")
        assert filters.filter("Hola") == "Hola"
        with receive_ticks(WIRE, InsultServiceClient(target), "::1") as ticks:
            service.start_broadcast()
            assert ticks.receive(10.0) is not None


@pytest.mark.parametrize(
    ("host", "written"),
    [("::1", "[::1]:1"), ("[::1]", "[::1]:1"), ("127.0.0.1", "127.0.0.1:1"), ("node", "node:1")],
)
def test_an_ipv6_address_stands_in_brackets_before_a_port(host: str, written: str) -> None:
    assert host_port(host, 1) == written


@pytest.mark.parametrize(
    ("host", "at"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("0::0", "::1"), ("", "127.0.0.1"), ("node", "node")],
)
def test_what_is_bound_to_every_address_is_reached_at_loopback(host: str, at: str) -> None:
    assert reachable(host) == at
