"""A system under a small load: its processes, and the functions of the page's buttons."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self

import psutil

from lab.contract import Application
from lab.data import default_insults
from lab.errors import Code, InvalidRequest, LabError, NotFound
from lab.load.texts import generated_texts
from lab.process.launcher import Handle, usable_cores
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store import Store, open_store
from lab.topology import NODE
from lab.validation import clean_insult
from watch.hub import Action, Fields, Hub, Sample, given_number, given_text, given_whole
from watch.layout import system_layout
from watch.load import MOST_RATE, Figures, Load, Send
from watch.main_thread import MainThreadExecutor

MOST_NODES = 16
"""Of one application: each is a process of some 40 MB, and they share this machine."""


class Nodes:
    """All processes of *systems*. The *main_thread* starts and ends them."""

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
        """The number of nodes that run and were not told to stop."""
        return sum(
            system.launcher.alive(node) and not node.told_to_stop
            for system in self._systems.values()
            for node in system.nodes
        )

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each process, in the order of their starts."""
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
        """Start or stop nodes until *application* has *count* of them."""
        application, count = self._application(given), given_whole(given, "count")
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
        pid = given_whole(given, "pid")
        for system in self._systems.values():
            for node in system.nodes:
                if node.pid == pid and _state(system, node) == "serving":
                    return system, node
        raise NotFound(f"no node that serves is process {pid}: it may just have left")

    def _application(self, given: Fields) -> Application:
        name = given_text(given, "application")
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


TICK_TIMEOUT_SECONDS = 1.0


class WatchedSystem:
    """One system an application, all in the same namespace; a context manager.

    Enter it in the main thread. The first application is under load.
    """

    def __init__(
        self,
        specs: list[SystemSpec],
        brokers: BrokerUrls,
        hub: Hub,
        main_thread: MainThreadExecutor,
        rate: float,
    ) -> None:
        self._hub = hub
        self._brokers = brokers
        self._systems = {
            spec.application: System(
                spec, brokers, supervised=True, say=partial(self._supervised, spec.application)
            )
            for spec in specs
        }
        self._loaded = specs[0].application
        self._rate = rate
        self._nodes = Nodes(self._systems, main_thread, hub)
        self._figures = Figures()
        self._stack = ExitStack()
        self._over = threading.Event()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for system in self._systems.values():
                stack.enter_context(system)
            self._store: Store = open_store(self._brokers.redis, self._any.namespace)
            stack.callback(self._store.close)
            if not self._store.count_insults():  # the service alone: something to hand out from the start
                self._store.add_insults(default_insults())
            if Application.SERVICE in self._systems:
                ticks = threading.Thread(target=self._follow_ticks, name="ticks", daemon=True)
                ticks.start()
                stack.callback(ticks.join, 2 * TICK_TIMEOUT_SECONDS)
                stack.callback(self._over.set)
            self._load = Load(self._connect, self._figures, self._rate)
            stack.callback(self._load.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def description(self) -> Mapping[str, Any]:
        applications = list(self._systems)
        return system_layout(self._any.middleware.label, applications, self._loaded)

    @property
    def actions(self) -> Mapping[str, Action]:
        actions: dict[str, Action] = {
            "load": self._set_load,
            "add_insult": self._add_insult,
            **self._nodes.actions,
        }
        if Application.SERVICE in self._systems:
            actions |= {"start_broadcast": self._start_broadcast, "stop_broadcast": self._stop_broadcast}
        if Application.FILTER in self._systems:
            actions["send_text"] = self._send_text
        return actions

    def sample(self) -> Sample:
        reading = self._figures.read()
        if reading.codes:
            failed = ", ".join(f"{count} × {code}" for code, count in reading.codes.most_common())
            self._hub.say("fault", f"requests failed: {failed}")
        point = {
            "offered": self._load.pace.rate,
            "achieved": reading.achieved,
            "failed": reading.failed,
            "p50": _milliseconds(reading.p50),
            "p99": _milliseconds(reading.p99),
            "backlog": float(self._load.backlog),
            "nodes": float(self._nodes.serving),
        }
        return Sample(point, self._nodes.rows(), {"rate": self._load.pace.rate, **self._stored()})

    @property
    def _any(self) -> System:
        return self._systems[self._loaded]

    def _stored(self) -> dict[str, object]:
        """Return the facts from the shared store, all None if it does not answer."""
        try:
            return {"insults": self._store.count_insults(), "broadcast": self._store.broadcast_on()}
        except LabError as error:
            self._hub.say("fault", f"the store does not answer: {error.code}: {error.message}")
            return {"insults": None, "broadcast": None}

    @contextmanager
    def _connect(self) -> Iterator[Send]:
        """Connect a client of the load; what it sends is `filter` or `insult_me`."""
        if self._loaded is Application.SERVICE:
            with self._any.service() as service:
                yield service.insult_me
        else:
            texts = generated_texts(seed=1)
            with self._any.filter() as filtering:
                yield lambda: filtering.filter(next(texts))

    def _supervised(self, application: Application, what: str) -> None:
        self._hub.say("node" if "serves again" in what else "fault", f"{application} {what}")

    def _follow_ticks(self) -> None:
        while not self._over.is_set():
            try:
                with (
                    self._systems[Application.SERVICE].service() as service,
                    service.subscribe() as subscription,
                ):
                    while not self._over.is_set():
                        if tick := subscription.receive(TICK_TIMEOUT_SECONDS):
                            missed = f" ({len(tick.missed)} before it missed)" if tick.missed else ""
                            self._hub.say("tick", f"{tick.number}: {tick.insult}{missed}")
            except LabError as error:
                self._hub.say("fault", f"no subscription: {error.code}: {error.message}; trying again")
                self._over.wait(TICK_TIMEOUT_SECONDS)

    # Buttons, each in a thread of the page's server.

    def _set_load(self, given: Fields) -> Mapping[str, object]:
        self._load.pace.rate = rate = given_number(given, "rate", MOST_RATE)
        return {"said": f"The load is {rate:g} requests per second."}

    def _add_insult(self, given: Fields) -> Mapping[str, object]:
        insult = clean_insult(given_text(given, "insult"))
        if service := self._systems.get(Application.SERVICE):
            with service.service() as client:
                is_new = client.add_insult(insult)
        else:  # nodes of the filter follow what the service would store
            is_new = self._store.add_insult(insult)
        return {"said": f"“{insult}” is stored." if is_new else f"“{insult}” was stored already."}

    def _send_text(self, given: Fields) -> Mapping[str, object]:
        with self._systems[Application.FILTER].filter() as client:
            censored = client.filter(given_text(given, "text"))
        return {"said": "Censored." if "CENSORED" in censored else "No insult in it.", "text": censored}

    def _start_broadcast(self, given: Fields) -> Mapping[str, object]:
        with self._systems[Application.SERVICE].service() as client:
            was_off = client.start_broadcast()
        return {"said": "The broadcast is on." if was_off else "The broadcast was on already."}

    def _stop_broadcast(self, given: Fields) -> Mapping[str, object]:
        with self._systems[Application.SERVICE].service() as client:
            was_on = client.stop_broadcast()
        return {"said": "The broadcast is off." if was_on else "The broadcast was off already."}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
