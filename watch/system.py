"""One system under a small load, or two side by side: what is sampled, and what the page's buttons do."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Self, TypeVar

from lab.contract import Application
from lab.errors import Code, InvalidRequest, LabError, NotFound
from lab.load.texts import default_insults, generated_texts
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store import Store, open_store
from lab.validation import clean_insult
from lab.work import Live
from watch.hub import Action, Fields, Hub, MainThreadExecutor, Sample, given_number, given_text, given_whole
from watch.load import MOST_RATE, Figures, Load, Send
from watch.nodes import Brokers, Nodes
from watch.web import MOST_WORK_MILLISECONDS, side_suffix, system_layout

TICK_TIMEOUT_SECONDS = 1.0
Answer = TypeVar("Answer")


class WatchedSystem:
    """One middleware: a system for each application, in one namespace; a context manager.

    Enter it in the main thread. The first application is under load. *label* is set where there are two.
    """

    def __init__(
        self,
        specs: Sequence[SystemSpec],
        brokers: BrokerUrls,
        hub: Hub,
        main_thread: MainThreadExecutor,
        live: Live,
        rate: float,
        label: str = "",
    ) -> None:
        self._hub = hub
        self._redis = brokers.redis
        self.said = f"{label}: " if label else ""
        self.systems = {
            spec.application: System(
                spec, brokers, supervised=True, say=partial(self._supervised, spec.application)
            )
            for spec in specs
        }
        self.loaded = specs[0].application
        self.any = self.systems[self.loaded]
        self._rate = rate
        self.nodes = Nodes(label, self.systems, main_thread, hub, live)
        self._figures = Figures()
        self._stack = ExitStack()
        self._over = threading.Event()
        self._troubles: dict[str, str] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for system in self.systems.values():
                stack.enter_context(system)
            stack.callback(self.nodes.close)
            self._store: Store = open_store(self._redis, self.any.namespace)
            stack.callback(self._store.close)
            if not self._store.count_insults():  # the service alone: something to hand out from the start
                self._store.add_insults(default_insults())
            if Application.SERVICE in self.systems:
                ticks = threading.Thread(target=self._follow_ticks, name="ticks", daemon=True)
                ticks.start()
                stack.callback(ticks.join, 2 * TICK_TIMEOUT_SECONDS)
                stack.callback(self._over.set)
            self.load = Load(self._connect, self._figures, self._rate)
            stack.callback(self.load.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def point(self) -> dict[str, float | None]:
        """Return the figures since the last call."""
        reading = self._figures.read()
        failed = ", ".join(code for code, _ in reading.codes.most_common())
        if failed or reading.achieved:  # neither: nothing was asked, or all still waits
            self._tell_change("load", f"requests fail: {failed}" if failed else "")
        return {
            "offered": self.load.pace.rate,
            "achieved": reading.achieved,
            "failed": reading.failed,
            "p50": _milliseconds(reading.p50),
            "p99": _milliseconds(reading.p99),
            "backlog": float(self.load.backlog),
            "unsent": float(self.load.unsent),
            "queued": float(self.load.backlog - self.load.unsent),
            "nodes": float(self.nodes.serving(self.loaded)),
        }

    def stored(self) -> dict[str, object]:
        """Return the facts from the shared store, all None if it does not answer."""
        try:
            facts: dict[str, object] = {
                "insults": self._store.count_insults(),
                "broadcast": self._store.broadcast_on(),
            }
        except LabError as error:
            self._tell_change("store", f"the store does not answer: {error.code}: {error.message}")
            return {"insults": None, "broadcast": None}
        self._tell_change("store", "")
        return facts

    def _tell_change(self, what: str, trouble: str) -> None:
        """Say a *trouble* once, and its end; a line each second would say no more."""
        before, self._troubles[what] = self._troubles.get(what, ""), trouble
        if trouble and trouble != before:
            self._hub.say("fault", f"{self.said}{trouble}")
        elif before and not trouble:
            done = "requests are answered again" if what == "load" else f"the {what} answers again"
            self._hub.say("node", f"{self.said}{done}")

    @contextmanager
    def _connect(self) -> Iterator[Send]:
        """Connect a client of the load; what it sends is `filter` or `insult_me`."""
        if self.loaded is Application.SERVICE:
            with self.any.service() as service:
                yield service.insult_me
        else:
            texts = generated_texts(seed=1)
            with self.any.filter() as filtering:
                yield lambda: filtering.filter(next(texts))

    def _supervised(self, application: Application, what: str) -> None:
        self._hub.say("node" if "serves again" in what else "fault", f"{self.said}{application} {what}")

    def _follow_ticks(self) -> None:
        service = self.systems[Application.SERVICE]
        while not self._over.is_set():
            try:
                with service.service() as client, client.subscribe() as subscription:
                    self._tell_change("subscription", "")
                    while not self._over.is_set():
                        if tick := subscription.receive(TICK_TIMEOUT_SECONDS):
                            missed = f" ({len(tick.missed)} before it missed)" if tick.missed else ""
                            self._hub.say("tick", f"{self.said}{tick.number}: {tick.insult}{missed}")
            except LabError as error:
                self._tell_change("subscription", f"no subscription: {error.code}; trying again")
                self._over.wait(TICK_TIMEOUT_SECONDS)

    def add_insult(self, insult: str) -> bool:
        """Store *insult*; tell whether it is new."""
        if service := self.systems.get(Application.SERVICE):
            with service.service() as client:
                return client.add_insult(insult)
        return self._store.add_insult(insult)  # nodes of the filter follow what the service would store

    def filter(self, text: str) -> str:
        """Let a node censor *text*."""
        with self.systems[Application.FILTER].filter() as client:
            return client.filter(text)

    def broadcast(self, is_on: bool) -> bool:
        """Start or stop the broadcast; tell whether that changed anything."""
        with self.systems[Application.SERVICE].service() as client:
            return client.start_broadcast() if is_on else client.stop_broadcast()


class WatchedSystems:
    """One system, or two that get the same load; a context manager. Enter it in the main thread."""

    def __init__(
        self,
        given: Sequence[Sequence[SystemSpec]],
        brokers: BrokerUrls,
        hub: Hub,
        main_thread: MainThreadExecutor,
        rate: float,
        work_seconds: float,
    ) -> None:
        self._live = Live(work_seconds)
        self._hub = hub
        self._brokers = Brokers(brokers, main_thread, hub)
        labels = [MIDDLEWARES[specs[0].middleware].label if len(given) > 1 else "" for specs in given]
        self._sides = [
            WatchedSystem(specs, brokers, hub, main_thread, self._live, rate, label)
            for specs, label in zip(given, labels, strict=True)
        ]
        self._first = self._sides[0]
        self._rate = rate
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._live)
            for side in self._sides:
                stack.enter_context(side)
            stack.callback(self._brokers.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def description(self) -> Mapping[str, Any]:
        middlewares = [side.any.middleware for side in self._sides]
        return system_layout(middlewares, list(self._first.systems), self._first.loaded)

    @property
    def actions(self) -> Mapping[str, Action]:
        actions: dict[str, Action] = {
            "load": self._set_load,
            "scale": self._scale,
            "remove_node": partial(self._on_node, Nodes.remove),
            "kill_node": partial(self._on_node, Nodes.kill),
            "freeze_node": partial(self._on_node, Nodes.freeze),
            "thaw_node": partial(self._on_node, Nodes.thaw),
            "kill_broker": lambda given: _said(self._brokers.kill(given_text(given, "kind"))),
            "start_broker": lambda given: _said(self._brokers.start(given_text(given, "kind"))),
            "add_insult": self._add_insult,
        }
        if Application.SERVICE in self._first.systems:
            actions |= {
                "start_broadcast": lambda _: self._broadcast(True),
                "stop_broadcast": lambda _: self._broadcast(False),
            }
        if Application.FILTER in self._first.systems:
            actions |= {"send_text": self._send_text, "work": self._set_work}
        return actions

    def sample(self) -> Sample:
        point = {
            f"{key}{side_suffix(place)}": value
            for place, side in enumerate(self._sides)
            for key, value in side.point().items()
        }
        rows = [row for side in self._sides for row in side.nodes.rows()] + self._brokers.rows()
        facts = {"rate": self._rate, "work": self._live.work_seconds * 1000}
        stored = [side.stored() for side in self._sides]
        agreed = {
            key: value if all(one[key] == value for one in stored) else "mixed"
            for key, value in stored[0].items()
        }
        return Sample(point, rows, {**facts, **agreed})

    # Buttons, each in a thread of the page's server.

    def _set_load(self, given: Fields) -> Mapping[str, object]:
        self._rate = given_number(given, "rate", MOST_RATE)
        for side in self._sides:
            side.load.pace.rate = self._rate
        return {"said": f"The load is {self._rate:g} requests per second{self._each}."}

    def _set_work(self, given: Fields) -> Mapping[str, object]:
        milliseconds = given_number(given, "milliseconds", MOST_WORK_MILLISECONDS)
        self._live.work_seconds = milliseconds / 1000
        return {"said": f"Each text takes {milliseconds:g} ms of work from now on."}

    def _scale(self, given: Fields) -> Mapping[str, object]:
        application, count = self._application(given), given_whole(given, "count")
        return _said(self._on_all(lambda side: side.nodes.scale(application, count))[0])

    def _on_node(self, do: Callable[[Nodes, int], str], given: Fields) -> Mapping[str, object]:
        pid = given_whole(given, "pid")
        for side in self._sides:
            if side.nodes.has(pid):
                return _said(do(side.nodes, pid))
        raise NotFound(f"no node that serves is process {pid}: it may just have left")

    def _add_insult(self, given: Fields) -> Mapping[str, object]:
        insult = clean_insult(given_text(given, "insult"))
        is_new = self._on_all(lambda side: side.add_insult(insult))
        return _said(f"“{insult}” is stored." if any(is_new) else f"“{insult}” was stored already.")

    def _send_text(self, given: Fields) -> Mapping[str, object]:
        text = given_text(given, "text")
        answers = self._on_all(lambda side: side.filter(text))
        said = "Censored." if any("CENSORED" in answer for answer in answers) else "No insult in it."
        return {"said": said, "text": "\n".join(dict.fromkeys(answers))}

    def _broadcast(self, is_on: bool) -> Mapping[str, object]:
        changed = self._on_all(lambda side: side.broadcast(is_on))
        state = "on" if is_on else "off"
        return _said(f"The broadcast is {state}." if any(changed) else f"The broadcast was {state} already.")

    def _on_all(self, do: Callable[[WatchedSystem], Answer]) -> list[Answer]:
        """Return what *do* gave for each system that did it; the LabError of the first if none did."""
        answers, errors = [], []
        for side in self._sides:
            try:
                answers.append(do(side))
            except LabError as error:
                errors.append(error)
                if len(self._sides) > 1:
                    self._hub.say("fault", f"{side.said}{error.code}: {error.message}")
        if not answers:
            raise errors[0]
        return answers

    @property
    def _each(self) -> str:
        return " to each of the two" if len(self._sides) > 1 else ""

    def _application(self, given: Fields) -> Application:
        name = given_text(given, "application")
        if name not in self._first.systems:
            there = " and ".join(self._first.systems)
            raise InvalidRequest(Code.MALFORMED, f"there is no application of that name here, only {there}")
        return Application(name)


def _said(text: str) -> Mapping[str, object]:
    return {"said": text}


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1000
