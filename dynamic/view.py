"""Scaling made visible: a line a decision, a live table on a terminal, or JSON for programs."""

import dataclasses
import json
import sys
import time
from collections import deque
from typing import Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dynamic.controller import Reading

SHOWN = 20
COLUMNS = ("time", "rate/s", "backlog", "wanted", "starting", "ready", "p99", "why")


class View(Protocol):
    """Shows readings as they come."""

    def show(self, reading: Reading) -> None: ...

    def close(self) -> None: ...


def view_for(*, as_json: bool) -> View:
    """Return JSON lines if asked for, a live table on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonView()
    console = Console()
    return LiveView(console) if console.is_terminal else PlainView()


class JsonView:
    """A JSON object a line; `sample` and `decision` as in :mod:`dynamic.sample`, without the memory."""

    def show(self, reading: Reading) -> None:
        fields = {field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)}
        fields["sample"] = dataclasses.asdict(reading.sample)
        fields["decision"] = {"wanted": reading.decision.wanted, "reason": reading.decision.reason}
        print(json.dumps(fields), flush=True)

    def close(self) -> None:
        pass


class PlainView:
    """A line a reading."""

    def show(self, reading: Reading) -> None:
        when, rate, backlog, wanted, starting, ready, p99, why = row(reading)
        print(
            f"{when}  rate {rate}/s  backlog {backlog}  workers {wanted} wanted, {starting} starting, "
            f"{ready} ready  p99 {p99}  ({why})",
            flush=True,
        )

    def close(self) -> None:
        pass


class LiveView:
    """The last readings as a table that stays in place."""

    def __init__(self, console: Console) -> None:
        self._rows: deque[tuple[str, ...]] = deque(maxlen=SHOWN)
        self._live = Live(self._table(), console=console, auto_refresh=False)
        self._live.start()

    def show(self, reading: Reading) -> None:
        self._rows.append(row(reading))
        self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        self._live.stop()
        sys.stdout.flush()

    def _table(self) -> Table:
        table = Table(title="workers, as many as the load needs (Ctrl-C ends them)", title_justify="left")
        for column in COLUMNS:
            is_text = column in ("time", "why")
            table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text)
        for values in self._rows:
            table.add_row(*values)
        return table


def row(reading: Reading) -> tuple[str, ...]:
    """Return what is shown of *reading*, in the order of COLUMNS; a dash for what is not known."""
    sample, decision = reading.sample, reading.decision
    is_void = sample.arrivals is None
    rate = "-" if sample.arrivals is None else f"{sample.arrivals / sample.interval_seconds:.1f}"
    p99 = "-" if reading.p99_seconds is None else f"{reading.p99_seconds:.2f} s"
    return (
        time.strftime("%H:%M:%S", time.localtime(reading.at)),
        rate,
        "-" if is_void else str(sample.backlog),
        str(decision.wanted),
        str(sample.starting),
        str(sample.ready),
        p99,
        f"{decision.reason}: {reading.trouble}" if reading.trouble else decision.reason,
    )
