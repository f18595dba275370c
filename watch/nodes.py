"""The processes of one system: a row for each, and what the buttons of a row do."""

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import psutil

from lab.contract import Application
from lab.errors import Code, InvalidRequest, NotFound, Unavailable
from lab.process.launcher import Handle, usable_cores
from lab.process.system import BrokerUrls, System
from lab.topology import NODE
from lab.work import Live
from watch.hub import Hub, MainThreadExecutor

MOST_NODES = 16
"""Of one application: each is a process of some 40 MB, and they share this machine."""
BUTTONS = {"serving": ["remove_node", "freeze_node", "kill_node"], "frozen": ["thaw_node", "kill_node"]}
"""Of a row of a node, by its state."""


class Rates:
    """Turns counts into rates per second, one for each key."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[float, int]] = {}

    def of(self, key: str, count: int | None) -> float | None:
        """Return by how much *count* grew per second since the last call with *key*; None: not known."""
        if count is None:
            return None
        now = time.monotonic()
        at, before = self._before.get(key, (now - 1.0, count))
        self._before[key] = now, count
        return max(0, count - before) / max(1e-3, now - at)


class Nodes:
    """All processes of *systems*, called *label* on the page. The *main_thread* starts and ends them."""

    def __init__(
        self,
        label: str,
        systems: Mapping[Application, System],
        main_thread: MainThreadExecutor,
        hub: Hub,
        live: Live,
    ) -> None:
        self._label = label
        self._systems = systems
        self._main_thread = main_thread
        self._hub = hub
        self._live = live
        self._starting: Counter[Application] = Counter()
        self._processes: dict[int, psutil.Process] = {}
        self._rates = Rates()
        self._lock = threading.Lock()

    def serving(self, application: Application) -> int:
        """Return the number of nodes of *application* that serve now."""
        system = self._systems[application]
        return sum(self._state(system, node) == "serving" for node in system.nodes)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each process; a process that takes another's place has its key."""
        rows = []
        for application, system in self._systems.items():
            for role, handles in list(system.handles.items()):
                rows += [
                    self._row(f"{application} {role} {place}", system, role, handle)
                    for place, handle in enumerate(handles)
                ]
            present = len(system.nodes)
            for place in range(present, present + self._starting[application]):
                row = {"name": f"{application} node", "state": "starting", "buttons": []}
                rows.append(
                    {"key": f"{self._label} {application} {NODE} {place}", "system": self._label, **row}
                )
        return [row for row in rows if row["state"] != "gone"]

    def _row(self, key: str, system: System, role: str, handle: Handle) -> dict[str, Any]:
        state, key = self._state(system, handle), f"{self._label} {key}"
        served = self._live.served(handle.pid) if role == NODE else None
        return {
            "key": key,
            "system": self._label,
            "name": f"{system.spec.application} {role.replace('_', ' ')}",
            "pid": handle.pid,
            "state": state,
            "buttons": BUTTONS.get(state, []) if role == NODE else [],
            "rate": self._rates.of(f"{key} {handle.pid}", served),
            "served": served,
            **self._usage(handle.pid, state),
        }

    def _usage(self, pid: int, state: str) -> dict[str, Any]:
        """Return CPU, % of one core since the last look, and the seconds since it started."""
        try:
            process = self._processes.setdefault(pid, psutil.Process(pid))
            return {"cpu": process.cpu_percent(), "up": time.time() - process.create_time()}
        except psutil.Error:
            self._processes.pop(pid, None)
            return {"cpu": None, "up": None}

    def _state(self, system: System, handle: Handle) -> str:
        is_alive = system.launcher.alive(handle)
        if handle.told_to_stop:
            return "leaving" if is_alive else "gone"
        if not is_alive:
            return "starting again"
        return "frozen" if is_frozen(handle.pid) else "serving"

    def scale(self, application: Application, count: int) -> str:
        """Start or stop nodes until *application* has *count* of them."""
        if not 0 <= count <= MOST_NODES:
            message = (
                f"from 0 to {MOST_NODES} nodes run here, which share {usable_cores()} cores; "
                f"for more, `python3 -m lab speedup` measures what they would bring"
            )
            raise InvalidRequest(Code.TOO_LARGE, message)
        self._main_thread.run(lambda: self._go_to(application, count))
        nodes = f"{count} {application} {'node' if count == 1 else 'nodes'}"
        return f"{nodes} {'serves' if count == 1 else 'serve'}."

    def _go_to(self, application: Application, count: int) -> None:
        system = self._systems[application]
        # Look again after each: while it drains, another may end and be replaced.
        while len(present := self._present(system)) > count:
            self._stop(system, present[-1])
        for missing in range(count - len(present), 0, -1):
            self._starting[application] = missing
            try:
                node = system.add_node()
                self._say("node", system, node, "was added")
            finally:
                self._starting[application] = 0

    def _present(self, system: System) -> list[Handle]:
        """Return the nodes that are to stay, those that serve first."""
        present = [node for node in system.nodes if not node.told_to_stop]
        return sorted(present, key=lambda node: self._state(system, node) != "serving")

    def remove(self, pid: int) -> str:
        """Let a node finish what it has, and leave."""
        self._main_thread.run(lambda: self._stop(*self._node(pid)))
        return f"Process {pid} finished what it had, and left."

    def _stop(self, system: System, node: Handle) -> None:
        was_alive = system.launcher.alive(node)
        if was_alive:
            self._say("node", system, node, "was told to leave")
            thaw(node.pid)
        code = system.launcher.stop(node)
        if not was_alive:
            self._say("node", system, node, "had ended; nothing takes its place")
        elif code >= 0:
            self._say("node", system, node, "left")
        else:
            self._say("fault", system, node, "was killed before it left")

    def kill(self, pid: int) -> str:
        """End a node at once; its supervisor starts another."""
        system, node = self._node(pid)
        system.launcher.kill(node)
        return f"Process {pid} was killed; another takes its place."

    def freeze(self, pid: int) -> str:
        """Stop a node in the middle of what it does (SIGSTOP): it is alive, and says nothing."""
        system, node = self._node(pid)
        signalled(pid, signal.SIGSTOP)
        self._say("fault", system, node, "was frozen (SIGSTOP)")
        return f"Process {pid} is frozen: it lives, and answers nothing."

    def thaw(self, pid: int) -> str:
        """Let a frozen node go on."""
        system, node = self._node(pid)
        thaw(pid)
        self._say("node", system, node, "goes on (SIGCONT)")
        return f"Process {pid} goes on."

    def close(self) -> None:
        """Let frozen nodes go on: they could not leave."""
        for system in self._systems.values():
            for node in system.nodes:
                thaw(node.pid)

    def has(self, pid: int) -> bool:
        """Tell whether *pid* is a node here."""
        return any(node.pid == pid for system in self._systems.values() for node in system.nodes)

    def _say(self, kind: str, system: System, node: Handle, what: str) -> None:
        label = f"{self._label}: " if self._label else ""
        self._hub.say(kind, f"{label}{system.spec.application} node (process {node.pid}) {what}")

    def _node(self, pid: int) -> tuple[System, Handle]:
        for system in self._systems.values():
            for node in system.nodes:
                if node.pid == pid and self._state(system, node) in BUTTONS:
                    return system, node
        raise NotFound(f"no node that serves is process {pid}: it may just have left")


def is_frozen(pid: int) -> bool:
    """Tell whether the process *pid* was stopped by a signal."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return False


def signalled(pid: int, number: signal.Signals) -> None:
    """Send a signal; NotFound if the process has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError as error:
        raise NotFound(f"process {pid} has just ended") from error


def thaw(pid: int) -> None:
    """Let the process *pid* go on if it is frozen."""
    if is_frozen(pid):
        signalled(pid, signal.SIGCONT)


LABELS = {"redis": "Redis", "rabbitmq": "RabbitMQ"}


class Brokers:
    """The brokers in use: a row for each. One that is ours alone can be killed and started again."""

    def __init__(self, urls: BrokerUrls, main_thread: MainThreadExecutor, hub: Hub) -> None:
        self._kinds = sorted(urls.kinds)
        self._servers = urls.servers
        self._main_thread = main_thread
        self._hub = hub
        self._killed: set[str] = set()
        self._changing = threading.Lock()

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each broker."""
        return [self._row(kind) for kind in self._kinds]

    def _row(self, kind: str) -> dict[str, Any]:
        server, is_killed = self._servers.get(kind), kind in self._killed
        button = "start_broker" if is_killed else "kill_broker"
        return {
            "key": f"broker {kind}",
            "system": "",
            "kind": kind,
            "name": f"{LABELS[kind]} (broker)",
            "pid": server.pid if server and not is_killed else None,
            "state": "killed" if is_killed else "serving" if server else "not ours to kill",
            "buttons": [button] if server else [],
        }

    def kill(self, kind: str) -> str:
        """End a private broker at once; its data stays."""
        with self._changing:
            server = self._server(kind)
            if kind in self._killed:
                raise NotFound(f"{LABELS[kind]} is killed already")
            server.kill()
            self._killed.add(kind)
        self._hub.say("fault", f"{LABELS[kind]} (the broker) was killed")
        return (
            f"{LABELS[kind]} was killed; its data is on the disk. Start it again when you have seen enough."
        )

    def start(self, kind: str) -> str:
        """Start a killed broker where it was, with its data."""
        with self._changing:
            server = self._server(kind)
            if kind in self._killed:
                self._main_thread.run(server.start)
                self._killed.discard(kind)
                self._hub.say("node", f"{LABELS[kind]} (the broker) serves again")
        return f"{LABELS[kind]} serves again."

    def close(self) -> None:
        """Start those that are killed: what leaves now deletes what it keeps there. In the main thread."""
        for kind in sorted(self._killed):
            try:
                self._servers[kind].start()
            except Unavailable as error:
                self._hub.say("fault", error.message)

    def _server(self, kind: str) -> Any:
        if kind not in self._kinds:
            raise NotFound(f"there is no broker {kind} here, only {' and '.join(self._kinds) or 'none'}")
        if kind not in self._servers:
            message = f"this {LABELS[kind]} was here before; only one that `lab watch` started is killed"
            raise InvalidRequest(Code.MALFORMED, message)
        return self._servers[kind]
