"""What the tests of all wires share: raw clients, bad input, nodes that fail, bombs."""

import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
import redis
from hypothesis import strategies as st

from lab.contract import Application, Architecture
from lab.errors import Code
from lab.process.system import System, SystemSpec
from tests.conftest import system_for
from tests.eventually import eventually

ANSWER_SECONDS = 15.0
"""A generous deadline for any answer."""
BROKEN_RESULT = "broken"
"""The id of the result that :func:`break_a_result` breaks."""

_TRACES = ("Traceback", 'File "', ".py", "object at")
_ERROR_ID = re.compile(r"\b[0-9a-f]{12}\b")

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=15,
)
"""Any value that JSON can carry."""


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """Return one of *seeds* with a part of it replaced."""

    def mutate(seed: bytes, place: int, length: int, part: bytes) -> bytes:
        place %= len(seed) + 1
        return seed[:place] + part + seed[place + length :]

    return st.builds(
        mutate, st.sampled_from(seeds), st.integers(0), st.integers(0, 20), st.binary(max_size=20)
    )


def each(kinds: Mapping[str, tuple[Any, ...]]) -> list[Any]:
    """Return the parameters of a test that runs over *kinds* by name."""
    return [pytest.param(*kind, id=name) for name, kind in kinds.items()]


def one_node(
    middleware: str,
    application: Application = Application.SERVICE,
    architecture: Architecture = Architecture.ONE_NODE,
    node_arguments: tuple[str, ...] = (),
) -> Any:
    """Return a fixture: a system of one node for a module, whose process must still be there at the end."""

    @pytest.fixture(scope="module")
    def node(request: pytest.FixtureRequest) -> Iterator[System]:
        spec = SystemSpec(middleware, application, architecture, node_arguments=node_arguments)
        with system_for(request, spec) as system:
            yield system
            assert_same_process(system)

    return node


class Wire(ABC):
    """A bare connection to the first node of *system*, or to its broker."""

    def __init__(self, system: System) -> None:
        self.system = system

    @abstractmethod
    def refusal(self, *sent: Any) -> str:
        """Send a request of the kinds; return the refusal, as ``CODE: message``."""

    @abstractmethod
    def serve(self) -> None:
        """Make a good request, and assert that its answer is right."""

    def result_refusal(self, petition_id: str) -> str:
        """Ask a filter node for a result; return the refusal."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def assert_serves(self) -> None:
        """The process that was started serves."""
        self.serve()
        assert_same_process(self.system)


class WireTests:
    """What tests of a wire share. *node* is the name of the fixture of the module that gives the node."""

    wire: ClassVar[type[Wire]]
    node: ClassVar[str] = "node"

    @pytest.fixture
    def connection(self, request: pytest.FixtureRequest) -> Iterator[Wire]:
        with closing(self.wire(request.getfixturevalue(self.node))) as connection:
            yield connection


class BadInput(WireTests):
    """Whatever arrives gets its code, and the node goes on serving."""

    kinds: ClassVar[Mapping[str, tuple[Any, ...]]]
    """By name: what is sent, and the code that it gets."""

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "kind" in metafunc.fixturenames:
            metafunc.parametrize("kind", [pytest.param(kind, id=name) for name, kind in self.kinds.items()])

    def test_what_is_bad_gets_its_code_and_the_node_goes_on(
        self, connection: Wire, kind: tuple[Any, ...]
    ) -> None:
        *sent, code = kind
        assert_refused(connection.refusal(*sent), code)
        connection.assert_serves()


class NodeFailure(WireTests):
    """A node that fails says so, and no more."""

    def test_a_failure_is_an_error_with_an_id_and_its_traceback_stays_in_the_log(
        self, connection: Wire, redis_url: str
    ) -> None:
        break_a_result(redis_url, connection.system)
        assert_internal_error(connection.system, connection.result_refusal(BROKEN_RESULT))
        connection.assert_serves()


def assert_same_process(system: System) -> None:
    """Nothing starts a node again: it lives if the process that was started does."""
    node = system.nodes[0]
    assert system.launcher.alive(node), system.launcher.logs(node)[-2000:]


def assert_refused(answer: str, code: Code) -> None:
    """*answer* is ``CODE: a clear sentence``, with nothing of the node's inside."""
    got, separator, sentence = answer.partition(": ")
    assert (got, separator) == (code, ": "), answer[:300]
    assert_clear(sentence)


def assert_clear(sentence: str) -> None:
    """*sentence* is one that a person can read and act on; no traceback, no address, no path."""
    assert 10 <= len(sentence) <= 500, sentence
    assert " " in sentence
    assert sentence.isprintable(), sentence
    assert not [trace for trace in _TRACES if trace in sentence], sentence


def break_a_result(redis_url: str, system: System) -> None:
    """Put a result that is not UTF-8 into the store: the node that reads it fails, for real."""
    with redis.Redis.from_url(redis_url) as store:
        store.hset(f"{system.namespace}:results", BROKEN_RESULT, b"\xff\xfe")
        store.zadd(f"{system.namespace}:results:order", {BROKEN_RESULT: time.time()})


def assert_internal_error(system: System, answer: str) -> None:
    """*answer* is an INTERNAL_ERROR whose id leads to the traceback in the node's log."""
    assert_refused(answer, Code.INTERNAL_ERROR)
    found = _ERROR_ID.search(answer)
    assert found, answer
    log = eventually(lambda: system.launcher.logs(system.nodes[0]).partition(found[0])[2])
    assert "Traceback" in log
    assert "UnicodeDecodeError" in log


Answer = TypeVar("Answer")

BOMB_CPU_SECONDS = 0.3
"""What a test allows for a refusal that takes some ms."""
BOMB_SECONDS = 2.0
"""The same, or a wait, on a machine that is busy."""
BOMB_MEGABYTES = 10.0
_KIB = 1024


class Bombs(BadInput):
    """What is made to cost much is refused at once."""

    def test_what_is_bad_gets_its_code_and_the_node_goes_on(  # type: ignore[override]
        self, kind: tuple[Any, ...], request: pytest.FixtureRequest
    ) -> None:
        *sent, code = kind
        system = request.getfixturevalue(self.node)

        def send() -> str:
            with closing(self.wire(system)) as connection:
                return connection.refusal(*sent)

        refused, cost = cost_of(system, send)
        print(f"{system.spec.middleware} {request.node.callspec.id}: {cost}")
        assert_refused(refused, code)
        assert_cheap(cost)


@dataclass(frozen=True)
class Cost:
    """What a request cost the node, and others."""

    cpu_seconds: float
    """Of the node, with nothing else to do."""
    seconds: float
    others_seconds: float
    """The longest answer to another client meanwhile."""
    megabytes: float

    def __str__(self) -> str:
        times = [
            f"{1e3 * seconds:.1f} ms" for seconds in (self.cpu_seconds, self.seconds, self.others_seconds)
        ]
        return "{} of CPU, refused after {}, others waited {}".format(*times) + f", {self.megabytes:+.1f} MB"


def cost_of(system: System, send: Callable[[], Answer]) -> tuple[Answer, Cost]:
    """Return what *send* returns, and its cost; another client asks the node all the while."""
    pid = system.nodes[0].pid
    used = _cpu_seconds(pid)
    send()
    used = _cpu_seconds(pid) - used
    waits: list[float] = []
    stopping = threading.Event()
    with ExitStack() as stack:
        other = stack.enter_context(system.service(10.0))

        def ask() -> None:
            while not stopping.is_set():
                began = time.monotonic()
                other.get_insults()
                waits.append(time.monotonic() - began)

        thread = threading.Thread(target=ask)
        thread.start()
        before = _forget_peak(pid)
        began = time.monotonic()
        answer = send()
        seconds = time.monotonic() - began
        peak = _status(pid, "VmHWM")
        stopping.set()
        thread.join()
    return answer, Cost(used, seconds, max(waits), (peak - before) / _KIB)


def assert_cheap(cost: Cost) -> None:
    """The bomb went off in the sender's hand."""
    assert cost.cpu_seconds < BOMB_CPU_SECONDS
    assert cost.seconds < BOMB_SECONDS
    assert cost.others_seconds < BOMB_SECONDS
    assert cost.megabytes < BOMB_MEGABYTES


def _cpu_seconds(pid: int) -> float:
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text(encoding="ascii").split()[0]) for thread in threads) / 1e9


def _forget_peak(pid: int) -> int:
    """Let the kernel count the peak anew; return the memory that is used now, in KiB."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    return _status(pid, "VmRSS")


def _status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith(f"{name}:")))
