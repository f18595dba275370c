"""CPU time and memory by component, over a window: generators, nodes, master, broadcaster, brokers.

``python -m harness.probes.resources N`` makes N requests against nothing and prints the memory of the
harness.
"""

import ctypes
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Self
from urllib.parse import urlsplit

import psutil

from harness.load.measure import LocalGenerators
from harness.load.workload import NullSubject
from harness.record.measurement import Usage
from lab.process.system import BrokerUrls, System
from machines.launcher import DaskLauncher

SAMPLES_PER_SECOND = 2.0
Pids = Mapping[str, Sequence[int]]
CLIENTS = 2
WARM_UP = 100_000
"""Requests before the memory is looked at first: what is made once does not grow."""


class Meter:
    """Samples the processes of each component while its block runs; a context manager.

    A process that ends meanwhile counts with what it had spent when last seen.
    """

    def __init__(self, pids: Pids) -> None:
        self._processes = {name: [_process(pid) for pid in pids[name]] for name in pids}
        self._before: dict[psutil.Process, float] = {}
        self._spent: dict[psutil.Process, float] = {}
        self._rss: dict[str, float] = {}
        self._machine = psutil.cpu_times()
        self._busy_share = self._steal_share = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, name="resources", daemon=True)

    def __enter__(self) -> Self:
        self._sample()
        self._before = dict(self._spent)
        self._machine = psutil.cpu_times()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()
        self._look_at_machine()

    @property
    def usage(self) -> Usage:
        """What was spent in the block."""
        cpu = {
            name: sum(self._spent.get(p, 0.0) - self._before.get(p, 0.0) for p in processes if p)
            for name, processes in self._processes.items()
            if any(processes)
        }
        return Usage(cpu, dict(self._rss), self._busy_share, self._steal_share)

    def _look_at_machine(self) -> None:
        """Note which part of the machine's time was worked, and which others had."""
        passed = {
            name: value - getattr(self._machine, name) for name, value in psutil.cpu_times()._asdict().items()
        }
        whole = sum(passed.values()) - passed.get("guest", 0.0) - passed.get("guest_nice", 0.0)
        if whole > 0:
            self._steal_share = passed.get("steal", 0.0) / whole
            idle = passed["idle"] + passed.get("iowait", 0.0)
            self._busy_share = max(0.0, 1 - idle / whole - self._steal_share)

    def _sample_on(self) -> None:
        while not self._ended.wait(1 / SAMPLES_PER_SECOND):
            self._sample()

    def _sample(self) -> None:
        for name, processes in self._processes.items():
            rss = 0.0
            for process in filter(None, processes):
                with suppress(psutil.NoSuchProcess):
                    times = process.cpu_times()
                    self._spent[process] = times.user + times.system
                    rss += process.memory_info().rss / 2**20
            if rss:
                self._rss[name] = max(rss, self._rss.get(name, 0.0))


class FarMeter:
    """What the processes of *launcher* spend on other machines while its block runs; *here*: on this one."""

    def __init__(self, launcher: DaskLauncher, here: Meter) -> None:
        self._launcher = launcher
        self._here = here
        self._before: Mapping[str, tuple[float, float]] = {}
        self._after: Mapping[str, tuple[float, float]] = {}

    def __enter__(self) -> Self:
        self._before = self._launcher.spent()
        self._here.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._here.__exit__(*exception)
        if not any(exception):
            self._after = self._launcher.spent()

    @property
    def usage(self) -> Usage:
        """What was spent in the block; memory at its end."""
        here = self._here.usage
        before = {role: spent for role, (spent, _) in self._before.items()}
        cpu = {role: spent - before.get(role, 0.0) for role, (spent, _) in self._after.items()}
        rss = {role: mib for role, (_, mib) in self._after.items()}
        return replace(here, cpu_seconds=here.cpu_seconds | cpu, rss_mib=here.rss_mib | rss)


def meter(system: System, brokers: BrokerUrls) -> Meter | FarMeter:
    """Return what measures *system* and the brokers it uses; brokers on other machines are left out."""
    pids = component_pids(system, brokers)
    if not isinstance(system.launcher, DaskLauncher):
        return Meter(pids)
    return FarMeter(system.launcher, Meter({k: v for k, v in pids.items() if k not in system.handles}))


def component_pids(system: System, brokers: BrokerUrls) -> dict[str, list[int]]:
    """Return the processes of *system* and of the brokers it uses, where they run on this machine."""
    pids = {role: [handle.pid for handle in handles] for role, handles in system.handles.items()}
    urls = {"redis": brokers.redis, "rabbitmq": brokers.amqp}
    for kind in system.spec.needed_brokers:
        pids[kind] = listeners(urls[kind])
    return pids


def listeners(url: str) -> list[int]:
    """Return the local processes that listen where *url* points; none for a broker elsewhere."""
    port = urlsplit(url).port
    with suppress(psutil.AccessDenied):
        return sorted(
            {
                connection.pid
                for connection in psutil.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
                and connection.pid
                and getattr(connection.laddr, "port", 0) == port
            }
        )
    return []


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def resident(pids: Pids) -> dict[str, float]:
    """Return the resident mebibytes of each component now."""
    with Meter(pids) as meter:
        pass
    return meter.usage.rss_mib


def main(requests: int) -> None:
    """Make *requests* against nothing; print how many, in how many seconds, and the memory in megabytes.

    ``before`` and ``settled``, afterwards, are without what the allocator of this process keeps though it is
    free; ``after`` is with it. The load generators do not grow at all.
    """
    with LocalGenerators(NullSubject(), CLIENTS, in_flight=50) as generators:
        generators.requests(WARM_UP // CLIENTS)
        before = _settled(generators)
        measured = generators.requests(requests // CLIENTS)
        found = {"before": before, "after": _megabytes(generators), "settled": _settled(generators)}
    print(json.dumps({"done": measured.done, "seconds": measured.seconds, **found}))


def _settled(generators: LocalGenerators) -> float:
    with suppress(OSError, AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return _megabytes(generators)


def _megabytes(generators: LocalGenerators) -> float:
    processes = [psutil.Process(), *map(psutil.Process, generators.pids)]
    return sum(process.memory_info().rss for process in processes) / 1e6


if __name__ == "__main__":
    main(int(sys.argv[1]))
