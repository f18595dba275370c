"""What the tests of the four wires share: one node, spoken to without our client, and what a refusal is."""

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import redis

from lab.contract import Application, Architecture
from lab.errors import Code
from lab.process.system import System, SystemSpec
from tests.eventually import eventually
from tests.systems import system_for

ANSWER_SECONDS = 15.0
"""A generous deadline for any answer."""
BROKEN_RESULT = "broken"
"""The id of the result that :func:`break_a_result` breaks."""
INSULT = "tonto"

_TRACES = ("Traceback", 'File "', ".py", "object at")
_ERROR_ID = re.compile(r"\b[0-9a-f]{12}\b")


def each(kinds: Mapping[str, tuple[Any, ...]]) -> list[Any]:
    """Return the parameters of a test that runs over *kinds* by name."""
    return [pytest.param(*kind, id=name) for name, kind in kinds.items()]


def one_node(
    request: pytest.FixtureRequest,
    middleware: str,
    application: Application,
    architecture: Architecture = Architecture.ONE_NODE,
    node_arguments: tuple[str, ...] = (),
) -> Iterator[System]:
    """Run a system of one node, and see at the end that the process that was started is still there."""
    spec = SystemSpec(middleware, application, architecture, node_arguments=node_arguments)
    with system_for(request, spec) as cluster:
        yield cluster
        assert_same_process(cluster)


def assert_same_process(cluster: System) -> None:
    """Nothing starts a node again: it lives if the process that was started does."""
    node = cluster.nodes[0]
    assert cluster.launcher.alive(node), cluster.launcher.logs(node)[-2000:]


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


def break_a_result(redis_url: str, cluster: System) -> None:
    """Put a result that is not UTF-8 into the store: the node that reads it fails, for real."""
    with redis.Redis.from_url(redis_url) as store:
        store.hset(f"{cluster.namespace}:results", BROKEN_RESULT, b"\xff\xfe")
        store.zadd(f"{cluster.namespace}:results:order", {BROKEN_RESULT: time.time()})


def assert_internal_error(cluster: System, answer: str) -> None:
    """*answer* is an INTERNAL_ERROR whose id leads to the traceback in the node's log."""
    assert_refused(answer, Code.INTERNAL_ERROR)
    found = _ERROR_ID.search(answer)
    assert found, answer
    log = eventually(lambda: cluster.launcher.logs(cluster.nodes[0]).partition(found[0])[2])
    assert "Traceback" in log
    assert "UnicodeDecodeError" in log
