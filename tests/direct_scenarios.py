"""The faults that both direct middlewares must bear, each a function of a running system."""

import time

from lab.contract import Application, Architecture
from lab.process.system import System
from tests.conftest import StartSystem
from tests.direct import (
    DEADLINE_SECONDS,
    crowd,
    drain_under_load,
    frozen,
    kill_and_restart_master,
    loaded,
    port_of,
    progress,
)
from tests.eventually import eventually

TEXTS = 30


def master_dies(system: StartSystem, middleware: str) -> System:
    """Kill the master under load and start it again; return the system, with one more node."""
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=2)
    with loaded(cluster) as load:
        seconds = kill_and_restart_master(cluster)
        progress(load, 20)
    load.say(f"{middleware}: clients served {seconds:.2f} s after the master's restart")
    assert not load.errors
    load.assert_sound(cluster)
    cluster.add_node()
    return cluster


def node_killed(system: StartSystem, middleware: str) -> None:
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=3)
    with loaded(cluster) as load:
        for node in cluster.nodes[:2]:
            cluster.launcher.kill(node)
            progress(load, 40)
    load.say(f"{middleware}, two nodes of three killed")
    assert not load.errors
    load.assert_sound(cluster)


def node_frozen(system: StartSystem, middleware: str) -> None:
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=2)
    with loaded(cluster) as load:
        began = time.monotonic()
        with frozen(cluster.nodes[0]):
            progress(load, 400, within=30.0)
            eventually(lambda: load.slowest_seconds > 1.0)  # those of the frozen node have found another
        progress(load, 20)
    load.say(f"{middleware}, node frozen for {time.monotonic() - began:.1f} s")
    assert not load.errors
    load.assert_sound(cluster)


def frozen_at_work(system: StartSystem, middleware: str) -> None:
    cluster = system(
        middleware,
        Application.FILTER,
        Architecture.N_NODE,
        nodes=2,
        node_arguments=("--work-time", "50ms"),
    )
    with cluster.filter(20.0) as client:
        ids = [client.submit(f"tonto {number}") for number in range(TEXTS)]
        began = time.monotonic()
        with frozen(cluster.nodes[0]):
            results = [client.result(petition_id, 20.0) for petition_id in ids]
            print(f"{middleware}: all of a frozen node's work done after {time.monotonic() - began:.1f} s")
        assert results == [f"CENSORED {number}" for number in range(TEXTS)]
        assert client.submit("tonto")  # the node goes on
        eventually(lambda: len(client.get_results()) == TEXTS + 1)
        kept = {result.petition_id: result.text for result in client.get_results()}
    assert [kept[petition_id] for petition_id in ids] == results


def node_stops(system: StartSystem, middleware: str) -> None:
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=2)
    with loaded(cluster, clients=8) as load:
        seconds = drain_under_load(cluster)
        progress(load, 40)
    load.say(f"{middleware}, SIGTERM under load: ended after {seconds:.2f} s")
    assert not load.errors
    load.assert_sound(cluster)


def crowded(system: StartSystem, middleware: str, request: bytes) -> None:
    """Hold 500 silent and 50 slow connections at each process that listens, and look how others fare."""
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=1)
    for role in ("node", "master", "name_server"):
        for process in cluster.handles.get(role, []):
            with crowd(port_of(process), 500, 50, request), loaded(cluster, clients=4) as load:
                progress(load, 200)
            load.say(f"{middleware}, 500 silent and 50 slow connections at the {role}")
            assert not load.errors
            assert not load.repeated
            assert load.slowest_seconds < DEADLINE_SECONDS
