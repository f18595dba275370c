"""The master goes by its own monotonic clock: a wall clock that jumps changes no lease."""

from pathlib import Path

import Pyro4
import pytest

from lab.contract import Application, Architecture
from pyro4.tuned.name_server import MASTER, Names
from tests.conftest import StartSystem
from tests.direct import frozen, loaded, progress
from tests.eventually import eventually
from tests.wall_clock import HOUR_SECONDS, wall_clock

DROPPED_SECONDS = 30.0


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
