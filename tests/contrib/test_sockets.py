"""The example of a fifth middleware passes what the four pass, and its page is true."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contrib.sockets import InsultServiceClient
from lab.bootstrap import ROOT
from lab.contract import Target
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec

PAGE = (ROOT / "docs" / "add-a-middleware.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "contrib" / "sockets.py").read_text(encoding="utf-8")
PIECES = re.findall(r"^```python\n(.*?)\n```$", PAGE, re.M | re.S)
MOST_LINES = 150
ADDED = {"LAB_MIDDLEWARES": "contrib.sockets"}
TIMEOUT_SECONDS = 400.0


@pytest.mark.parametrize("code", PIECES, ids=[piece.split("\n")[0].strip() for piece in PIECES])
def test_a_piece_of_code_stands_in_the_example(code: str) -> None:
    assert code in EXAMPLE


def test_the_page_builds_the_example_step_by_step() -> None:
    assert len(PIECES) > 8
    for name in ("MIDDLEWARE", "WIRE", "PROGRAM", "TOPOLOGY", "InsultServiceClient", "InsultFilterClient"):
        assert any(name in piece for piece in PIECES), name


def test_a_middleware_costs_one_file_of_at_most_150_lines() -> None:
    lines = len(EXAMPLE.splitlines())
    assert lines <= MOST_LINES
    assert f"{lines} lines" in PAGE


def test_the_capability_table_is_that_of_the_example() -> None:
    (table,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.S)
    assert table in (ast.get_docstring(ast.parse(EXAMPLE)) or "")


def test_every_contract_test_that_is_explained_exists() -> None:
    explained = set(re.findall(r"^\| `(test_\w+\.py)` ", PAGE, re.M))
    assert explained == {path.name for path in (ROOT / "tests" / "contract").glob("test_*.py")}


@pytest.mark.parametrize("role", ["master", "broadcaster", "service", "filter", "subscriber"])
def test_a_role_tells_its_options(role: str) -> None:
    words = [sys.executable, "-m", "contrib.sockets", role, "--help"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "--namespace" in done.stdout


def test_a_subscriber_prints_what_a_node_broadcasts() -> None:
    arguments = ("service", "--port", "0", "--interval", "100ms")
    with LocalLauncher() as launcher:
        node = launcher.start(ProcessSpec("service", "contrib.sockets", arguments))
        with InsultServiceClient(Target(node.address)) as client:
            client.add_insult("tonto")
            client.start_broadcast()
        words = [sys.executable, "-m", "contrib.sockets", "subscriber", "--address", node.address]
        done = subprocess.run(
            [*words, "--count", "2"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("tonto") == 2


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
def test_stress_measures_it(tmp_path: Path) -> None:
    words = ("stress", "sockets", "--rate", "100", "--seconds", "300ms", "--results", str(tmp_path))
    done = run("lab", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    points = measured(tmp_path)["points"]
    assert {point["middleware"] for point in points} == {"sockets"}
    assert {point["architecture"] for point in points} == {"one-node", "n-node"}
    assert "Sockets" in next(tmp_path.glob("2*/report.html")).read_text(encoding="utf-8")


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


@pytest.mark.parametrize("command", ["stress", "serve"])
def test_the_help_of_a_command_lists_it(command: str) -> None:
    assert "sockets" in run("lab", command, "--help").stdout


@pytest.mark.parametrize(
    ("package", "said"), [("examples.nobody", "cannot load"), ("json", "declares no MIDDLEWARE")]
)
def test_an_unknown_package_is_refused_in_one_line(package: str, said: str) -> None:
    done = run("lab", "stress", "xmlrpc", LAB_MIDDLEWARES=package)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_each_of_seven_middlewares_has_a_look_of_its_own() -> None:
    from harness.report.plots.style import LOOKS, PALETTE

    assert len(set(PALETTE)) == len({look.marker for look in PALETTE}) == 7
    assert [LOOKS[name] for name in MIDDLEWARES] == list(PALETTE[: len(MIDDLEWARES)])
