"""The sessions of the README, on the ports that it shows."""

import re
import signal
import subprocess

import pytest

from dynamic.events import EventNames
from dynamic.queues import EventQueues
from lab.bootstrap import ROOT
from lab.middleware import MIDDLEWARES
from lab.settings import settings
from tests.sessions import TIMEOUT_SECONDS, Block, blocks_of, here, play, run

README = ROOT / "README.md"


def session(name: str) -> list[Block]:
    """Return the blocks of a session."""
    text = README.read_text(encoding="utf-8")
    return blocks_of(text.partition(f"<!-- session: {name} -->")[2].partition("\n### ")[0])


@pytest.mark.parametrize("middleware", MIDDLEWARES)
def test_a_session_shows_what_the_readme_says(middleware: str, terminal: dict[str, str]) -> None:
    blocks = session(middleware)
    assert any(block.is_server for block in blocks)
    play(blocks, terminal)


def test_the_scaling_session_shows_what_the_readme_says(terminal: dict[str, str], amqp_url: str) -> None:
    controller, publisher = session("dynamic")
    form = re.escape(controller.output.splitlines()[-1])
    line = re.compile(re.sub(r"\d+(\\\.\d+)?", r"[\\d.]+", form).replace(r"\.\.\.", ".*"))
    names = EventNames(terminal["LAB_NAMESPACE"])
    with EventQueues(amqp_url, names, settings().queue_type) as queues:
        with subprocess.Popen(
            ["sh", "-c", f"exec {here(controller.command)}"],
            cwd=ROOT,
            env=terminal,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert "0 ready" in process.stdout.readline()
                assert run(publisher.command, terminal).endswith(publisher.output[-24:])
                process.send_signal(signal.SIGTERM)
                shown = process.stdout.read().splitlines()
                assert process.wait(TIMEOUT_SECONDS) == 0
            finally:
                process.kill()
        assert queues.read().waiting == 0
        queues.delete()
    assert any(line.fullmatch(one) and " 0 ready" not in one for one in shown)
