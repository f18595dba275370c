"""Dynamic scaling on a page: the controller, a publisher whose rate is a slider, and the workers."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, cast

from dynamic.events import EventNames, EventQueues
from dynamic.policies import POLICIES, chosen
from dynamic.pool.client import PoolClient
from dynamic.publisher import EventSender
from lab.errors import Code, InvalidRequest, LabError, NotFound, Unavailable
from lab.load.texts import generated_texts
from lab.operations import new_operation_id
from lab.process.launcher import READY_SECONDS, ROOT
from lab.process.system import BrokerUrls
from lab.settings import settings
from lab.store.namespace import delete_namespace
from watch.hub import Action, Fields, Hub, MainThreadExecutor, Sample, given_number, given_text, given_whole
from watch.load import MOST_RATE, Pace
from watch.nodes import Brokers, Rates, is_frozen, signalled, thaw
from watch.web import MOST_WORK_MILLISECONDS, scaling_layout

_PREFIX = re.compile(r"(?:[\d-]+ [\d:,]+ )?[A-Z]+ [\w.]+: ")
"""What a logger writes before its message. The page has a clock and colours of its own."""
END_SECONDS = 20.0
"""Its workers finish what they have first."""
LEAST_FACTOR = 1e-6
"""Of the declared work: a pool takes no 0."""


class Controller:
    """The controller; start it in the main thread. *environment* tells it where the brokers are."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], hub: Hub) -> None:
        self._hub = hub
        self._ready = threading.Event()
        self._last_words = ""
        self._is_told = False
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

    def leave_workers(self) -> None:
        """End it alone, at once: the pool keeps the workers, and the next controller adopts them."""
        self._is_told = True
        self._process.kill()
        self._process.wait()
        self._join()

    def close(self) -> None:
        """Stop it with its workers; kill it if that takes too long."""
        self._is_told = True
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._join()

    def _join(self) -> None:
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
        if code and not self._is_told:
            self._hub.say("fault", f"the controller ended, exit code {code}")

    def _tell_trouble(self, reading: Mapping[str, Any]) -> None:
        if reading["trouble"] and reading["trouble"] != self.reading.get("trouble"):
            self._hub.say("fault", reading["trouble"])
        wanted = reading["decision"]["wanted"]
        before = self.reading.get("decision", {}).get("wanted")
        if wanted != before:
            self._hub.say("node", reading["decision"]["reason"])

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            self._last_words = _PREFIX.sub("", line.strip(), count=1)
            self._hub.say("node" if self._last_words.startswith("adopted") else "fault", self._last_words)


MOST_WORKERS = 50
NEEDS_FORECAST = "reference"
"""The policy that knows the rates to come: here nobody does."""


def offered_policies() -> list[str]:
    """Return the names from which the page lets choose; their settings can be typed."""
    return [name for name in POLICIES if name != NEEDS_FORECAST]


def checked_policy(text: str) -> str:
    """Return *text* if it names a policy that can run here; InvalidRequest if not."""
    chosen(text)
    if text.partition(":")[0] == NEEDS_FORECAST:
        message = f"{NEEDS_FORECAST} knows the rates to come, and here you choose them; there are "
        raise InvalidRequest(Code.MALFORMED, message + ", ".join(offered_policies()))
    return text


@dataclass(frozen=True, slots=True)
class ScalingSpec:
    """What to scale."""

    namespace: str
    is_throwaway: bool
    policy: str
    most_workers: int
    work_seconds: float
    interval: str = "1s"

    def arguments(self, policy: str) -> list[str]:
        """Return the command line of the controller."""
        return [
            *("--namespace", self.namespace),
            *("--policy", policy),
            *("--max", str(self.most_workers)),
            *("--work-time", f"{self.work_seconds:.6f}s"),
            *("--interval", self.interval),
        ]


class WatchedScaling:
    """A controller with its workers, and a publisher; a context manager. Enter it in the main thread."""

    def __init__(
        self, spec: ScalingSpec, brokers: BrokerUrls, hub: Hub, main_thread: MainThreadExecutor, rate: float
    ) -> None:
        self._spec = spec
        self._urls = brokers
        self._brokers = Brokers(brokers, main_thread, hub)
        self._main_thread = main_thread
        self._hub = hub
        self._rate = rate
        self._policy = spec.policy
        self._work_seconds = spec.work_seconds
        self._names = EventNames(spec.namespace)
        self._texts = generated_texts(seed=1)
        self._stack = ExitStack()
        self._asking = threading.Lock()
        self._pool: PoolClient | None = None
        self._pool_pid = 0
        self._rates = Rates()
        self._not_published = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            if self._spec.is_throwaway:
                stack.callback(self._delete_namespace)
            stack.callback(lambda: self._controller.close())
            self._start_controller()
            self._sender = stack.enter_context(EventSender(self._urls.amqp, self._names))
            stack.callback(self._leave_pool)
            self._pace = Pace(self._publish, self._rate)
            stack.callback(self._pace.close)
            stack.callback(self._thaw_all)
            stack.callback(self._brokers.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _start_controller(self) -> None:
        arguments = self._spec.arguments(self._policy)
        self._controller = Controller(arguments, self._urls.environment(), self._hub)
        self._controller.wait_ready()

    @property
    def description(self) -> Mapping[str, Any]:
        return scaling_layout(self._spec.most_workers, offered_policies())

    @property
    def actions(self) -> Mapping[str, Action]:
        return {
            "load": self._set_load,
            "work": self._set_work,
            "policy": self._set_policy,
            "kill_node": partial(self._on_worker, self._kill),
            "freeze_node": partial(self._on_worker, self._freeze),
            "thaw_node": partial(self._on_worker, self._thaw),
            "kill_broker": lambda given: {"said": self._brokers.kill(given_text(given, "kind"))},
            "start_broker": lambda given: {"said": self._brokers.start(given_text(given, "kind"))},
        }

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
                "queued": None if is_void else reading["waiting"],
                "wanted": reading["decision"]["wanted"],
                "ready": sample["ready"],
                "starting": sample["starting"],
                "p99": reading["p99_seconds"],
            }
        facts = {
            "rate": self._pace.rate,
            "work": self._work_seconds * 1000,
            "policy": self._policy,
            "reason": self._reason(reading),
        }
        rows = [self._row(worker) for worker in status.get("workers", [])]
        return Sample(point, self._brokers.rows() + rows, facts)

    def _row(self, worker: Mapping[str, Any]) -> dict[str, Any]:
        pid, state = worker["pid"], worker["state"]
        buttons: list[str] = []
        if state in ("ready", "spare"):
            state, buttons = (
                ("frozen", ["thaw_node", "kill_node"])
                if is_frozen(pid)
                else (state, ["freeze_node", "kill_node"])
            )
        return {
            "key": str(pid),
            "name": "worker",
            "pid": pid,
            "state": state,
            "buttons": buttons,
            "rate": self._rates.of(str(pid), worker["finished"]),
            "served": worker["finished"],
        }

    def _reason(self, reading: Mapping[str, Any]) -> str:
        if not self._controller.is_running:
            return "the controller ended: choose a policy to start another"
        return cast(str, reading["trouble"] or reading["decision"]["reason"]) if reading else "starting"

    def _status(self) -> Mapping[str, Any]:
        """Return what is known of the pool and its workers; nothing while there is no pool."""
        with self._asking:
            try:
                status = self._asked().status()
                if status.pid != self._pool_pid:  # a new one works as long as it was declared
                    self._pool_pid = status.pid
                    self._slow_down()
                return dataclasses.asdict(status)
            except LabError:  # it was killed; the controller starts another
                self._leave_pool()
                return {}

    def _asked(self) -> PoolClient:
        if self._pool is None:
            self._pool = PoolClient(Path(self._controller.address))
        return self._pool

    def _slow_down(self) -> None:
        self._asked().slow_down(max(LEAST_FACTOR, self._work_seconds / self._spec.work_seconds))

    def _leave_pool(self) -> None:
        pool, self._pool = self._pool, None
        if pool:
            pool.close()

    def _publish(self, due: float) -> None:
        trouble = ""
        try:
            self._sender.send(next(self._texts), new_operation_id(), round(due * 1e9))
        except LabError as error:
            trouble = error.code
            if trouble != self._not_published:
                self._hub.say("fault", f"events are not published: {error.code}: {error.message}")
        self._not_published = trouble

    def _delete_namespace(self) -> None:
        with EventQueues(self._urls.amqp, self._names, settings().queue_type) as queues:
            queues.delete()
        delete_namespace(self._urls.redis, self._spec.namespace)

    def _thaw_all(self) -> None:
        for worker in self._status().get("workers", []):
            thaw(worker["pid"])

    # Buttons.

    def _set_load(self, given: Fields) -> Mapping[str, object]:
        self._pace.rate = rate = given_number(given, "rate", MOST_RATE)
        return {"said": f"The publisher sends {rate:g} events per second."}

    def _set_work(self, given: Fields) -> Mapping[str, object]:
        milliseconds = given_number(given, "milliseconds", MOST_WORK_MILLISECONDS)
        self._work_seconds = milliseconds / 1000
        with self._asking:
            self._slow_down()
        return {"said": f"Each event takes {milliseconds:g} ms of work from now on."}

    def _set_policy(self, given: Fields) -> Mapping[str, object]:
        """End the controller and start one with another policy; the workers stay."""
        policy = checked_policy(given_text(given, "policy"))
        self._main_thread.run(partial(self._go_on_with, policy))
        return {"said": f"{policy} decides from now on."}

    def _go_on_with(self, policy: str) -> None:
        self._controller.leave_workers()
        self._policy = policy
        self._hub.say("node", f"the policy {policy} decides from now on")
        self._start_controller()

    def _on_worker(self, do: Callable[[int], str], given: Fields) -> Mapping[str, object]:
        pid = given_whole(given, "pid")
        if not any(worker["pid"] == pid for worker in self._status().get("workers", [])):
            raise NotFound(f"no worker is process {pid}: it may just have left")
        return {"said": do(pid)}

    def _kill(self, pid: int) -> str:
        signalled(pid, signal.SIGKILL)  # the pool says so
        return f"Worker {pid} was killed; its events go to the others."

    def _freeze(self, pid: int) -> str:
        signalled(pid, signal.SIGSTOP)
        self._hub.say("fault", f"worker (process {pid}) was frozen (SIGSTOP)")
        return f"Worker {pid} is frozen. If it is silent for 5 s, its pool replaces it."

    def _thaw(self, pid: int) -> str:
        thaw(pid)
        self._hub.say("node", f"worker (process {pid}) goes on (SIGCONT)")
        return f"Worker {pid} goes on."
