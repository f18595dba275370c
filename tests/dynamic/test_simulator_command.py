"""``python -m dynamic.simulator``: its table, its JSON, and what it says of wrong usage."""

import json

import pytest

from dynamic.simulator import figures
from dynamic.simulator.__main__ import main
from dynamic.simulator.profiles import FAMILIES


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


def test_the_figures_tell_late_cost_and_actions_and_compare_the_totals(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "FAMILIES", {"plateau": lambda seed: FAMILIES["plateau"](seed).until(60.0)})
    assert figures.main(["--policy", "adaptive,rate", "--seeds", "1"]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("plateau", "over the optimum", "price 10", "4 "))
    assert figures.main(["--policy", "magic"]) == 2
    assert figures.main(["--seeds", "0"]) == 2


def test_adaptive_is_cheaper_than_its_rivals_on_traces_that_its_constants_did_not_see() -> None:
    settings = [one for name in ("sessions", "launch") for one in figures.settings_of(FAMILIES[name](31), 31)]
    for price in figures.PRICES:
        ratios = [figures.over_rivals("adaptive", setting, price) for setting in settings]
        assert sum(ratios) / len(ratios) <= 1.02
