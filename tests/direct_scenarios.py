"""The faults that both direct middlewares must bear, each a function of a running system."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from lab.bootstrap import ROOT
from lab.cluster import Cluster
from lab.contract import Application, Architecture, Subscription, Target
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
    seed,
)
from tests.eventually import eventually
from tests.faults.proxy import Harm, Proxy

TEXTS = 30


def master_dies(system: StartSystem, middleware: str) -> Cluster:
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


def replies_lost(
    system: StartSystem, middleware: str, pretend: Callable[[Cluster, int], AbstractContextManager[Target]]
) -> None:
    """Lose replies after execution, by a proxy which *pretend* lets a master take for a node."""
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=1)
    with Proxy(seed(), {Harm.DROP: 0.02, Harm.RESET: 0.02, Harm.BLACK_HOLE: 0.002}) as proxy:
        port = proxy.listen("127.0.0.1", 0, "127.0.0.1", port_of(cluster.nodes[0]))
        with pretend(cluster, port) as target, loaded(cluster, clients=6, target=target) as load:
            proxy.is_armed = True
            eventually(lambda: proxy.done.total() >= 20 and len(load.acknowledged) > 1000, within=40.0)
            proxy.is_armed = False
    load.say(f"{middleware}: {proxy.done.total()} of {proxy.replies} replies lost")
    load.assert_sound(cluster)


def subscriber_frozen(system: StartSystem, middleware: str) -> None:
    """Freeze 1 of 20 subscribers; the others get each tick in time, and it learns what it missed."""
    cluster = system(middleware, Application.SERVICE, Architecture.N_NODE, nodes=1, interval="250ms")
    command = [sys.executable, "-m", f"{middleware}.subscriber", "--address", cluster.target.address]
    with ExitStack() as stack:
        client = stack.enter_context(cluster.service())
        client.add_insult("tonto")
        process = stack.enter_context(_printing([*command, "--architecture", "n-node"]))
        others = [stack.enter_context(client.subscribe()) for _ in range(19)]
        client.start_broadcast()
        first = _line(process)
        os.kill(process.pid, signal.SIGSTOP)
        numbers = [[_tick(other) for _ in range(16)] for other in others]
        os.kill(process.pid, signal.SIGCONT)
        seen = [first, *(_line(process) for _ in range(6))]
    for got in numbers:
        assert got == list(range(got[0], got[0] + 16)), (
            "a subscriber missed a tick because another was frozen"
        )
    known = sorted(number for line in seen for number in _numbers(line))
    assert known == list(range(known[0], known[0] + len(known))), f"a gap was not told: {seen}"
    print(f"{middleware}: 19 others had 16 ticks each; the frozen one then said {seen[1:4]}")


@contextmanager
def _printing(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stderr
            assert "subscribed" in process.stderr.readline()
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


def _tick(subscription: Subscription) -> int:
    tick = subscription.receive(10.0)
    assert tick
    assert not tick.missed
    return tick.number


def _numbers(line: str) -> list[int]:
    """Read the numbers in ``12:00:00 #7 tonto`` or ``missed 2: 5, 6``."""
    if line.startswith("missed"):
        return [int(number) for number in line.partition(":")[2].split(",")]
    return [int(line.split("#")[1].split()[0])]
