"""Where the CPU time of a request goes: the sampler, the tables of parts and of files, and the plot."""

import ast
import json
import re
import subprocess
import sys
import sysconfig
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from harness.experiment import anatomy
from harness.experiment.anatomy import library_share
from harness.experiment.bench import Bench
from harness.load.workload import Workload
from harness.probes import probed
from harness.probes.parts import Frame, Stack, part_of, place_of, read_stacks
from harness.probes.probed import probing
from harness.record.findings import PARTS, Profile, Repetition
from harness.record.journal import write_run
from harness.record.run import Run
from harness.report.anatomy import profile_caveats
from harness.report.plots.cpu import anatomy_figure
from lab.bootstrap import ROOT
from lab.contract import Application
from lab.errors import InternalError, Unavailable
from lab.middleware import MIDDLEWARES, STOCK_LACKS
from lab.process.system import BrokerUrls
from tests import report
from tests.anatomy import main
from tests.eventually import eventually
from tests.harness.runs import REPETITION

can_be_sampled = pytest.mark.skipif(bool(probed.WHY_NOT), reason=probed.WHY_NOT)
LIBRARY = sysconfig.get_path("stdlib")
PACKAGES = sysconfig.get_path("purelib")
LOOP = (f"{LIBRARY}/threading.py", 0, "run"), (f"{LIBRARY}/threading.py", 0, "_bootstrap_inner")

HTTP = "xmlrpc/tuned/http.py"


def line_of(file: str, text: str) -> int:
    """Return the number of the first line of *file* that has *text*."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def stack_of(*frames: tuple[str, int, str]) -> Stack:
    """Return a stack; a path that is not absolute is of the project."""
    return tuple(Frame(str(ROOT / path), line, function) for path, line, function in frames)


KNOWN = {
    "the event loop of uvloop": (stack_of(*LOOP), "transport"),
    "a reply written": (
        stack_of(
            ("xmlrpc/tuned/http.py", line_of("xmlrpc/tuned/http.py", "_transport.write(head"), "_write"),
            *LOOP,
        ),
        "transport",
    ),
    "a request parsed": (stack_of(("xmlrpc/tuned/wire.py", 1, "parse_call"), *LOOP), "parsing"),
    "a header taken": (stack_of(("xmlrpc/tuned/http.py", 1, "on_header"), *LOOP), "parsing"),
    "a text censored": (
        stack_of((f"{LIBRARY}/re/__init__.py", 1, "sub"), ("lab/applications/censor.py", 1, "censor"), *LOOP),
        "application",
    ),
    "json for Redis": (
        stack_of((f"{LIBRARY}/json/decoder.py", 1, "decode"), ("redis_impl/tuned/wire.py", 1, "_petition")),
        "parsing",
    ),
    "a call routed": (
        stack_of(("lab/operations.py", 1, "bind"), ("lab/process/serving.py", 1, "call")),
        "handling",
    ),
    "bytes of Pyro4": (stack_of((f"{PACKAGES}/Pyro4/socketutil.py", 1, "receiveData")), "transport"),
    "a message of Pyro4": (stack_of((f"{PACKAGES}/Pyro4/message.py", 1, "from_header")), "parsing"),
    "Pyro4 itself": (stack_of((f"{PACKAGES}/Pyro4/core.py", 1, "handleRequest")), "handling"),
    "pika's poll": (stack_of((f"{PACKAGES}/pika/adapters/select_connection.py", 1, "poll")), "transport"),
    "a frame of AMQP": (stack_of((f"{PACKAGES}/pika/frame.py", 1, "decode_frame")), "parsing"),
    "a thread woken": (
        stack_of((f"{LIBRARY}/threading.py", 1, "notify"), ("rabbitmq/tuned/server.py", 1, "_work_on")),
        "threads",
    ),
    "the measuring loop": (stack_of(("harness/load/generator.py", 1, "closed_loop"), *LOOP), "harness"),
    "nothing known": (stack_of(("/elsewhere/program.py", 1, "main")), "unknown"),
    "a stack without a frame": ((), "unknown"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_a_known_stack_belongs_to_its_part(name: str) -> None:
    stack, part = KNOWN[name]
    assert part_of(stack) == part
    assert part in PARTS


def test_a_place_is_the_innermost_one_that_is_known() -> None:
    assert place_of(KNOWN["a text censored"][0]) == "lab/applications/censor.py:censor"
    assert place_of(()) == "nowhere that is known"


def test_what_faulthandler_writes_is_read() -> None:
    text = (
        'Stack (most recent call first):\n  File "/a/b.py", line 7 in work\n'
        '  File "/a/b.py", line 9 in main\n'
        'Stack (most recent call first):\n  File "/a/b.py", line ??? in <lambda>\n'
        "Stack (most recent call first):\n"
    )
    assert read_stacks(text) == Counter(
        {
            (Frame("/a/b.py", 7, "work"), Frame("/a/b.py", 9, "main")): 1,
            (Frame("/a/b.py", 0, "<lambda>"),): 1,
            (): 1,
        }
    )
    assert not read_stacks("")


@pytest.fixture
def spender(tmp_path: Path) -> Iterator[int]:
    """The process id of a program of known behaviour that lets itself be sampled in *tmp_path*."""
    command = [sys.executable, "-m", "harness.probes.probed", "stacks", str(tmp_path), "tests.harness.known"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


@can_be_sampled
def test_stacks_are_seen_where_their_functions_spend_and_a_thread_that_waits_is_not(
    spender: int, tmp_path: Path
) -> None:
    seen: Counter[str] = Counter()

    def enough() -> bool:
        with probing(tmp_path, {"spender": [spender]}) as stacks:  # it ends and begins again
            time.sleep(0.3)  # how long it is watched
        for stack, number in read_stacks(stacks["spender"][0].decode()).items():
            names = {frame.function for frame in stack}
            where = next((one for one in ("three_parts", "one_part", "waits") if one in names), "other")
            seen[where] += number
        return seen.total() > 60

    eventually(enough, within=60.0)
    assert seen["three_parts"] > seen["one_part"] > 0
    assert not seen["waits"]


def test_a_process_that_is_not_open_to_sampling_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="process 1 does not let itself be sampled"):
        probing(tmp_path, {"node": [1]}).__enter__()


def test_parts_add_up_to_what_was_measured() -> None:
    parts = REPETITION.parts()
    assert sum(parts.values()) == pytest.approx(0.7)
    assert parts["node", "transport"] == pytest.approx(0.3)
    assert parts["generator", "unknown"] == pytest.approx(0.1)
    assert parts["redis", ""] == pytest.approx(0.1)


def test_a_component_without_samples_is_not_attributed_and_not_hidden() -> None:
    one = Repetition(1.0, 1.0, {"node": 0.4}, {"node": 0.4}, {"node": {}})
    assert one.parts() == {("node", "unknown"): 0.4}


def test_means_of_segments_add_up_to_the_mean_of_the_whole() -> None:
    other = Repetition(900.0, 900.0, {"node": 0.6, "generator": 0.1}, {"node": 0.6}, {"node": {"parsing": 3}})
    profile = Profile("xmlrpc", "one-node", "filter", 1, 4, [REPETITION, other, REPETITION])
    assert sum(one.value for one in profile.segments.values()) == pytest.approx(profile.total.value)
    assert profile.slowed.value == pytest.approx((0.95 * 0.95) ** (1 / 3), rel=1e-3)
    assert next(component for component, _ in profile.segments) == "generator"
    assert profile.total.low is not None


def test_a_rate_that_sampling_halves_is_warned_of() -> None:
    slow = Repetition(1000.0, 500.0, {"node": 0.4}, {"node": 0.8}, {"node": {"parsing": 1}})
    profile = Profile("xmlrpc", "one-node", "filter", 1, 4, [slow], objections=["odd", "odd"])
    assert profile_caveats(profile) == [
        "XML-RPC: sampling slowed it to 0.50 of its rate",
        "XML-RPC: 2 of 2 windows: odd",
    ]


def test_the_plot_has_a_stretch_per_part_and_is_drawn_again_from_the_record(tmp_path: Path) -> None:
    profiles = [
        Profile("redis_impl", "one-node", "filter", 1, 4, [REPETITION] * 3, {"node": {"a.py:f": 4}}),
        Profile("rabbitmq", "one-node", "filter", 1, 4, missing="no rabbitmq here"),
    ]
    figure = anatomy_figure(profiles)
    assert figure
    times = figure.axes[0]
    widths = [patch.get_width() for patch in times.patches]  # type: ignore[attr-defined]
    assert sum(widths) == pytest.approx(700)
    assert len(widths) == 5
    write_run(Run("anatomy", {}, {}, profiles=profiles), tmp_path)
    assert report.main([str(tmp_path)]) == 0
    assert (tmp_path / "plots" / "anatomy.png").stat().st_size > 10_000
    assert anatomy_figure(profiles[1:]) is None


def test_an_interpreter_that_dies_of_it_is_not_sampled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probed, "WHY_NOT", "it dies of it")
    assert main(["--middleware", "xmlrpc", "--results", str(tmp_path), "--json"]) == 0
    [profile] = json.loads(capsys.readouterr().out)["profiles"]
    assert profile["missing"] == "it dies of it"


@pytest.mark.parametrize("failures", [0, 2, 4, 5])
def test_a_window_in_which_a_process_died_of_sampling_is_measured_again_on_a_new_system(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    started: list[int] = []
    left = iter([True] * failures)

    @contextmanager
    def system(*_: object) -> Iterator[int]:
        started.append(len(started))
        yield started[-1]

    def measure(_: object, number: int) -> int:
        if number and next(left, False):
            raise InternalError("generator", "a load generator ended")
        return number

    monkeypatch.setattr(anatomy, "sampled_system", system)
    bench, profile = (
        Bench(BrokerUrls(), Workload(Application.FILTER)),
        Profile("xmlrpc", "one-node", "filter", 1, 4),
    )
    if failures < anatomy.ATTEMPTS:
        assert anatomy.measured(bench, profile, 3, measure) == [0, 1, 2]
        assert len(started) == 1 + failures
    else:
        with pytest.raises(InternalError, match="a load generator ended"):
            anatomy.measured(bench, profile, 3, measure)


@can_be_sampled
def test_the_command_measures_one_middleware_to_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--middleware", "xmlrpc", "--pairs", "2", "--seconds", "1s", "--results", str(tmp_path)]
    assert main([*options, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    [profile] = said["profiles"]
    [first, _] = profile["repetitions"]
    assert set(first["samples"]) == {"node", "generator"}
    assert sum(first["samples"]["node"].values()) > 10
    assert first["samples"]["node"]["application"]
    assert first["cpu_ms"]["node"] > 0
    assert (tmp_path / "latest" / "plots" / "anatomy.svg").exists()


ALLOWED = (
    "lab/client/calls.py",
    "lab/operations.py",
    "lab/process/",
    "lab/errors.py",
    "lab/background.py",
    "lab/work.py",
)
"""What checks arguments, names operations, keeps a process and its jobs, or spends the declared work."""


@pytest.fixture
def brokers(request: pytest.FixtureRequest, middleware: str) -> BrokerUrls:
    """The broker that *middleware* needs."""
    kind = MIDDLEWARES[middleware].broker
    return BrokerUrls(
        request.getfixturevalue("redis_url") if kind == "redis" else "",
        request.getfixturevalue("amqp_url") if kind == "rabbitmq" else "",
        servers={"private": cast(Any, lambda: None)},  # cannot be sent to a process
    )


def percentage(middleware: str, variant: str) -> float:
    """Return what the capability table of *middleware* says of its library."""
    table = ast.get_docstring(ast.parse((ROOT / middleware / "__init__.py").read_text(encoding="utf-8")))
    found = re.search(rf"(\d+) % [^%]*in {variant}", (table or "").partition("Library: ")[2])
    assert found
    return float(found[1])


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_a_stock_call_runs_the_library_and_nothing_that_replaces_it(
    middleware: str, brokers: BrokerUrls
) -> None:
    share = library_share(Bench(brokers, Workload(Application.FILTER)), f"{middleware}:stock", 0.3)
    own = (f"{middleware}/stock.py", *ALLOWED)
    assert [file for file in share.files if not file.startswith(own)] == []
    assert share.calls["library"] > share.calls["carrying"]
    assert percentage(middleware, "stock") == pytest.approx(100 * share.of_calls, abs=3)


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_the_capability_table_says_how_much_of_a_tuned_call_is_the_library(
    middleware: str, brokers: BrokerUrls
) -> None:
    share = anatomy.shared_calls(brokers, middleware)
    assert percentage(middleware, "tuned") == pytest.approx(100 * share.of_calls, abs=3)


LIBRARIES = {
    "xmlrpc": ("http.client", "http.server", "socketserver", "xmlrpc.client", "xmlrpc.server"),
    "pyro4": ("Pyro4", "Pyro4.core", "Pyro4.message", "Pyro4.naming", "Pyro4.util", "serpent"),
    "redis_impl": ("redis", "redis.client", "redis.connection"),
    "rabbitmq": ("pika", "pika.adapters.blocking_connection", "pika.channel", "pika.connection"),
}
PATCHES = """
import importlib, inspect, sys
stock, *names = sys.argv[1:]
modules = [importlib.import_module(name) for name in names]

def state():
    classes = (one for module in modules for _, one in inspect.getmembers(module, inspect.isclass))
    things = [*modules, *classes]
    settings = vars(modules[0]).get("config")
    found = {(id(thing), name): id(value) for thing in things for name, value in vars(thing).items()}
    return found, settings and settings.asDict()

before = state()
importlib.import_module(stock)
assert state() == before, "patched"
assert not [name for name in sys.modules if ".tuned" in name]
"""


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_stock_patches_nothing_of_its_library_and_changes_none_of_its_settings(middleware: str) -> None:
    command = [sys.executable, "-c", PATCHES, f"{middleware}.stock", *LIBRARIES[middleware]]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
