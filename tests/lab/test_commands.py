"""Commands: the first start, wrong usage in one line, and help."""

import ast
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from zipfile import ZipFile

import pytest

from harness.record.run import SCHEMA
from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS
from lab.errors import Code, InvalidRequest

COMMAND = """
import sys

def up(argv):
    print(sys.prefix)
    return 0
"""
PROGRAMS = [
    "xmlrpc.master",
    "pyro4.name_server",
    "redis_impl.subscriber",
    "rabbitmq.broadcaster",
    "dynamic.simulator.figures",
]
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
    "late/run.jsonl": b'{"schema": 99, "configuration": {}, "environment": {}}',
}
"""What a test folder holds; `@` in a command line stands for the folder."""
WRONG = {
    "weigh": "no command 'weigh'",
    "compair xmlrpc": "did you mean compare?",
    "LAB_SEED=1 doctor": "LAB_SEED is not a setting; there are LAB_REDIS_URL,",
    "LAB_NAMESPACE=a:b down --purge": "'a:b' is not a namespace",
    "LAB_ID_TTL=x doctor": "LAB_ID_TTL='x' must be a whole number",
    "LAB_ID_TTL=9999999999 doctor": "LAB_ID_TTL='9999999999' must be less than a billion",
    "LAB_INSTALL=never stress xmlrpc --yes": "LAB_INSTALL=never forbids --yes",
}
"""Command lines, with variables before them, and what their message must say."""
WRONG_TOO = {
    "stress xmlrpc --seconds 0s": "--seconds: '0s' is too short",
    "run --corpus @/empty.txt": "@/empty.txt: holds no line of text",
    "run --only xmlrpc,corba": "no middleware 'corba'; there are xmlrpc, pyro4, redis_impl, rabbitmq",
    "run --only xmlrpc --results @/file": "@/file: cannot hold results",
    "stress corba": "no middleware 'corba'",
    "stress xmlrpc --objective=-5ms": "--objective: '-5ms' is not a time",
    "speedup corba": "no middleware 'corba'",
    "speedup xmlrpc --blocks 0": "--blocks: '0' is not a whole number, 1 or more",
    "compare xmlrpc rabbitmq:prefetch": "'prefetch' is not option=value",
    "settings --only corba": "--only: 'corba'; possible is xmlrpc, pyro4, redis_impl, rabbitmq",
    "settings --only rabbitmq:colour": "'rabbitmq:colour'; possible is rabbitmq:prefetch,",
    "report @/none": "@/none: no such folder",
    "report @/old": f"@/old/run.json: has schema 1, and this lab reads {SCHEMA}",
    "report @/cut": "@/cut/run.json: is not the record of a run",
    "report @/torn": "@/torn/run.json: is not the record of a run",
    "anatomy --middleware corba": "no middleware 'corba'",
    "growth --only weight": "no study 'weight'; there are insults, subscribers, clients, nodes,",
    "faults --scenario kill": "no scenario 'kill'; there are kills, frozen",
    "faults --only pyro5": "no middleware 'pyro5'; there are xmlrpc",
    "faults --soak 0s": "'0s' is too short",
    "serve corba service": "no middleware 'corba'",
    "serve xmlrpc service --nodes 0": "--nodes: '0' is not a number of nodes, 1 or more",
    "serve xmlrpc service --work-time 5ms": "--work-time means nothing to the service",
    "serve xmlrpc service --handler string:capwords": "--handler means nothing to the service",
    "serve xmlrpc filter --handler nope:x": "--handler: nope:x cannot be loaded: No module named 'nope'",
    "shell corba": "no middleware 'corba'",
    "compare xmlrpc xmlrpc --blocks 0": "--blocks: '0' is not a whole number, 1 or more",
    "settings --only rabbitmq:prefetch=7": "possible is rabbitmq:prefetch=1, rabbitmq:prefetch=10,",
    "settings --window 2": "--window: '2' has no unit; write 2s or 2ms",
    "settings --only xmlrpc --results @/file": "@/file: cannot hold results",
    "speedup xmlrpc --nodes 0": "numbers of nodes start at 1",
    "run --corpus @/latin.txt": "@/latin.txt: not UTF-8",
    "report @/bare": "@/bare/run.json: cannot be read: No such file or directory",
    "run --quick --full": "--quick and --full exclude each other",
    "stress xmlrpc --seconds=-1s": "--seconds: '-1s' is not a time",
    "stress xmlrpc --seconds nan": "--seconds: 'nan' is not a time",
    "speedup xmlrpc --blocks=-1": "--blocks: '-1' is not a whole number, 1 or more",
    "speedup xmlrpc --nodes=-1,2": "numbers of nodes start at 1",
    "compare xmlrpc xmlrpc --blocks 1": "blocks: 1; possible is 2 or more",
    "compare redis_impl:foo=1 redis_impl": "foo: no such factor; possible is middleware,",
    "compare rabbitmq:prefetch=-1 rabbitmq": "prefetch: '-1'; possible is a whole number, 1 or more",
    "compare redis_impl:nodes=0 redis_impl": "nodes: '0'; possible is a whole number, 1 or more",
    "compare xmlrpc xmlrpc --blocks=-1": "--blocks: '-1' is not a whole number, 1 or more",
    "compare xmlrpc xmlrpc:nodes=x": "nodes: 'x'; possible is a whole number, 1 or more",
    "compare corba xmlrpc": "middleware: 'corba'; possible is xmlrpc, pyro4,",
    "run --corpus @/none.txt": "@/none.txt: cannot be read: No such file or directory",
    "report @/odd": "@/odd/run.json: is damaged",
    "compare xmlrpc xmlrpc --fail-if-slower x": "'x' is not a share such as 10%",
    "report @/late": f"@/late/run.json: has schema 99, and this lab reads {SCHEMA}; measure again",
    "anatomy --clients 0": "--clients: '0' is not from 1 to 10000",
    "anatomy --places=-1": "--places: '-1' is not a whole number, 1 or more",
    "anatomy --seconds=inf": "--seconds: 'inf' is not a time",
    "anatomy --quick --full": "not allowed with argument --quick",
    "anatomy --corpus @/empty.txt": "@/empty.txt: holds no line of text",
    "anatomy --results @/file": "@/file: cannot hold results",
    "growth --blocks 0": "--blocks: '0' is not a whole number, 1 or more",
    "growth --middleware corba": "no middleware 'corba'",
    "growth --results @/file": "@/file: cannot hold results",
    "serve redis_impl service --interval 0s": "--interval: '0s' is too short",
    "serve redis_impl talk": "argument application: invalid choice: 'talk' (choose from service, filter)",
    "shell redis_impl --architecture x": "invalid choice: 'x' (choose from one-node, n-node)",
    "stress redis_impl --application x": "invalid choice: 'x' (choose from service, filter)",
    "anatomy --architecture x": "invalid choice: 'x' (choose from one-node, n-node)",
    "serve redis_impl filter --namespace *": "'*' is not a namespace",
    "shell redis_impl --deadline 0s": "--deadline: '0s' is too short",
    "serve xmlrpc filter --work-time 5": "--work-time: '5' has no unit; write 5s or 5ms",
    "serve xmlrpc filter --work-cpu 5": "--work-cpu: '5' has no unit",
    "speedup xmlrpc --window 4": "--window: '4' has no unit",
    "speedup xmlrpc --work-time 4": "'4' has no unit",
    "compare xmlrpc xmlrpc --window 4": "--window: '4' has no unit",
    "growth --window 4": "--window: '4' has no unit",
    "plan --objective 50": "--objective: '50' has no unit",
    "dynamic --seconds 10": "--seconds: '10' has no unit",
    "dynamic --work-time 10": "'10' has no unit",
    "watch redis_impl --work-time 20": "--work-time: '20' has no unit",
    "doctor --idle 0": "--idle: '0' has no unit",
    "speedup xmlrpc --nodes 1,100000": "at most 64 nodes",
    "doctor --idle x": "--idle: 'x' is not a time",
    "compare xmlrpc:nodes=3,nodes=4 xmlrpc": "gives nodes twice",
    "compare xmlrpc:nodes=100000 xmlrpc": "nodes: '100000'; possible is a whole number up to 64",
    "compare redis_impl:batch=100000 redis_impl": "batch: '100000'; possible is a whole number up to 1000",
    "compare rabbitmq:prefetch=100000 rabbitmq": "prefetch: '100000'; possible is a whole number up to 65535",
    "speedup xmlrpc --in-flight 1001": "in flight: '1001'; possible is a whole number up to 1000",
    "speedup xmlrpc --clients 100000": "clients: '100000'; possible is a whole number up to 10000",
    "speedup xmlrpc --unchecked": "unchecked: only the answers of a handler",
    "growth --only nodes --nodes 1,0": "nodes: '0'; possible is a whole number, 1 or more",
    "stress xmlrpc --constant": "--constant is of a plan",
    "stress xmlrpc --rate 5 --study clients": "leave --study out",
    "stress xmlrpc --results=": "--results: give the name of a folder",
    "dynamic --speed 5": "--speed is of a trace; give --trace, too",
    "dynamic --calibrate --export keda": "not allowed with argument --calibrate",
    "dynamic --seed=-1": "--seed: '-1' is not from 0 to",
    "faults xmlrpc --only pyro4": "NAMES and --only are the same",
    "anatomy --clients 99999999": "--clients: '99999999' is not from 1 to 10000",
    "serve xmlrpc filter --nodes 1000000": "1000000 nodes are more than the 1000 that a master knows",
    "serve xmlrpc filter --handler os:getcwd": "os:getcwd cannot be called with one text",
    "shell xmlrpc --deadline 25h": "deadline_seconds must be above 0 and at most 86400 seconds",
    "watch xmlrpc filter --interval 5s": "--interval means nothing to the filter",
    "serve redis_impl service --on-demand": "--on-demand means nothing to the service",
    "serve xmlrpc filter --interval 5s": "--interval means nothing to the filter",
    "serve xmlrpc filter --insults @/none": "@/none: cannot be read: No such file or directory",
    "serve rabbitmq filter --nodes 2 --insults @/latin.txt": "@/latin.txt: not UTF-8",
    "up --host 203.0.113.7": "203.0.113.7 is no address of this machine",
    "up --host nowhere.invalid": "nowhere.invalid is no address of this machine",
    "up --host 127.0.0.1:80": "'127.0.0.1:80' is not a host",
    "machine --scheduler --host ::1": "--host: machines measure together over IPv4 only",
    "machine --scheduler --host 203.0.113.7": "203.0.113.7 is no address of this machine",
    "serve xmlrpc service --nodes=-1": "--nodes: '-1' is not a number of nodes, 1 or more",
}
"""More of the same, tried without a process each."""


class Clone:
    """A copy of the lab that requires one small package, which pip finds beside it, without a network."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "a clone"
        self.venv = self.root / ".venv"
        self.wheels = folder / "wheels"  # a place without a space: pip would take it for two
        self.wheels.mkdir()
        self.first_runs: list[tuple[str, str, int]] = []
        shutil.copytree(ROOT / "lab", self.root / "lab", ignore=shutil.ignore_patterns("__pycache__"))
        (self.root / "lab" / "cli" / "brokers.py").write_text(COMMAND)
        self.require("1.0")

    def require(self, release: str) -> None:
        """Require *release* of the package, and publish it."""
        (self.root / "requirements.txt").write_text(f"labprobe=={release}\n")
        name = f"labprobe-{release}"
        with ZipFile(self.wheels / f"{name}-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}.dist-info/METADATA", f"Name: labprobe\nVersion: {release}\n")
            wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}.dist-info/RECORD", "")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start ``python -m lab up``, which here prints where it runs."""
        quiet = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "LAB_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "lab", *(arguments or ["up"])],
            cwd=self.root,
            env={**quiet, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run it to its end; return exit code, output and messages."""
        process = self.start(*arguments)
        output, messages = process.communicate()
        return process.returncode, output.strip(), messages

    def installed(self) -> str:
        """Return the release that is installed in its environment."""
        [folder] = self.venv.glob("lib/*/site-packages/labprobe-*.dist-info")
        return folder.name.split("-")[1].removesuffix(".dist")


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    """A clone that was never started."""
    return Clone(tmp_path)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone that two processes started at once, after a start that was interrupted while it made ``.venv``.

    To make an environment takes ten seconds, so the tests share one.
    """
    clone = Clone(tmp_path_factory.mktemp("started"))
    (clone.venv / "bin").mkdir(parents=True)
    (clone.venv / "bin" / "python").write_text("half of it")
    (clone.venv / "unfinished").touch()
    processes = [clone.start(), clone.start()]
    clone.first_runs = [(*process.communicate(), process.returncode) for process in processes]
    return clone


def test_two_first_starts_at_once_both_run_in_the_new_environment(started: Clone) -> None:
    assert [(output, code) for output, _, code in started.first_runs] == [(f"{started.venv}\n", 0)] * 2


def test_two_first_starts_at_once_install_once(started: Clone) -> None:
    assert sum(messages.count("installing") for _, messages, _ in started.first_runs) == 1


def test_an_environment_whose_making_was_interrupted_is_made_again(started: Clone) -> None:
    assert not (started.venv / "unfinished").exists()
    assert (started.venv / "bin" / "python").read_bytes()[:4] != b"half"


def test_a_second_start_installs_nothing(started: Clone) -> None:
    assert started.run() == (0, str(started.venv), "")


def test_changed_requirements_are_installed(started: Clone) -> None:
    started.require("2.0")
    assert started.run()[0] == 0
    assert started.installed() == "2.0"


def test_an_environment_of_somebody_else_is_never_deleted(clone: Clone) -> None:
    clone.venv.mkdir()
    (clone.venv / "theirs").touch()
    code, _, messages = clone.run()
    assert (code, (clone.venv / "theirs").exists()) == (1, True)
    assert "delete it and try again" in messages


def test_an_interpreter_that_has_everything_is_used_as_it_is(clone: Clone) -> None:
    (clone.root / "requirements.txt").write_text(f"pytest=={version('pytest')}\n")
    assert clone.run() == (0, sys.prefix, "")


def test_what_pip_cannot_install_is_reported_with_the_fix_and_tried_again(started: Clone) -> None:
    (started.root / "requirements.txt").write_text("labprobe==9.9\n")
    code, _, messages = started.run()
    started.require("3.0")
    assert code == 1
    assert messages.splitlines()[-1].startswith("lab: pip could not install requirements.txt")
    assert started.run()[0] == 0


@pytest.mark.parametrize("release", [(3, 7), (3, 10)])
def test_an_older_python_reads_a_sentence_not_a_syntax_error(release: tuple[int, int]) -> None:
    source = (ROOT / "lab" / "__init__.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=release)
    refusal = next(place for place, node in enumerate(tree.body) if isinstance(node, ast.If))
    imports = [place for place, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom)]
    assert all(place > refusal for place in imports)


def test_an_unknown_command_is_wrong_usage_and_names_the_nearest(clone: Clone) -> None:
    code, _, messages = clone.run("tset")
    assert (code, messages) == (2, "lab: no command 'tset'; did you mean test?\n")


def test_the_help_names_every_command_and_installs_nothing(clone: Clone) -> None:
    code, output, messages = clone.run("--help")
    assert (code, messages, clone.venv.exists()) == (0, "", False)
    assert {"run", "test", "check", "up", "down", "doctor"} <= set(output.split())


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_missing_package_is_one_line_with_the_fix(module: str) -> None:
    without_packages = [sys.executable, "-S", "-m", module, "--help"]
    done = subprocess.run(without_packages, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert ". .venv/bin/activate" in done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with files that cannot be used."""
    folder = tmp_path_factory.mktemp("usage")
    for name, content in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


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
def test_wrong_usage_is_one_line(line: str, folder: Path) -> None:
    done = run(line, folder)
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


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(SystemExit):
        assert COMMANDS[name].run(["--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: ")
    assert f" {name}" in said.replace(".", " ").splitlines()[0]
