"""The processes of the watched systems: what the page shows of them, and the buttons that change them."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import psutil

from lab.contract import Application
from lab.errors import Code, InvalidRequest, NotFound
from lab.process.launcher import Handle, usable_cores
from lab.process.system import System
from lab.topology import NODE
from watch import fields
from watch.hub import Action, Fields, Hub
from watch.main_thread import MainThreadExecutor

MOST_NODES = 16
"""Of one application: each is a process of some 40 MB, and they share this machine."""


class Nodes:
    """All processes of *systems*. What starts or ends one is done by the *main_thread*."""

    def __init__(
        self, systems: Mapping[Application, System], main_thread: MainThreadExecutor, hub: Hub
    ) -> None:
        self._systems = systems
        self._main_thread = main_thread
        self._hub = hub
        self._starting: Counter[Application] = Counter()
        self._processes: dict[int, psutil.Process] = {}
        self._lock = threading.Lock()

    @property
    def actions(self) -> Mapping[str, Action]:
        """What the buttons do."""
        return {"scale": self._scale, "remove_node": self._remove, "kill_node": self._kill}

    @property
    def serving(self) -> int:
        """Nodes that run and were not told to stop."""
        return sum(
            system.launcher.alive(node) and not node.told_to_stop
            for system in self._systems.values()
            for node in system.nodes
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return what is known of each process, in the order in which they were started."""
        rows = []
        for application, system in self._systems.items():
            for role, handles in list(system.handles.items()):
                rows += [self._row(application, system, role, handle) for handle in handles]
            for number in range(self._starting[application]):
                key = f"{application} starting {number}"
                rows.append({"key": key, "name": f"{application} node", "state": "starting", "buttons": []})
        return [row for row in rows if row["state"] != "gone"]

    def _row(self, application: Application, system: System, role: str, handle: Handle) -> dict[str, Any]:
        state = _state(system, handle)
        is_open = role == NODE and state == "serving"
        return {
            "key": str(handle.pid),
            "name": f"{application} {role.replace('_', ' ')}",
            "pid": handle.pid,
            "state": state,
            "buttons": ["remove_node", "kill_node"] if is_open else [],
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

    def _scale(self, given: Fields) -> Mapping[str, object]:
        """Have *count* nodes of *application*, of those that run or are being started."""
        application, count = self._application(given), fields.whole(given, "count")
        if not 0 <= count <= MOST_NODES:
            message = (
                f"from 0 to {MOST_NODES} nodes run here, which share {usable_cores()} cores; "
                f"for more, `python3 -m lab speedup` measures what they would bring"
            )
            raise InvalidRequest(Code.TOO_LARGE, message)
        self._main_thread.run(lambda: self._go_to(application, count))
        return {"said": f"{_nodes(application, count)} {'serves' if count == 1 else 'serve'}."}

    def _go_to(self, application: Application, count: int) -> None:
        system = self._systems[application]
        present = [node for node in system.nodes if not node.told_to_stop]
        for node in present[count:]:
            self._stop(system, node)
        for missing in range(count - len(present), 0, -1):
            self._starting[application] = missing
            try:
                node = system.add_node()
                self._hub.say("node", f"{application} node (process {node.pid}) was added")
            finally:
                self._starting[application] = 0

    def _remove(self, given: Fields) -> Mapping[str, object]:
        system, node = self._node(given)
        self._main_thread.run(lambda: self._stop(system, node))
        return {"said": f"Process {node.pid} finished what it had, and left."}

    def _stop(self, system: System, node: Handle) -> None:
        application = system.spec.application
        self._hub.say("node", f"{application} node (process {node.pid}) was told to leave")
        code = system.launcher.stop(node)
        how = "left" if code >= 0 else "was killed: it did not leave in time"
        self._hub.say("node" if code >= 0 else "fault", f"{application} node (process {node.pid}) {how}")

    def _kill(self, given: Fields) -> Mapping[str, object]:
        system, node = self._node(given)
        system.launcher.kill(node)
        return {"said": f"Process {node.pid} was killed; another takes its place."}

    def _node(self, given: Fields) -> tuple[System, Handle]:
        pid = fields.whole(given, "pid")
        for system in self._systems.values():
            for node in system.nodes:
                if node.pid == pid and _state(system, node) == "serving":
                    return system, node
        raise NotFound(f"no node that serves is process {pid}: it may just have left")

    def _application(self, given: Fields) -> Application:
        name = fields.text(given, "application")
        if name not in self._systems:
            there = " and ".join(self._systems)
            raise InvalidRequest(Code.MALFORMED, f"there is no application of that name here, only {there}")
        return Application(name)


def _state(system: System, handle: Handle) -> str:
    is_alive = system.launcher.alive(handle)
    if handle.told_to_stop:
        return "leaving" if is_alive else "gone"
    return "serving" if is_alive else "starting again"


def _nodes(application: Application, count: int) -> str:
    return f"{count} {application} {'node' if count == 1 else 'nodes'}"
