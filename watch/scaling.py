"""Dynamic scaling on a page: the controller, a publisher whose rate is a slider, and the workers.

The package `dynamic` is loaded by name, at run time, like a middleware.
"""

import dataclasses
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, cast

from lab.errors import LabError, NotFound, Unavailable
from lab.load.texts import generated_texts
from lab.operations import new_operation_id
from lab.process.launcher import READY_SECONDS, ROOT
from lab.process.system import BrokerUrls
from lab.settings import settings
from lab.store.namespace import delete_namespace
from watch.hub import Action, Fields, Hub, Sample, given_number, given_whole
from watch.layout import scaling_layout
from watch.load import MOST_RATE, Pace

_PREFIX = re.compile(r"(?:[\d-]+ [\d:,]+ )?[A-Z]+ [\w.]+: ")
"""What a logger writes before its message. The page has a clock and colours of its own."""
END_SECONDS = 20.0
"""Its workers finish what they have first."""


class Controller:
    """The controller; start it in the main thread. *environment* tells it where the brokers are."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], hub: Hub) -> None:
        self._hub = hub
        self._ready = threading.Event()
        self._last_words = ""
        self.reading: dict[str, Any] = {}
        """Its last reading; empty before its first decision."""
        self.address = ""
        """Where the socket of its pool is; empty: it never got ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dynamic", "--json", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment, "LAB_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we then let it end
        )
        self._readers = [
            threading.Thread(target=read, name=f"controller {name}", daemon=True)
            for name, read in (("says", self._read), ("warns", self._read_log))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it controls a pool; Unavailable, with its last line, if it ends before."""
        self._ready.wait(READY_SECONDS)
        if not self.address:
            if not self.is_running:
                self._readers[1].join(1.0)
            raise Unavailable(f"the controller did not start: {self._last_words or 'it said nothing'}")

    def close(self) -> None:
        """Stop it with its workers; kill it if that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(1.0)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            said = json.loads(line)
            if "ready" in said:
                self.address = said["address"]
                self._ready.set()
            else:
                self._tell_trouble(said)
                self.reading = said
        self._ready.set()  # or never
        code = self._process.wait()
        if code > 0 or code < -15:
            self._hub.say("fault", f"the controller ended, exit code {code}")

    def _tell_trouble(self, reading: Mapping[str, Any]) -> None:
        if reading["trouble"] and reading["trouble"] != self.reading.get("trouble"):
            self._hub.say("fault", reading["trouble"])
        wanted = reading["decision"]["wanted"]
        before = self.reading.get("decision", {}).get("wanted")
        if wanted != before:
            self._hub.say("node", f"{wanted} workers wanted: {reading['decision']['reason']}")

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            self._last_words = _PREFIX.sub("", line.strip(), count=1)
            self._hub.say("fault", self._last_words)


MOST_WORKERS = 50


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """What to scale."""

    namespace: str
    is_throwaway: bool
    policy: str
    most_workers: int
    work_time: str
    interval: str = "1s"

    def arguments(self) -> list[str]:
        """Return the command line of the controller."""
        return [
            *("--namespace", self.namespace),
            *("--policy", self.policy),
            *("--max", str(self.most_workers)),
            *("--work-time", self.work_time),
            *("--interval", self.interval),
        ]


class WatchedScaling:
    """A controller with its workers, and a publisher; a context manager. Enter it in the main thread."""

    def __init__(self, spec: ScalingSpec, brokers: BrokerUrls, hub: Hub, rate: float) -> None:
        self._spec = spec
        self._brokers = brokers
        self._hub = hub
        self._rate = rate
        self._names = _dynamic("events", "EventNames")(spec.namespace)
        self._texts = generated_texts(seed=1)
        self._stack = ExitStack()
        self._asking = threading.Lock()
        self._pool: Any = None

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._spec.is_throwaway:
                stack.callback(self._delete_namespace)
            environment = self._brokers.environment()
            self._controller = Controller(self._spec.arguments(), environment, self._hub)
            stack.callback(self._controller.close)
            self._controller.wait_ready()
            self._sender = stack.enter_context(
                _dynamic("events.sender", "EventSender")(self._brokers.amqp, self._names)
            )
            stack.callback(self._leave_pool)
            self._pace = Pace(self._publish, self._rate)
            stack.callback(self._pace.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def description(self) -> Mapping[str, Any]:
        return scaling_layout(self._spec.policy, self._spec.most_workers, MOST_RATE)

    @property
    def actions(self) -> Mapping[str, Action]:
        return {"load": self._set_load, "kill_worker": self._kill}

    def sample(self) -> Sample:
        reading, status = self._controller.reading, self._status()
        point: dict[str, float | None] = {"offered": self._pace.rate}
        sample = reading.get("sample")
        if sample and self._controller.is_running:
            is_void = sample["arrivals"] is None
            per_second = 1 / sample["interval_seconds"]
            point |= {
                "arrived": None if is_void else sample["arrivals"] * per_second,
                "finished": None if is_void else sample["completions"] * per_second,
                "backlog": None if is_void else sample["backlog"],
                "wanted": reading["decision"]["wanted"],
                "ready": sample["ready"],
                "starting": sample["starting"],
                "p99": reading["p99_seconds"],
            }
        facts = {"rate": self._pace.rate, "reason": self._reason(reading)}
        return Sample(point, [_row(worker) for worker in status.get("workers", [])], facts)

    def _reason(self, reading: Mapping[str, Any]) -> str:
        if not self._controller.is_running:
            return "the controller ended: end this with Ctrl-C and start it again"
        return cast(str, reading["trouble"] or reading["decision"]["reason"]) if reading else "starting"

    def _status(self) -> Mapping[str, Any]:
        """Return a row for each worker of the pool; none while there is no pool."""
        with self._asking:
            try:
                if self._pool is None:
                    self._pool = _dynamic("pool.client", "PoolClient")(self._controller.address)
                return dataclasses.asdict(self._pool.status())
            except LabError:  # it was killed; the controller starts another
                self._leave_pool()
                return {}

    def _leave_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool:
            pool.close()

    def _publish(self, due: float) -> None:
        try:
            self._sender.send(next(self._texts), new_operation_id(), round(due * 1e9))
        except LabError as error:
            self._hub.say("fault", f"not published: {error.code}: {error.message}")

    def _delete_namespace(self) -> None:
        with _dynamic("events.queues", "EventQueues")(
            self._brokers.amqp, self._names, settings().queue_type
        ) as queues:
            queues.delete()
        delete_namespace(self._brokers.redis, self._spec.namespace)

    # Buttons.

    def _set_load(self, given: Fields) -> Mapping[str, object]:
        self._pace.rate = rate = given_number(given, "rate", MOST_RATE)
        return {"said": f"The publisher sends {rate:g} events per second."}

    def _kill(self, given: Fields) -> Mapping[str, object]:
        pid = given_whole(given, "pid")
        if not any(worker["pid"] == pid for worker in self._status().get("workers", [])):
            raise NotFound(f"no worker is process {pid}: it may just have left")
        os.kill(pid, signal.SIGKILL)
        self._hub.say("fault", f"worker (process {pid}) was killed")
        return {"said": f"Worker {pid} was killed; its events go to the others."}


def _row(worker: Mapping[str, Any]) -> dict[str, Any]:
    buttons = ["kill_worker"] if worker["state"] in ("ready", "spare") else []
    given = {name: worker[name] for name in ("pid", "state", "finished")}
    return {"key": str(worker["pid"]), "name": "worker", "buttons": buttons, **given}


def _dynamic(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"dynamic.{module}"), name)
