"""Wrong usage of every command: one clear line on standard error, no traceback, exit code 2."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.record.run import SCHEMA
from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS
from lab.errors import Code, InvalidRequest
from lab.process.launcher import usable_cores

Done = subprocess.CompletedProcess[str]
SECONDS = 60.0
FILES = {
    "empty.txt": b"\n  \n",
    "latin.txt": "señor".encode("latin-1"),
    "file": b"",
    "old/run.json": b'{"schema": 1}',
    "cut/run.json": b'{"schema": 2, "poi',
    "odd/run.json": f'{{"schema": {SCHEMA}, "points": 3}}'.encode(),
    "bare/other": b"",
    "torn/run.jsonl": b'{"schema": 1, "pro',
    "late/run.jsonl": b'{"schema": 9, "configuration": {}, "environment": {}}',
}
"""What a test folder holds; `@` in a command line stands for the folder."""
WRONG = {
    "measure": "no command 'measure'",
    "compair xmlrpc": "did you mean compare?",
    "run --only xmlrpc,corba": "no middleware 'corba'; there are xmlrpc, pyro4, redis_impl, rabbitmq",
    "run --corpus @/empty.txt": "@/empty.txt: holds no line of text",
    "run --only xmlrpc --results @/file": "@/file: cannot hold results",
    "stress corba": "no middleware 'corba'",
    "stress xmlrpc --seconds 0s": "--seconds: '0s' is too short",
    "stress xmlrpc --objective=-5ms": "--objective: '-5ms' is not a time",
    "speedup corba": "no middleware 'corba'",
    "speedup xmlrpc --trials 0": "--trials: '0' is not a whole number, 1 or more",
    "compare xmlrpc rabbitmq:prefetch": "'prefetch' is not option=value",
    "settings --only corba": "no middleware 'corba'; there are xmlrpc, pyro4, redis_impl, rabbitmq",
    "settings --only rabbitmq:colour": "rabbitmq has no setting 'colour'; there are prefetch, confirms,",
    "report @/none": "@/none: no such folder",
    "report @/old": f"@/old/run.json: has schema 1, and this lab reads {SCHEMA}",
    "report @/cut": "@/cut/run.json: is not the record of a run",
    "report @/torn": "@/torn/run.json: is not the record of a run",
    "anatomy --middleware corba": "no middleware 'corba'",
    "growth --only weight": "no study 'weight'; there are insults, subscribers, clients, nodes, requests",
    "serve corba service": "no middleware 'corba'",
    "serve xmlrpc service --nodes 0": "--nodes: '0' is not a number of nodes, 1 or more",
    "serve xmlrpc service --work-time 5ms": "--work-time means nothing to the service",
    "serve xmlrpc service --handler a:b": "--handler means nothing to the service",
    "serve xmlrpc filter --handler nope:x": "--handler: nope:x cannot be loaded: No module named 'nope'",
    "shell corba": "no middleware 'corba'",
    "LAB_SEED=1 doctor": "LAB_SEED is not a setting; there are LAB_REDIS_URL,",
    "LAB_NAMESPACE=a:b down --purge": "'a:b' is not a namespace",
    "LAB_ID_TTL=x doctor": "LAB_ID_TTL='x' must be a whole number",
}
"""Command lines, with variables before them, and what their message must say."""
WRONG_TOO = {
    "compare xmlrpc xmlrpc --blocks 0": "--blocks: '0' is not a whole number, 1 or more",
    "settings --only rabbitmq:prefetch=7": "rabbitmq:prefetch has no value '7'; there are 1, 10, 100, 1000",
    "settings --seconds 2": "--seconds: '2' has no unit; write 2s or 2ms",
    "settings --only xmlrpc --results @/file": "@/file: cannot hold results",
    "speedup xmlrpc --nodes 0": "numbers of nodes start at 1",
    "run --corpus @/latin.txt": "@/latin.txt: not UTF-8",
    "report @/bare": "@/bare/run.json: cannot be read: No such file or directory",
    "run --quick --full": "--quick and --full exclude each other",
    "stress xmlrpc --seconds=-1s": "--seconds: '-1s' is not a time",
    "stress xmlrpc --seconds nan": "--seconds: 'nan' is not a time",
    "speedup xmlrpc --trials=-1": "--trials: '-1' is not a whole number, 1 or more",
    "speedup xmlrpc --nodes=-1,2": "numbers of nodes start at 1",
    "compare xmlrpc xmlrpc --blocks=-1": "--blocks: '-1' is not a whole number, 1 or more",
    "compare xmlrpc xmlrpc:nodes=x": "nodes must be a whole number",
    "compare corba xmlrpc": "no middleware 'corba'",
    "run --corpus @/none.txt": "@/none.txt: cannot be read: No such file or directory",
    "report @/odd": "@/odd/run.json: is damaged",
    "compare xmlrpc xmlrpc --fail-if-slower x": "'x' is not a share such as 10%",
    "report @/late": f"@/late/run.json: has schema 9, and this lab reads {SCHEMA}; measure again",
    "anatomy --clients 0": "--clients: '0' is not a whole number, 1 or more",
    "anatomy --places=-1": "--places: '-1' is not a whole number, 1 or more",
    "anatomy --seconds=inf": "--seconds: 'inf' is not a time",
    "anatomy --quick --full": "not allowed with argument --quick",
    "anatomy --corpus @/empty.txt": "@/empty.txt: holds no line of text",
    "anatomy --results @/file": "@/file: cannot hold results",
    "growth --windows 0": "--windows: '0' is not a whole number, 1 or more",
    "growth --middleware corba": "no middleware 'corba'",
    "growth --quick --full": "not allowed with argument --quick",
    "growth --results @/file": "@/file: cannot hold results",
    "serve redis_impl service --interval 0s": "--interval: '0s' is too short",
    "serve redis_impl talk": "argument application: invalid choice: 'talk'",
    "serve redis_impl filter --namespace *": "'*' is not a namespace",
    "shell redis_impl --deadline 0s": "--deadline: '0s' is too short",
    "serve xmlrpc filter --work-time 5": "--work-time: '5' has no unit; write 5s or 5ms",
    "serve xmlrpc filter --work-cpu 5": "--work-cpu: '5' has no unit",
    "speedup xmlrpc --seconds 4": "--seconds: '4' has no unit",
    "speedup xmlrpc --work-time 4": "'4' has no unit",
    "compare xmlrpc xmlrpc --seconds 4": "--seconds: '4' has no unit",
    "growth --seconds 4": "--seconds: '4' has no unit",
    "plan --objective 50": "--objective: '50' has no unit",
    "dynamic --seconds 10": "--seconds: '10' has no unit",
    "dynamic --work-time 10": "'10' has no unit",
    "watch redis_impl --work-time 20": "--work-time: '20' has no unit",
    "doctor --idle 0": "--idle: '0' has no unit",
    "speedup xmlrpc --nodes 1,100000": "at most 64 nodes",
    "doctor --idle x": "--idle: 'x' is not a time",
    "serve xmlrpc service --nodes=-1": "--nodes: '-1' is not a number of nodes, 1 or more",
}
"""More of the same, tried without a process each."""
HELP = {f"{name} --help": f" {name}" for name in COMMANDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that cannot be used."""
    folder = tmp_path_factory.mktemp("usage")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def results(folder: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, "Future[Done]"]]:
    """What became of the command lines of the tests that were chosen; some run at the same time."""
    chosen = [getattr(item, "callspec", None) for item in request.session.items if item.path == request.path]
    lines = [spec.params["line"] for spec in chosen if spec and "line" in spec.params]
    with ThreadPoolExecutor(max(2, usable_cores())) as pool:
        yield {line: pool.submit(run, line, folder) for line in lines}


def run(line: str, folder: Path) -> Done:
    """Run the command line *line* to its end."""
    words = line.replace("@", str(folder)).split()
    variables = dict(word.split("=", 1) for word in words if word.startswith("LAB_"))
    return subprocess.run(
        [sys.executable, "-m", "lab", *(word for word in words if not word.startswith("LAB_"))],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("line", WRONG)
def test_wrong_usage_is_said_in_one_line(line: str, results: dict[str, "Future[Done]"], folder: Path) -> None:
    done = results[line].result()
    said = done.stderr.splitlines()
    [message] = said
    assert WRONG[line].replace("@", str(folder)) in message
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize("words", WRONG_TOO)
def test_other_wrong_usage_is_refused(words: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, *arguments = words.replace("@", str(folder)).split()
    with pytest.raises((SystemExit, InvalidRequest)) as caught:
        COMMANDS[name].run(arguments)
    [message] = capsys.readouterr().err.splitlines()[-1:] or [str(caught.value)]
    assert WRONG_TOO[words].replace("@", str(folder)) in message
    assert getattr(caught.value, "code", 2) in (2, *Code)


def test_an_experiment_that_is_run_as_a_module_refuses_as_its_command_does() -> None:
    command = [sys.executable, "-m", "tests.stress", "xmlrpc", "--corpus", "/none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = "lab: /none: cannot be read: No such file or directory\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize("line", HELP)
def test_every_command_has_help(line: str, results: dict[str, "Future[Done]"]) -> None:
    done = results[line].result()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")
    assert HELP[line] in done.stdout.replace(".", " ").splitlines()[0]
