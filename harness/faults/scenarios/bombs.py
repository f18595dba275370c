"""Bombs: compressed, entities, nesting, length. Refused in under 100 ms, with 10 MB of memory at most."""

import time
from pathlib import Path

from harness.faults.rig import Rig, Scenario
from harness.faults.site import site
from harness.faults.wire import WIRES, Kind, kinds_of, where, wire_to
from harness.record.trials import Check, FaultTrial
from lab.contract import Application, Architecture

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
    "compressed, entity, nesting and length bombs: refused in 100 ms, memory +10 MB at most",
    bombs,
    5.0,
    15.0,
    tuple(WIRES),
)
