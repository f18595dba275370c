"""Two revisions side by side: which code runs, what is refused, and what is left of them."""

import shutil
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import pytest

import harness
import lab
from harness.experiment import revision
from harness.experiment.bench import Bench
from harness.experiment.definition import Filling
from harness.experiment.document import read_document
from harness.experiment.revision import MEASURED, commit, imported_from, tree
from harness.experiment.side import Side, start_systems
from harness.load.workload import Workload
from lab.bootstrap import ROOT
from lab.errors import InvalidRequest
from lab.process.system import BrokerUrls
from tests import compare


def git(folder: Path, *words: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two revisions: "same" is the code as it is, "other" censors with another word."""
    folder = tmp_path_factory.mktemp("repository")
    for name in MEASURED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    git(folder, "init", "--quiet")
    for branch in ("same", "other"):
        git(folder, "checkout", "--quiet", "-b", branch)
        if branch == "other":
            censor = folder / "lab" / "applications" / "censor.py"
            text = censor.read_text(encoding="utf-8")
            assert '"CENSORED"' in text
            censor.write_text(text.replace('"CENSORED"', '"CHANGED"'), encoding="utf-8")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--allow-empty", "-m", branch)
    return folder


@pytest.fixture(autouse=True)
def from_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revision, "REPOSITORY", repository)


@pytest.mark.parametrize("middleware", ["xmlrpc", "xmlrpc:stock"])
def test_each_side_runs_the_code_of_its_revision(middleware: str) -> None:
    bench = Bench(BrokerUrls(), Workload())
    sides = [Side(middleware, clients=2, revision=one and commit(one)) for one in ("", "same", "other")]
    with ExitStack() as stack:
        systems = start_systems(bench, sides, stack)
        loads = [
            stack.enter_context(side.load(bench, system)) for side, system in zip(sides, systems, strict=True)
        ]
        now, same, other = (load.requests(200) for load in loads)
    assert now.is_whole
    assert same.is_whole
    assert other.wrong


def places() -> tuple[str | None, str | None]:
    """Return where this process has the code that is measured, and the harness."""
    return lab.__file__, harness.__file__


def test_clients_import_the_revision_and_the_harness_of_now() -> None:
    name = commit("same")
    with imported_from(name), ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        measured, ours = fresh.submit(places).result()
    assert Path(measured or "").parent == tree(name) / "lab"
    assert Path(ours or "").resolve() == Path(harness.__file__ or "")
    assert lab.__file__ == places()[0]


def test_a_revision_is_removed_when_the_process_ends() -> None:
    program = (
        "from pathlib import Path; from harness.experiment import revision; "
        f"revision.REPOSITORY = Path({str(revision.REPOSITORY)!r}); "
        "print(revision.tree(revision.commit('same'))); raise KeyboardInterrupt"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    folder = Path(done.stdout.strip())
    assert folder.name.startswith("lab-revision-")
    assert not folder.exists()


def refused(name: str) -> str:
    source = {"question": "q", "compare": ["xmlrpc", f"xmlrpc:revision={name}"]}
    with pytest.raises(InvalidRequest) as error:
        read_document(source, "")
    assert "\n" not in error.value.message
    return error.value.message


def test_what_is_no_revision_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("nope") == "revision: 'nope'; possible is a commit, a branch or a tag of this repository"
    assert "possible is a commit" in refused("--help")
    monkeypatch.setattr(revision, "REPOSITORY", tmp_path)
    assert refused("same").endswith(f"only what git knows, and {tmp_path} is no git repository")
    monkeypatch.setenv("PATH", "")
    assert refused("same").endswith("only what git knows, and git is not installed")


@pytest.mark.parametrize(
    ("words", "labels"),
    [
        (
            ["pyro4", "--rev", "same", "--rev", "other"],
            [("pyro4:revision=same", "pyro4:revision=other")],
        ),
        (["redis_impl:stock", "--rev", "same"], [("redis_impl:stock,revision=same", "redis_impl:stock")]),
        (
            ["rabbitmq:prefetch=1", "rabbitmq", "--rev", "same", "--rev", "other"],
            [("rabbitmq:prefetch=1,revision=same", "rabbitmq:revision=other")],
        ),
        (
            ["--rev", "same", "--rev", "other"],
            [
                (f"{name}:revision=same", f"{name}:revision=other")
                for name in ("xmlrpc", "pyro4", "redis_impl", "rabbitmq")
            ],
        ),
    ],
    ids=lambda value: " ".join(value) if value and isinstance(value[0], str) else "",
)
def test_compare_takes_two_revisions_of_one_or_of_all(
    words: list[str], labels: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Filling] = []
    monkeypatch.setattr(compare, "measure", lambda source, name, options, given: asked.append(given))
    compare.main(words)
    assert [part["compare"] for part in asked[0].parts] == [list(pair) for pair in labels]
