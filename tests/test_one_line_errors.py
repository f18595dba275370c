"""No traceback reaches a person: whatever the terminal, the folder or the input is like, it is one line."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.contract import Target
from lab.errors import InvalidRequest, Unavailable
from lab.middleware import MIDDLEWARES

SECONDS = 120
PROGRAMS = [
    "lab",
    "lab doctor",
    "lab doctor --json",
    "lab stress --help",
    "xmlrpc.master --help",
    "dynamic.publisher --help",
    "tests.stress --help",
]
"""One of each way to start a program, and of each way to write."""
KINDS = ["lab doctor", "lab stress --help", "xmlrpc.master --help"]
NOWHERE = {"LAB_REDIS_URL": "redis://127.0.0.1:9/0", "LAB_AMQP_URL": "amqp://127.0.0.1:9/%2F"}
ADDRESSES = [
    "foo",
    "http://[::1",
    "redis://h:x/0",
    "amqp://h:99999/",
    "PYRO:x",
    "http://h:0x",
    "://",
    "ü:1",
    "redis://h:1/0?foo=1",
]


def run(command: str, **how: object) -> "subprocess.CompletedProcess[bytes]":
    """Run ``python -m COMMAND`` to its end."""
    options: dict[str, object] = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **how}
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*command_line(command)], stderr=subprocess.PIPE, check=False, timeout=SECONDS, **options
    )


def command_line(command: str) -> list[str]:
    return [sys.executable, "-m", *command.split()]


def shell(
    middleware: str, typed: bytes, *options: str, **variables: str
) -> "subprocess.CompletedProcess[bytes]":
    """Type *typed* into a shell of *middleware*; nobody serves there."""
    words = f"lab shell {middleware} --deadline 200ms {' '.join(options)}"
    return run(words, stdin=None, input=typed, env={**os.environ, **NOWHERE, **variables})


@pytest.mark.parametrize(
    ("command", "said"),
    [
        *(
            (f"{package}.stock {role} --architecture n-node", f"{role}: UNAVAILABLE: Redis does not serve: ")
            for package in ("xmlrpc", "pyro4", "redis_impl")
            for role in ("service", "filter", "broadcaster")
        ),
        *(
            (f"rabbitmq.stock {role}", ": RabbitMQ does not answer: ")
            for role in ("service", "filter", "subscriber")
        ),
    ],
)
def test_a_stock_program_without_its_broker_says_so_in_one_line(command: str, said: str) -> None:
    done = run(command, env={**os.environ, **NOWHERE})
    (line,) = done.stderr.decode().splitlines()
    assert said in line
    assert done.returncode == 1
    assert done.stdout == b""


def is_calm(said: bytes) -> bool:
    """Tell whether no line of *said* is one of a traceback or a warning."""
    return not any(word in said for word in (b"Traceback", b"Exception ignored", b"Warning", b"  File"))


@pytest.fixture(params=["", "1"], ids=["buffered", "unbuffered"])
def environment(request: pytest.FixtureRequest) -> dict[str, str]:
    """The environment: Python notices a broken output with the first line, or at the end only."""
    return {**os.environ, "PYTHONUNBUFFERED": request.param}


@pytest.mark.parametrize("command", KINDS)
def test_an_output_that_nobody_reads_ends_a_program_in_silence(
    command: str, environment: dict[str, str]
) -> None:
    read, write = os.pipe()
    os.close(read)  # as `| head -1` does, after its line
    try:
        done = run(command, stdout=write, env=environment)
    finally:
        os.close(write)
    assert (done.stderr, done.returncode) == (b"", 1)


@pytest.mark.parametrize("command", PROGRAMS)
def test_an_output_that_is_full_is_one_line(command: str) -> None:
    buffer = "" if command in KINDS else "1"
    with Path("/dev/full").open("w") as full:
        done = run(command, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": buffer})
    assert done.stderr == b"lab: No space left on device\n"
    assert done.returncode == 1


@pytest.mark.parametrize("command", ["lab doctor", "pyro4.name_server --help"])
def test_an_output_and_an_error_output_that_are_full_do_no_harm(
    command: str, environment: dict[str, str]
) -> None:
    with Path("/dev/full").open("w") as full:
        words = command_line(command)
        done = subprocess.run(words, stdout=full, stderr=full, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("middleware", "locale"),
    [
        ("xmlrpc", {}),
        ("pyro4", {"LC_ALL": "POSIX"}),
        ("redis_impl", {"LC_ALL": "C", "PYTHONUTF8": "0"}),
        ("rabbitmq", {}),
    ],
)
def test_the_shell_answers_each_line_that_it_cannot_use(middleware: str, locale: dict[str, str]) -> None:
    typed = b"filter caf\xc3\xa9\nadd \xff\nsing\n"
    done = shell(
        middleware,
        typed,
        "--address",
        "127.0.0.1:9" if middleware == "pyro4" else _nowhere(middleware),
        **locale,
    )
    assert is_calm(done.stderr), done.stderr
    first, second, third = done.stderr.decode().splitlines()
    assert first.partition(":")[0] in ("UNAVAILABLE", "DEADLINE_EXCEEDED"), first
    assert second == "BAD_ENCODING: this line is not utf-8"
    assert third.startswith("no word 'sing'")
    assert done.returncode == 1


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_an_address_that_is_none_is_malformed(middleware: str) -> None:
    done = shell(middleware, b"list\n", "--address", "http://[::1")
    assert is_calm(done.stderr), done.stderr
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("MALFORMED: ")
    assert done.returncode == 1
    for address in ADDRESSES:
        with (
            pytest.raises((InvalidRequest, Unavailable)),  # ü is a host, if an unlikely one
            MIDDLEWARES[middleware].service_client(Target(address), 0.2) as client,
        ):
            client.get_insults()


@pytest.mark.parametrize("command", ["lab doctor", "lab report /none", "lab down"])
def test_a_program_that_treats_warnings_as_errors_prints_none(command: str) -> None:
    done = run(command, env={**os.environ, "PYTHONWARNINGS": "error"})
    assert is_calm(done.stderr), done.stderr


def _nowhere(middleware: str) -> str:
    schemes = {"redis_impl": "redis", "rabbitmq": "amqp"}
    return f"{schemes.get(middleware, 'http')}://127.0.0.1:9"


class Checkout:
    """A copy of the lab that its user may read and not write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        names = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
        for path in names:
            ignore = shutil.ignore_patterns("__pycache__", ".*", "2*-*", "latest")
            shutil.copytree(path, root / path.name, ignore=ignore)
        for file in ROOT.glob("requirements*.txt"):
            shutil.copy(file, root)

    def may_be_written(self, may: bool) -> None:
        for path in [self.root, *self.root.rglob("*")]:
            path.chmod(path.stat().st_mode | 0o200 if may else path.stat().st_mode & ~0o222)

    def run(self, command: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
        # root may write everything, unless it gives this right away
        prefix = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment}
        return subprocess.run(
            [*prefix, *command_line(command)],
            cwd=self.root,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=SECONDS,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    if os.geteuid() == 0 and not shutil.which("setpriv"):
        pytest.skip("root without setpriv may write everything")
    checkout = Checkout(tmp_path_factory.mktemp("read-only") / "lab")
    checkout.may_be_written(False)
    yield checkout
    checkout.may_be_written(True)


UNWRITABLE = {
    "doctor": (1, "MISSING"),
    "down": (0, "nothing is up"),
    "up": (1, "/.lab: Permission denied"),
    "run --only xmlrpc": (2, "cannot hold results"),
    "faults": (2, "cannot hold results"),
    "report": (2, "no such folder"),
    "plan --rate 5": (2, "no speedup is measured yet"),
}
"""Commands in a folder that may not be written: the exit code, and what the last line says."""


@pytest.mark.parametrize("command", UNWRITABLE)
def test_in_a_folder_that_may_not_be_written_a_command_works_or_says_why(
    checkout: Checkout, command: str
) -> None:
    code, said = UNWRITABLE[command]
    done = checkout.run(f"lab {command}")
    words = (done.stdout + done.stderr).decode()
    assert is_calm(done.stderr), words
    assert said in words
    assert done.returncode == code, words
    if code:
        assert len(done.stderr.splitlines()) <= 1, words


def test_where_the_environment_cannot_be_made_one_line_says_what_to_do(checkout: Checkout) -> None:
    requirements = checkout.root / "requirements.txt"
    before = requirements.read_bytes()
    requirements.chmod(0o644)
    requirements.write_text("nobody-has-this==1.0\n", encoding="utf-8")
    try:
        done = checkout.run("lab doctor")
    finally:
        requirements.write_bytes(before)
        requirements.chmod(0o444)
    [line] = done.stderr.decode().splitlines()
    assert ".venv cannot be made here" in line
    assert "use a copy of your own" in line
    assert (done.returncode, done.stdout) == (1, b"")


def test_an_environment_of_another_user_is_one_line(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "lab")
    (checkout.root / "requirements.txt").write_text("nobody-has-this==1.0\n", encoding="utf-8")
    hidden = tmp_path / "hidden"
    (hidden / "bin").mkdir(parents=True)
    (hidden / "bin" / "python").symlink_to(sys.executable)
    binaries = checkout.root / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").symlink_to(hidden / "bin" / "python")
    hidden.chmod(0)
    try:
        done = checkout.run("lab doctor")
    finally:
        hidden.chmod(0o755)
    [line] = done.stderr.decode().splitlines()
    assert line.startswith("lab: ")
    assert "Permission denied" in line
    assert done.returncode == 1


def test_an_error_of_the_lab_itself_is_one_line_and_tells_how_to_see_more() -> None:
    program = "import lab; lab.nothing_like_this"
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    [line] = done.stderr.splitlines()
    assert "AttributeError" in line
    assert "LAB_LOG_LEVEL=DEBUG" in line
    environment = {**os.environ, "LAB_LOG_LEVEL": "DEBUG"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr


def test_an_interrupt_ends_with_its_exit_code_also_while_a_class_is_made(tmp_path: Path) -> None:
    program = "import lab.bootstrap as lab; exit(lab.run_program(lambda: exec('raise KeyboardInterrupt')))"
    (tmp_path / "interrupted.py").write_text(program, encoding="utf-8")
    done = run("interrupted", env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (done.returncode, done.stderr) == (130, b"lab: interrupted; everything started is ended\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-"])
def test_a_shell_without_one_of_its_streams_ends_quietly(closed: str) -> None:
    line = " ".join(f"'{word}'" for word in command_line("lab shell xmlrpc --deadline 200ms"))
    done = subprocess.run(
        ["sh", "-c", f"{line} {closed}"],
        cwd=ROOT,
        input=b"insult\n",
        capture_output=True,
        check=False,
        timeout=SECONDS,
    )
    assert is_calm(done.stderr)
    assert b"error of the lab" not in done.stderr
