"""Input that no client should send: malformed, and bombs. It is refused, and good traffic hardly notices."""

import multiprocessing
import time
from collections.abc import Sequence
from enum import IntEnum
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import numpy as np

from harness.faults.load import Entry, Load, Outcome, Stream
from harness.faults.rig import Ended, Injector, Rig, Scenario, settled, systems, trial
from harness.faults.site import site
from harness.faults.wire import WIRES, Kind, Where, Wire, kinds_of, where, wire_to
from harness.load.generator import now
from harness.record.run import Check, FaultTrial
from harness.statistics import FEWEST_TRIALS, LEVEL, Floats
from lab.contract import Application, Architecture
from lab.load.plans import Plan
from lab.operations import Operation

CLIENTS = 4
RATE = 200.0
MIX = (Operation.ADD_INSULT, Operation.INSULT_ME, Operation.INSULT_ME)
BAD_RATE = 50.0
WINDOW_SECONDS = 0.5
LONGER = 6.0
"""Than the pauses: sending takes time, too, on a busy machine most of it. The load ends when all is sent."""
SLOWER_AT_MOST = 1.2
RESAMPLES = 1000
LEAST_KINDS = 40

Answers = list[tuple[str, str, str]]
"""Of each malformed input: its name, the code that it must get, and what it got."""


class Bad(IntEnum):
    """Where malformed input goes in a window. The windows take turns, so that all see the same machine.

    What goes to a twin that nobody else uses costs the machine as much, and the node that is measured
    nothing: on few processors the sender makes the good clients wait, at any target.
    """

    TO_A_TWIN = 0
    TO_THE_NODE = 1


def send_all(node: Where, twin: Where, times: int, start_ns: int, answers: Connection) -> None:
    """Send each kind *times* to *node*, at a steady rate in its windows; then tell what came back.

    In a process of its own: in that of the good clients it would slow these down itself.
    """
    kinds = kinds_of(node.middleware)
    for_node, for_twin = iter(kinds * times), cycle(kinds)
    got: Answers = []
    with wire_to(node) as to_node, wire_to(twin) as to_twin:
        while True:
            if window_at(now(), start_ns) is Bad.TO_A_TWIN:
                _answer(to_twin, next(for_twin))
            elif kind := next(for_node, None):
                got.append((kind.name, kind.code, _answer(to_node, kind)))
            else:
                break
            time.sleep(1 / BAD_RATE)
    answers.send(got)


def _answer(wire: Wire, kind: Kind) -> str:
    try:
        return wire.refusal(kind)
    except (OSError, ValueError) as error:
        return repr(error)


def window_at(at_ns: int, start_ns: int) -> Bad:
    """Tell where malformed input goes at that time."""
    return Bad(_window(at_ns, start_ns) % len(Bad))


def _window(at_ns: int, start_ns: int) -> int:
    return int((at_ns - start_ns) / 1e9 / WINDOW_SECONDS)


def malformed(rig: Rig, middleware: str) -> FaultTrial:
    """Send each kind 4 times (full size: 100) to a node that serves good clients."""
    times = rig.of(1, 4, 100)
    wanted = times * len(kinds_of(middleware))
    seconds = len(Bad) * wanted / BAD_RATE * LONGER + 10.0
    one_node = partial(site, middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE)
    with one_node() as system, one_node() as twin:
        node = system.nodes[0].pid
        with system.service() as client:
            client.add_insult("first")
        load = Load(systems([system]), Stream(rig.seed, MIX), Plan.constant(RATE, seconds), CLIENTS)
        injector = Injector(load, [system], rig.seed)
        with load:
            got = _sent(where(system), where(twin), times, load)
            load.stop()
        ended = settled(load, injector, [system])
        same = [handle.pid for handle in system.nodes] == [node] and not system.restarts()
    return _judged(rig, middleware, ended, got, wanted, is_same=same)


def _sent(node: Where, twin: Where, times: int, load: Load) -> Answers:
    """Let a process send, and wait for it, as long as the load lasts at most."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    sender = context.Process(target=send_all, args=(node, twin, times, load.start_ns, theirs), daemon=True)
    sender.start()
    theirs.close()
    try:
        while load.running and not ours.poll(0.1):
            pass
        return cast(Answers, ours.recv()) if ours.poll() else []
    except EOFError:  # it ended with an error, which stands above
        return []
    finally:
        sender.kill()
        sender.join()


def _judged(
    rig: Rig, middleware: str, ended: Ended, got: Answers, wanted: int, *, is_same: bool
) -> FaultTrial:
    mistakes = {name: code for name, expected, code in got if code != expected}
    p99s, ratio = compared(ended.entries, ended.load.start_ns)
    low, high = ratio or (None, None)
    checks = [
        Check("kinds", len({name for name, _, _ in got}), LEAST_KINDS, is_least=True),
        Check("not sent", wanted - len(got), 0),
        Check("other codes than documented", len(mistakes), 0),
        Check("process ended", 0 if is_same else 1, 0),
        Check("good traffic answered", ended.answered_percent, 100.0, "%", is_least=True),
        Check("good traffic's p99, over that beside a twin, is at least", low, SLOWER_AT_MOST, "x"),
    ]
    figures = {"malformed": float(len(got)), "p99 over that beside a twin, at most": high or 0.0}
    figures |= {f"p99 with it {bad.name.lower().replace('_', ' ')}, ms": p99 for bad, p99 in p99s.items()}
    notes = [f"{name}: {code}" for name, code in list(mistakes.items())[:5]]
    if low and high and low <= SLOWER_AT_MOST < high:
        notes.append(f"good traffic's p99: undecided, {low:.2f} to {high:.2f} x; `--full` measures longer")
    return trial("malformed", middleware, rig, ended, checks, figures=figures, notes=notes)


def compared(entries: Sequence[Entry], start_ns: int) -> tuple[dict[Bad, float], tuple[float, float] | None]:
    """Return the p99 of good traffic by where the malformed went, and the 95 % interval of node over twin.

    A p99 hangs on a few answers, and those that are slow come together. So whole windows are drawn again and
    again, as many as there are (a bootstrap), and the ratio is that of each draw. None: too few to compare.
    """
    windows: dict[Bad, dict[int, list[float]]] = {bad: {} for bad in Bad}
    for entry in entries:
        if entry.outcome is Outcome.ACKNOWLEDGED:
            taken = windows[window_at(entry.planned_ns, start_ns)]
            place = _window(entry.planned_ns, start_ns)
            taken.setdefault(place, []).append((entry.done_ns - entry.planned_ns) / 1e6)
    some = {bad: [np.array(times) for times in taken.values()] for bad, taken in windows.items()}
    p99s = {bad: _p99(each) for bad, each in some.items() if each}
    if min(map(len, some.values())) < FEWEST_TRIALS:
        return p99s, None
    draw = np.random.default_rng(0)

    def drawn(bad: Bad) -> float:
        return _p99([some[bad][place] for place in draw.integers(len(some[bad]), size=len(some[bad]))])

    ratios = [drawn(Bad.TO_THE_NODE) / drawn(Bad.TO_A_TWIN) for _ in range(RESAMPLES)]
    low, high = np.quantile(ratios, ((1 - LEVEL) / 2, (1 + LEVEL) / 2)).tolist()
    return p99s, (low, high)


def _p99(windows: Sequence[Floats]) -> float:
    return float(np.quantile(np.concatenate(windows), 0.99, method="inverted_cdf"))


MALFORMED = Scenario(
    "malformed",
    "over 40 kinds of malformed input: one documented error each, p99 of good clients < +20 %",
    malformed,
    18.0,
    420.0,
    tuple(WIRES),
)

WORDS = (
    "bomb",
    "laughs",
    "entity",
    "nested",
    "compress",
    "too long",
    "too large",
    "fills",
    "far too",
    "deep",
)
REFUSED_WITHIN_MS = 100.0
MOST_MEBIBYTES = 10.0


def bombs(rig: Rig, middleware: str) -> FaultTrial:
    """Send each bomb 3 times (full size: 20) to an idle node; look at its highest memory."""
    kinds = [kind for kind in kinds_of(middleware) if any(word in kind.name for word in WORDS)]
    times = rig.of(1, 3, 20)
    begun = time.monotonic()
    slowest, wrong = 0.0, 0
    notes: list[str] = []
    with site(middleware, Application.SERVICE, rig.brokers, architecture=Architecture.ONE_NODE) as system:
        node = system.nodes[0].pid
        with wire_to(where(system)) as wire:
            wire.refusal(kinds[0])  # what is allocated once, for any request
            before = _reset_highest_memory(node)
            for kind in kinds * times:
                took_ms, code = _timed(wire.refusal, kind)
                if took_ms > slowest:
                    slowest, notes = took_ms, [f"slowest: {kind.name}, {took_ms:.0f} ms", *notes[1:]]
                if code != kind.code:
                    wrong += 1
                    notes.append(f"{kind.name}: {code}")
        grown = _memory(node, "VmHWM") - before
        ended = len(system.restarts())
    checks = [
        Check("slowest refusal", slowest, REFUSED_WITHIN_MS, "ms"),
        Check("memory", grown, MOST_MEBIBYTES, "MiB"),
        Check("other codes than documented", wrong, 0),
        Check("process ended", ended, 0),
    ]
    return FaultTrial(
        "bombs",
        middleware,
        str(Architecture.ONE_NODE),
        1,
        rig.seed,
        round(time.monotonic() - begun, 1),
        checks,
        figures={"kinds of bombs": float(len(kinds)), "sent": float(len(kinds) * times)},
        notes=notes[:6],
    )


def _timed(refuse: object, kind: Kind) -> tuple[float, str]:
    begun = time.perf_counter()
    try:
        code = refuse(kind)  # type: ignore[operator]
    except (OSError, ValueError) as error:
        code = repr(error)
    return (time.perf_counter() - begun) * 1000, code


def _reset_highest_memory(pid: int) -> float:
    """Let the kernel count the highest memory anew; return what it is now, in MiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _memory(pid, "VmRSS")


def _memory(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/{pid}/status has no {field}")


BOMBS = Scenario(
    "bombs",
    "small input that grows when it is read (bombs): refused in 100 ms, memory +10 MB at most",
    bombs,
    5.0,
    15.0,
    tuple(WIRES),
)
