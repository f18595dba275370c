"""The example of a fifth middleware: registered by a setting, it passes what the four pass."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.middleware import MIDDLEWARES

ADDED = {"LAB_MIDDLEWARES": "contrib.sockets"}
TIMEOUT_SECONDS = 400.0


def run(*words: str, text: str = "", **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a module with the example registered, or with other *settings*."""
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env={**os.environ, **(settings or ADDED)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )


def measured(folder: Path) -> dict[str, list[dict[str, object]]]:
    """Return the only run in *folder*."""
    (path,) = folder.glob("2*/run.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.slow
@pytest.mark.usefixtures("redis_url")
def test_the_contract_tests_pass_over_it_in_both_architectures() -> None:
    done = run("pytest", "tests/contract", "-q", "-k", "sockets", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:]
    assert " passed" in done.stdout


@pytest.mark.usefixtures("redis_url")
def test_a_second_of_stress_measures_it(tmp_path: Path) -> None:
    words = ("stress", "sockets", "--study", "clients", "--seconds", "1s", "--results", str(tmp_path))
    done = run("lab", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    points = measured(tmp_path)["points"]
    assert {point["middleware"] for point in points} == {"sockets"}
    assert {point["architecture"] for point in points} == {"one-node", "n-node"}
    assert "Sockets" in next(tmp_path.glob("2*/report.html")).read_text(encoding="utf-8")


@pytest.mark.usefixtures("redis_url")
def test_its_speedup_is_measured_with_one_second_windows(tmp_path: Path) -> None:
    words = ("--nodes", "1,2", "--trials", "1", "--seconds", "1s", "--results", str(tmp_path))
    done = run("lab", "speedup", "sockets", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [point["nodes"] for point in measured(tmp_path)["points"]].count(2) == 1


@pytest.mark.usefixtures("redis_url")
def test_it_is_compared_with_another(tmp_path: Path) -> None:
    words = ("sockets", "redis_impl", "--blocks", "1", "--seconds", "1s", "--results", str(tmp_path))
    done = run("lab", "compare", *words)
    assert "no verdict: fewer than 3 blocks" in done.stdout + done.stderr
    assert {point["middleware"] for point in measured(tmp_path)["points"]} == {"sockets", "redis_impl"}


@pytest.mark.usefixtures("redis_url")
def test_replies_that_are_lost_have_no_effect_twice_over_it(tmp_path: Path) -> None:
    words = ("--only", "sockets", "--scenario", "replies", "--results", str(tmp_path))
    done = run("lab", "faults", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Sockets" in next(tmp_path.glob("2*/report.html")).read_text(encoding="utf-8")


def test_it_is_served_and_talked_to() -> None:
    serve = [sys.executable, "-m", "lab", "serve", "sockets", "filter", "--free-ports"]
    process = subprocess.Popen(
        serve,
        cwd=ROOT,
        env={**os.environ, **ADDED},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        lines = iter(process.stdout or ())
        address = next(line.split()[1] for line in lines if line.startswith("node "))
        done = run("lab", "shell", "sockets", "--address", address, text="filter quin tonto\n")
        assert done.stdout.strip() == "quin CENSORED"
    finally:
        process.terminate()
        process.communicate(timeout=TIMEOUT_SECONDS)


@pytest.mark.parametrize("command", ["stress", "speedup", "serve", "shell", "faults"])
def test_the_help_of_a_command_lists_it(command: str) -> None:
    assert "sockets" in run("lab", command, "--help").stdout


@pytest.mark.parametrize(
    ("package", "said"), [("examples.nobody", "cannot load"), ("json", "declares no MIDDLEWARE")]
)
@pytest.mark.parametrize("words", [("lab", "stress", "xmlrpc"), ("tests.stress", "xmlrpc")])
def test_an_unknown_package_is_refused_in_one_line(package: str, said: str, words: tuple[str, ...]) -> None:
    done = run(*words, LAB_MIDDLEWARES=package)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_each_of_seven_middlewares_has_a_look_of_its_own() -> None:
    from harness.report.plots.style import LOOKS, PALETTE

    assert len(set(PALETTE)) == len({look.marker for look in PALETTE}) == 7
    assert [LOOKS[name] for name in MIDDLEWARES] == list(PALETTE[: len(MIDDLEWARES)])
