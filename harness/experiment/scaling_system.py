"""A pool of workers and a controller on queues of their own, under a load, and what is seen of them."""

import json
import secrets
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Self, cast

from dynamic.calibration import calibrated_rate
from dynamic.controller import Forecast
from dynamic.events import EventNames, EventQueues
from dynamic.policies.sample import TARGET_SECONDS
from dynamic.pool.client import PoolClient
from dynamic.publisher import Completions, EventSender
from dynamic.simulator.simulation import Setting
from lab.errors import Unavailable
from lab.load.plans import Plan
from lab.load.texts import default_insults
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls
from lab.store import open_store
from lab.store.namespace import delete_namespace

LOOK_SECONDS = 0.1
"""How often the workers are counted."""

START_SECONDS = 30.0
"""For workers that are started to see how long that takes."""

Text = tuple[str, str]
"""What is sent, and what must come back."""


@dataclass(slots=True)
class Observed:
    """What was seen of one policy on one load. Times: nanoseconds of the monotonic clock."""

    begin_ns: int
    """Start of the load."""
    phase_seconds: float = 0.0
    """How long after it, and every interval later, the controller read."""
    readings: list[dict[str, Any]] = field(default_factory=list)
    """As the controller printed them."""
    workers: list[tuple[int, int, int, int]] = field(default_factory=list)
    """When, and how many were starting, ready, and leaving."""
    sent_ns: list[int] = field(default_factory=list)
    """Of each event of the plan."""
    done_ns: dict[int, int] = field(default_factory=dict)
    """By number of the event in the plan: when its first answer came."""
    repeated: int = 0
    wrong: int = 0
    confirmed: int = 0
    crashed: int = 0
    start_seconds: float | None = None
    """Median from the wish for a worker until it took events; None: none was started."""


class ScalingSystem:
    """A context manager that leaves nothing of its throw-away namespace.

    *work*: the option and the time of the declared work, such as ("--work-time", "100ms").
    """

    def __init__(self, brokers: BrokerUrls, setting: Setting, work: tuple[str, str]) -> None:
        self._brokers = brokers
        self._setting = setting
        self._work = work
        self._namespace = f"lab-{secrets.token_hex(4)}"
        self._names = EventNames(self._namespace)
        self._stack = ExitStack()
        self._pool = Path()
        self._texts: Sequence[Text] = ()
        self._sender: EventSender | None = None
        self.start_seconds = 0.0
        """What starting the pool took."""

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def calibrate(self, texts: Sequence[Text], seconds: float) -> float:
        """Return messages per second of one worker that is never idle."""
        feed = (text for text, _ in cycle(texts))
        with closing(PoolClient(self._pool)) as pool:
            return calibrated_rate(pool, self._brokers.amqp, self._names, feed, seconds)

    def start_seconds_of(self, workers: int) -> float:
        """Start *workers* at once; return the median of the seconds until they took events."""
        deadline = time.monotonic() + START_SECONDS
        with closing(PoolClient(self._pool)) as pool:
            status = pool.scale(workers)
            while status.ready < workers and time.monotonic() < deadline:
                time.sleep(LOOK_SECONDS)
                status = pool.status()
            pool.scale(0)
        if status.start_seconds is None:
            raise Unavailable(f"no worker took events in {START_SECONDS:g} s")
        return status.start_seconds

    def observe(self, policy: str, begin_ns: int, texts: Sequence[Text], folder: Path) -> Observed:
        """Let *policy* scale from now on; what :meth:`send` sends is seen until the system is left."""
        seen, self._texts = Observed(begin_ns, self._setting.phase_seconds), texts
        enter, callback = self._stack.enter_context, self._stack.callback
        forecast = folder / f"forecast-{self._namespace}.json"
        callback(forecast.unlink, missing_ok=True)
        self._forecast(begin_ns).write(forecast)
        self._control(policy, forecast, seen.readings)
        enter(Completions(self._brokers.amqp, self._names, _Answers(seen, texts)))
        self._sender = enter(EventSender(self._brokers.amqp, self._names))
        watch = _Watch(PoolClient(self._pool), seen, self._setting)
        watch.start()
        callback(watch.stop)
        return seen

    def send(self, number: int, due_ns: int, seen: Observed) -> None:
        """Send event *number* of the plan."""
        if self._sender is None:
            raise ValueError("observe first")
        seen.sent_ns.append(time.monotonic_ns())
        text = self._texts[number % len(self._texts)][0]
        self._sender.send(text, str(number), due_ns, self._names.done)

    def settle(self, seen: Observed, deadline: float) -> None:
        """Wait until everything sent is confirmed and answered, at most to *deadline*, monotonic clock."""
        if self._sender is None:
            raise ValueError("observe first")
        while time.monotonic() < deadline:
            if not self._sender.unconfirmed and len(seen.done_ns) >= len(seen.sent_ns):
                break
            time.sleep(0.05)
        seen.confirmed = self._sender.confirmed

    def _start(self) -> None:
        arguments = ["--namespace", self._namespace, "--max", str(self._setting.max_workers), *self._work]
        enter, callback = self._stack.enter_context, self._stack.callback
        callback(delete_namespace, self._brokers.redis, self._namespace)
        queues = enter(EventQueues(self._brokers.amqp, self._names, "classic"))
        callback(queues.delete)
        store = open_store(self._brokers.redis, self._namespace)
        store.add_insults(default_insults())
        store.close()
        self._launcher = enter(LocalLauncher())
        # Started here and not by the controller, it dies with us.
        began = time.monotonic()
        pool = ProcessSpec("pool", "dynamic.pool", tuple(arguments), self._brokers.environment())
        self._pool = Path(self._launcher.start(pool).address)
        self.start_seconds = time.monotonic() - began

    def _forecast(self, begin_ns: int) -> Forecast:
        setting, profile = self._setting, self._setting.profile
        changes = [0.0] if setting.drift_at is None else [0.0, setting.drift_at]
        return Forecast(
            begin_ns / 1e9,
            profile.starts,
            profile.rates,
            profile.duration_seconds,
            tuple((at, setting.service_rate_at(at)) for at in changes),
            setting.phase_seconds,
        )

    def _control(self, policy: str, forecast: Path, readings: list[dict[str, Any]]) -> None:
        """Start a controller, and collect what it prints until it is stopped."""
        setting = self._setting
        rate = setting.declared_rate or setting.service_rate_at(0.0)
        arguments = [
            *("--namespace", self._namespace, "--policy", policy, "--json", "--forecast", str(forecast)),
            *("--min", str(setting.min_workers), "--max", str(setting.max_workers)),
            *("--interval", f"{setting.interval_seconds}s", "--C", str(rate * TARGET_SECONDS), *self._work),
            *("--start-price", f"{setting.start_price:g}"),
        ]
        spec = ProcessSpec("controller", "dynamic", tuple(arguments), self._brokers.environment())
        controller = self._launcher.start(spec)
        lines = cast(IO[bytes], controller.process.stdout)
        reader = threading.Thread(target=_collect, args=(lines, readings), daemon=True)
        reader.start()
        self._stack.callback(reader.join)
        self._stack.callback(self._launcher.stop, controller)


class _Answers:
    """Notes when events are answered, and with what."""

    def __init__(self, seen: Observed, texts: Sequence[Text]) -> None:
        self._seen = seen
        self._texts = texts

    def __call__(self, event_id: str, at_ns: int, answer: bytes) -> None:
        number = int(event_id)
        if number in self._seen.done_ns:
            self._seen.repeated += 1
            return
        self._seen.done_ns[number] = at_ns
        if answer != self._texts[number % len(self._texts)][1].encode():
            self._seen.wrong += 1


class _Watch(threading.Thread):
    """Counts the workers, and slows their work down when the setting says so."""

    def __init__(self, pool: PoolClient, seen: Observed, setting: Setting) -> None:
        super().__init__(name="watch", daemon=True)
        self._pool = pool
        self._seen = seen
        self._setting = setting
        self._stopping = threading.Event()

    def run(self) -> None:
        slowed = False
        while not self._stopping.wait(LOOK_SECONDS):
            now_ns = time.monotonic_ns()
            factor = self._setting.slower_at((now_ns - self._seen.begin_ns) / 1e9)
            if factor != 1 and not slowed:
                slowed = True
                self._pool.slow_down(factor)
            status = self._pool.status()
            self._seen.workers.append((now_ns, status.starting, status.ready, status.leaving))
            self._seen.crashed = status.crashed
            self._seen.start_seconds = status.start_seconds

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self.join()
        self._pool.close()


def _collect(lines: IO[bytes], readings: list[dict[str, Any]]) -> None:
    readings.extend(json.loads(line) for line in lines)


LEAD_SECONDS = 2.0
"""For each system, from the start of its controller to that of the load: it must be there first."""
LEADS = 4.0
"""The same in multiples of what starting its pool took: a busy machine needs longer."""
GRACE_SECONDS = 60.0
"""After the end of the load, for what is not finished."""


def observe(
    brokers: BrokerUrls,
    policies: Sequence[str],
    setting: Setting,
    work: tuple[str, str],
    plan: Plan,
    texts: Sequence[Text],
    folder: Path,
) -> list[Observed]:
    """Let each of *policies* scale a system of its own; return when all is answered, or it is too late.

    They read in turn, each at another phase of the interval. So they do not all start workers at one moment.
    """
    phases = [place * setting.interval_seconds / len(policies) for place in range(len(policies))]
    with ExitStack() as stack:
        systems = [
            stack.enter_context(ScalingSystem(brokers, replace(setting, phase_seconds=phase), work))
            for phase in phases
        ]
        lead = sum(max(LEAD_SECONDS, LEADS * system.start_seconds) for system in systems)
        begin_ns = time.monotonic_ns() + round(lead * 1e9)
        seen = [
            system.observe(policy, begin_ns, texts, folder)
            for system, policy in zip(systems, policies, strict=True)
        ]
        if time.monotonic_ns() > begin_ns:
            raise Unavailable("controller and load were not ready in time; is the machine very busy?")
        pairs = list(zip(systems, seen, strict=True))
        for number, offset_ns in enumerate(plan.due_ns.tolist()):
            due_ns = begin_ns + offset_ns
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            for system, one in pairs:  # one that is late is sent at once, and its plan stays
                system.send(number, due_ns, one)
        end = begin_ns / 1e9 + plan.duration_seconds
        time.sleep(max(0.0, end - time.monotonic()))  # what policies do with a silent end counts
        for system, one in pairs:
            system.settle(one, end + GRACE_SECONDS)
    return seen
