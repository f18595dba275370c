"""Sessions as pages show them, each server in a process of its own: run, and compared with what is shown."""

import doctest
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.bootstrap import ROOT
from tests.eventually import eventually

TIMEOUT_SECONDS = 60
INTERRUPTED = 130
_BLOCK = re.compile(r"^```console\n\$ ([^\n]+)\n(.*?)^```$", re.M | re.S)
_DIALOGUE = re.compile(r"^[\w-]+> (.+)\n((?:(?![\w-]+> ).+\n)*)", re.M)


@dataclass(frozen=True)
class Block:
    """What stands in one terminal: a command, and what it prints or is told."""

    command: str
    output: str

    @property
    def is_server(self) -> bool:
        """Tell whether it runs until it is ended."""
        return self.output.startswith('{"ready"')

    @property
    def is_system(self) -> bool:
        """Tell whether it is a whole system, which runs until Ctrl-C."""
        return re.search(r"-m lab (serve|watch) ", self.command) is not None

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        """What is typed at the prompts of a shell, and the answers."""
        return _DIALOGUE.findall(self.output)


def blocks_of(part: str) -> list[Block]:
    """Return the terminals that a part of a page shows."""
    return [Block(*block) for block in _BLOCK.findall(part)]


def play(blocks: list[Block], environment: dict[str, str]) -> None:
    """Do what *blocks* say, one after the other; servers run until the last is done."""
    process = ""
    with ExitStack() as stack:
        for block in blocks:
            if block.is_system:
                said = stack.enter_context(system(block.command, environment))
                assert shows(block.output.replace("PID", "..."), said), said
                process = "".join(re.findall(r"\(process (\d+)\)", said)[-1:])
            elif block.is_server:
                said = stack.enter_context(server(block.command, environment))
                assert shows(block.output.replace("insults", environment["LAB_NAMESPACE"]), said)
            elif block.dialogue:
                for typed, answer in block.dialogue:
                    # Each line until it is answered so: what one node stored, another knows within a second.
                    eventually(partial(is_answered, block.command, typed, answer, environment))
            else:
                command = re.sub(r"\bPID\b", process, block.command)
                assert shows(block.output, run(command, environment))


@contextmanager
def server(command: str, environment: dict[str, str]) -> Iterator[str]:
    """Start a server and give the line by which it says that it is ready; end it as Ctrl-C does not: TERM."""
    with subprocess.Popen(
        ["sh", "-c", f"exec {here(command)}"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_SECONDS) == 0
        finally:
            process.kill()


@contextmanager
def system(command: str, environment: dict[str, str]) -> Iterator[str]:
    """Start a system, give what it says until it serves, and press Ctrl-C at the end."""
    with (
        tempfile.NamedTemporaryFile("w") as said,
        subprocess.Popen(
            ["sh", "-c", f"exec {here(command)}"], cwd=ROOT, env=environment, stdout=said, stderr=said
        ) as process,
    ):
        words = Path(said.name).read_text
        try:
            eventually(lambda: "Ctrl-C ends" in words() or process.poll() is not None, TIMEOUT_SECONDS)
            yield words()
            process.send_signal(signal.SIGINT)
            assert process.wait(TIMEOUT_SECONDS) == INTERRUPTED
        finally:
            process.kill()


def is_answered(command: str, typed: str, answer: str, environment: dict[str, str]) -> bool:
    """Tell whether a shell answers *typed* with *answer*."""
    return shows(answer, run(command, environment, typed))


def run(command: str, environment: dict[str, str], typed: str = "") -> str:
    """Run *command* to its end; return what it printed."""
    return subprocess.run(
        ["sh", "-c", here(command)],
        cwd=ROOT,
        env=environment,
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    ).stdout


def here(command: str) -> str:
    """Return *command* for this interpreter."""
    return re.sub(r"\bpython3? (?=-[mc])", f"'{sys.executable}' ", command)


def shows(expected: str, got: str) -> bool:
    """Compare; ``...`` and times of day stand for what varies."""
    timeless = re.sub(r"\d\d:\d\d:\d\d", "...", expected)
    return doctest.OutputChecker().check_output(timeless, got, doctest.ELLIPSIS)
