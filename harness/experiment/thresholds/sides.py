"""The sides of a comparison, and their alternating windows."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from harness.experiment.thresholds.load import CLIENTS, Connect, Load, SideFailed
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls

Rates = dict[str, list[float]]
YARDSTICK_START_SECONDS = 60.0


class Side(Protocol):
    """Something whose rate is measured, started already."""

    def window(self, seconds: float) -> float:
        """Return its requests per second over a window; SideFailed if it cannot be trusted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run measures: *pairs* of windows of *seconds*, against the plain reference or a *yardstick*."""

    brokers: BrokerUrls
    seconds: float
    pairs: int
    is_full: bool = False
    yardstick: Path | None = None
    corpus: Path | None = None


@dataclass(frozen=True, slots=True)
class Yardstick:
    """A program like the plain reference: it takes ``--clients``, ``--seconds`` and the middleware's name,
    and prints a JSON object of requests per second, its start-up excluded."""

    path: Path
    middleware: str
    environment: Mapping[str, str] = field(default_factory=dict)

    def window(self, seconds: float) -> float:
        """Run it once, with processes of its own."""
        options = ["--clients", str(CLIENTS), "--seconds", str(seconds), self.middleware]
        try:
            done = subprocess.run(
                [sys.executable, str(self.path), *options],
                env={**os.environ, **self.environment},
                capture_output=True,
                text=True,
                timeout=seconds + YARDSTICK_START_SECONDS,
                check=True,
            )
            return float(json.loads(done.stdout)[self.middleware])
        except subprocess.CalledProcessError as error:
            raise SideFailed(f"{self.path.name} {self.middleware}: {error.stderr.strip()[-200:]}") from error
        except (subprocess.TimeoutExpired, ValueError, KeyError) as error:
            raise SideFailed(f"{self.path.name} {self.middleware}: {error!r}") from error


def alternate(sides: Mapping[str, Side], pairs: int, seconds: float) -> Rates:
    """Measure a window of each side, *pairs* times, in turning order, so that a drift favours none."""
    rates: Rates = {name: [] for name in sides}
    for number in range(pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            try:
                rate = sides[name].window(seconds)
            except SideFailed as error:
                raise SideFailed(f"{name}: {error}") from error
            if not rate > 0:
                raise SideFailed(f"{name}: no request was answered")
            rates[name].append(rate)
    return rates


def loaded(stack: ExitStack, connect: Connect, clients: int = CLIENTS) -> Load:
    """Return connected, warm clients that end with *stack*."""
    return stack.enter_context(Load(connect, clients))


def started(stack: ExitStack, module: str, *arguments: str) -> str:
    """Start a server that prints its address as JSON and knows nothing of the lab; it ends with *stack*."""
    launcher = stack.enter_context(LocalLauncher())
    tether = (str(os.getpid()), "SIGTERM", sys.executable, "-m", module, *arguments)
    return launcher.start(ProcessSpec(module.rpartition(".")[2], "lab.process.launcher", tether)).address
