"""The sessions and experiments of the README and the tutorial, on the ports that they show."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dynamic.events import EventNames, EventQueues
from harness.experiment.session import UNDECIDED
from lab.bootstrap import ROOT
from lab.middleware import MIDDLEWARES
from lab.settings import settings
from tests.eventually import eventually
from tests.sessions import TIMEOUT_SECONDS, Block, blocks_of, here, play, run

README = ROOT / "README.md"
TUTORIAL = ROOT / "docs" / "tutorial.md"
STEPS = re.split(r"^## ", TUTORIAL.read_text(encoding="utf-8"), flags=re.M)[1:]
SESSIONS = {step.partition("\n")[0]: blocks_of(step) for step in STEPS if blocks_of(step)}
EXPERIMENTS = [
    line
    for step in STEPS
    for block in re.findall(r"^```sh\n(.*?)^```$", step, re.M | re.S)
    for line in block.splitlines()
]
SHORTER = {
    "stress": "--seconds 100ms",
    "speedup": "--nodes 1,2 --window 200ms",
    "compare": "--blocks 3 --window 200ms --budget 1ms",
    "dynamic": "--seconds 4s",
}
"""Said once more at the end, where it counts: enough to see that the command does what the page says."""
AT_ONCE = 3
SECONDS = 300.0
Done = subprocess.CompletedProcess[str]


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
                eventually(lambda: queues.read().waiting == 0, within=TIMEOUT_SECONDS)
                process.send_signal(signal.SIGTERM)
                shown = process.stdout.read().splitlines()
                assert process.wait(TIMEOUT_SECONDS) == 0
            finally:
                process.kill()
        queues.delete()
    assert any(line.fullmatch(one) and " 0 ready" not in one for one in shown)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the experiments write."""
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def experiments(redis_url: str, amqp_url: str, results: Path) -> Iterator[dict[str, "Future[Done]"]]:
    """What becomes of the experiments; they begin when the sessions have left the usual ports."""
    environment = {**os.environ, "LAB_REDIS_URL": redis_url, "LAB_AMQP_URL": amqp_url}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {line: pool.submit(experiment, line, environment, results) for line in EXPERIMENTS}


def experiment(command: str, environment: dict[str, str], results: Path) -> Done:
    """Run *command* to its end, its results elsewhere than where the reader's go."""
    name = command.partition(" -m lab ")[2].partition(" ")[0]
    where = f" {SHORTER.get(name, '')} --results '{results}'" if name else ""
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
    assert done.returncode == 0 or (done.returncode == UNDECIDED and "UNDECIDED" in said), said
    assert "report: " in said or "late, %" in said, said
    assert "Traceback" not in said


@pytest.mark.slow
def test_no_result_and_no_report_holds_a_password(
    experiments: dict[str, "Future[Done]"], results: Path, redis_url: str, amqp_url: str
) -> None:
    ended = [one.result(SECONDS) for one in experiments.values()]
    said = "".join(done.stdout + done.stderr for done in ended)
    written = [path for path in results.rglob("*") if path.is_file()]
    assert len([path for path in written if path.name == "report.html"]) > 3
    for url in (redis_url, amqp_url):
        secret = urlsplit(url).password
        assert secret
        assert len(secret) >= 8, "too short to look for"
        assert secret not in said
        assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_every_step_has_something_to_run() -> None:
    assert len(STEPS) == 10
    assert all("```" in step for step in STEPS[:-1])
