"""docs/tutorial.md: its sessions are played, then its experiments run, some at the same time."""

import os
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from tests.sessions import Block, blocks_of, here, play

PAGE = ROOT / "docs" / "tutorial.md"
STEPS = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
SESSIONS = {step.partition("\n")[0]: blocks_of(step) for step in STEPS if blocks_of(step)}
EXPERIMENTS = [
    line
    for step in STEPS
    for block in re.findall(r"^```sh\n(.*?)^```$", step, re.M | re.S)
    for line in block.splitlines()
]
AT_ONCE = 6
SECONDS = 300.0

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def experiments(
    redis_url: str, amqp_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, "Future[Done]"]]:
    """What becomes of the experiments; they begin when the sessions have left the usual ports."""
    environment = {**os.environ, "LAB_REDIS_URL": redis_url, "LAB_AMQP_URL": amqp_url}
    results = tmp_path_factory.mktemp("results")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {line: pool.submit(experiment, line, environment, results) for line in EXPERIMENTS}


def experiment(command: str, environment: dict[str, str], results: Path) -> Done:
    """Run *command* to its end, its results elsewhere than where the reader's go."""
    where = "" if "simulator" in command else f" --results '{results}'"
    return subprocess.run(
        ["sh", "-c", here(command) + where],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )


@pytest.mark.slow
@pytest.mark.parametrize("blocks", SESSIONS.values(), ids=list(SESSIONS))
def test_a_session_shows_what_the_tutorial_says(blocks: list[Block], terminal: dict[str, str]) -> None:
    play(blocks, terminal)


@pytest.mark.slow
@pytest.mark.parametrize("command", EXPERIMENTS)
def test_an_experiment_runs_to_its_end(command: str, experiments: dict[str, "Future[Done]"]) -> None:
    done = experiments[command].result(SECONDS)
    said = done.stdout + done.stderr
    # Beside others on a busy machine a comparison may have nothing to judge, and says so.
    assert done.returncode == 0 or "no verdict: fewer than 3 blocks are whole and valid" in said, said
    assert "report: " in said or "late %" in said, said
    assert "Traceback" not in said


def test_every_step_has_something_to_run() -> None:
    assert len(STEPS) == 10
    assert all("```" in step for step in STEPS[:-1])
