"""The master goes by its own monotonic clock: a wall clock that jumps (faketime) changes no lease."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import Pyro4
import pytest

from lab.contract import Application, Architecture
from pyro4.tuned.name_server import MASTER, Names
from tests.conftest import StartSystem
from tests.direct import frozen, loaded, progress
from tests.eventually import eventually

HOUR_SECONDS = 3600
DROPPED_SECONDS = 30.0


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


@pytest.mark.parametrize("jump_seconds", [-HOUR_SECONDS, HOUR_SECONDS])
def test_after_a_jump_of_the_wall_clock_the_dead_are_dropped_and_nobody_else(
    start_system: StartSystem,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    jump_seconds: int,
) -> None:
    with wall_clock(monkeypatch, tmp_path) as clock:
        running = start_system("pyro4", Application.SERVICE, Architecture.N_NODE, nodes=2)
        live, silent = running.nodes
        names = Names(running.target.address)
        with Pyro4.Proxy(names.lookup(MASTER)) as master, frozen(silent):
            clock.shift(jump_seconds)
            eventually(lambda: len(master.check_slave()) == 1, within=DROPPED_SECONDS)
            assert master.get_resolver_slave() == live.address
            clock.shift(-jump_seconds)
            with loaded(running) as load:
                progress(load, 100)
            load.assert_sound(running)
        names.close()
    assert running.launcher.logs(running.handles["master"][0]).count(f"joined at {live.address}") == 1
