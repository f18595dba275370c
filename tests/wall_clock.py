"""A wall clock that a test sets back or forward, for the processes that it starts (faketime)."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

HOUR_SECONDS = 3600


class WallClock:
    """The wall clock of processes started while it is installed. Their monotonic clock is the real one."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.shift(0)

    def shift(self, seconds: int) -> None:
        """Set the clock to *seconds* after the real time; negative: before it."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}", encoding="ascii")
        new.replace(self._file)  # in one step: who reads half of it has another time


@contextmanager
def wall_clock(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[WallClock]:
    """Install a wall clock that can be set, for the processes started within; skip without faketime."""
    try:
        said = subprocess.run(["faketime", "-f", "+0", "env"], capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("faketime is not installed")
    library = next(line for line in said.stdout.splitlines() if line.startswith("LD_PRELOAD="))
    file = folder / "wall clock"
    clock = WallClock(file)
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", library.partition("=")[2])
        environment.setenv("FAKETIME_TIMESTAMP_FILE", str(file))
        environment.setenv("FAKETIME_NO_CACHE", "1")
        for name in ("FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC"):  # old and new versions
            environment.setenv(name, "1")
        yield clock
