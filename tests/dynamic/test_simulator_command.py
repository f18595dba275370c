"""``python -m dynamic.simulator``: its table, its JSON, and what it says of wrong usage."""

import json

import pytest

from dynamic.simulator import figures
from dynamic.simulator.__main__ import main


def test_the_command_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "noisy", "--policy", "adaptive,assignment", "--work-time", "100ms"]) == 0
    printed = capsys.readouterr().out
    assert all(
        word in printed
        for word in ("adaptive", "assignment", "late %", "reversals", "seed 1", "events/s", "readings/s")
    )


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", "step", "--policy", "static:workers=20", "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["seed"] == 3
    assert found["policies"]["static:workers=20"]["lost"] == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--min", "3", "--max", "2"], "min <= max"),
        (["--max", "0"], "max > 0"),
        (["--policy", "magic"], "no policy 'magic'"),
        (["--declared-rate", "0"], "above 0"),
        (["--declared-rate", "nan"], "above 0"),
        (["--drift", "0"], "above 0"),
        (["--trace", "/nowhere.csv"], "cannot be read"),
        (["--seed", "-1"], "seed"),
        (["--phase", "2s"], "phase"),
    ],
)
def test_bad_usage_is_told_in_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1
    assert not printed.out


def test_the_figures_are_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert figures.main(["--policy", "static:workers=16", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert "reversals <= 5" in printed
    assert figures.main(["--policy", "magic"]) == 2
    assert figures.main(["--seeds", "0"]) == 2
