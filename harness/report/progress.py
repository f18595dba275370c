"""Progress of long work: a live line on a terminal, a plain line a step elsewhere."""

import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text


class Steps:
    """*total_seconds* is what the work is expected to take; a context manager.

    The live line says what is done, how far, the last throughput and p99, and the time left.
    """

    def __init__(self, total_seconds: float) -> None:
        self._total_seconds = total_seconds
        self._start = time.monotonic()
        self._done_seconds = 0.0
        self._console = Console(file=sys.stderr)
        self._bar: Progress | None = None
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[latest]}"))
            self._bar = Progress(*columns, _TimeLeft(), console=self._console, transient=True)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self._total_seconds, latest="")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def step(self, what: str, seconds: float) -> None:
        """Begin a step that is expected to take *seconds*."""
        if self._bar:
            self._bar.update(self._task, description=what, completed=self._done_seconds)
        else:
            elapsed = time.monotonic() - self._start
            left = f"about {max(0.0, self._total_seconds - self._done_seconds):.0f} s left"
            print(f"[{elapsed:5.1f} s, {left}] {what}", file=sys.stderr, flush=True)
        self._done_seconds += seconds

    def say(self, result: str, latest: str = "") -> None:
        """Tell a result as it comes; *latest* is its short form, for the live line."""
        if self._bar:
            self._console.print(f"  {result}", highlight=False)
            self._bar.update(self._task, latest=latest)
        else:
            print(f"    {result}", file=sys.stderr, flush=True)


class _TimeLeft(ProgressColumn):
    def render(self, task: Task) -> Text:
        left = (task.total or 0.0) - (task.elapsed or 0.0)
        return Text(f"about {left:.0f} s left" if left > 0 else "nearly done")
