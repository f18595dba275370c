"""Nodes and clients that die, freeze, leave or are given what kills them: nothing is lost or comes twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
import redis

from lab.bootstrap import ROOT
from lab.contract import Application
from lab.process.launcher import Handle
from lab.process.system import System
from redis_impl.tuned.server import MOST_DELIVERIES
from tests.eventually import eventually
from tests.redis_impl.private import SEED, cluster_on, connected, supervise

POISON = "strychnine"
TEXTS, POISONED = 500, 2
"""`lab faults` has 5 among 2,000: each ends three nodes, one after the other."""
A_NODE = ":node:"


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with connected(redis_url) as client:
        yield client


def keys_of_nodes(store: "redis.Redis", system: System) -> list[str]:
    return [str(key) for key in store.scan_iter(f"{system.namespace}:*{A_NODE}*")]


def push(store: "redis.Redis", system: System, texts: list[str], **more: str) -> None:
    """Push texts to the entry list, without our client."""
    petitions = [json.dumps({"operation": "X1", "data": text, **more}) for text in texts]
    store.rpush(f"{system.namespace}:filter", *petitions)


def test_a_frozen_nodes_work_moves_and_what_it_finishes_late_is_refused(
    redis_url: str, store: "redis.Redis"
) -> None:
    """The petitions have no id: if the zombie settled its batch, there would be a second reply and result."""
    texts = [f"{number} tonto" for number in range(60)]
    with cluster_on(redis_url, Application.FILTER, 2, "--work-time", "20ms") as system:
        reply_to = f"{system.namespace}:reply:{uuid4().hex}"
        zombie = system.nodes[0]
        push(store, system, texts, reply_to=reply_to)
        push(store, system, texts)
        eventually(lambda: store.llen(reply_to) > 5)
        _freeze_at_work(store, system, zombie)
        frozen_at = time.monotonic()
        eventually(lambda: store.hlen(f"{system.namespace}:results") == len(texts), within=15.0)
        print(f"all done {time.monotonic() - frozen_at:.1f} s after the freeze")
        os.kill(zombie.pid, signal.SIGCONT)
        eventually(lambda: "was taken over" in system.launcher.logs(zombie))
        eventually(lambda: len(_identifiers(store, system)) == 2)
        with system.filter(deadline_seconds=15.0) as client:
            assert list(client.filter_many(["tonto"] * 40)) == ["CENSORED"] * 40
        assert store.llen(reply_to) == len(texts)
        assert sorted(store.hvals(f"{system.namespace}:results")) == sorted(
            text.replace("tonto", "CENSORED") for text in texts
        )
        assert len(keys_of_nodes(store, system)) <= 2  # what was settled last, of each


def test_texts_that_kill_their_worker_are_dead_lettered_and_harm_nobody_else(
    redis_url: str, store: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {SEED}")
    monkeypatch.setenv("LAB_POISON", POISON)
    texts = [f"{number} tonto" for number in range(TEXTS)]
    poisoned = set(random.Random(SEED).sample(range(TEXTS), POISONED))
    with cluster_on(redis_url, Application.FILTER) as system:
        reply_to = f"{system.namespace}:reply:{uuid4().hex}"
        with store.pipeline() as pipe:
            for number, text in enumerate(texts):
                poison = POISON * (number in poisoned)
                push(pipe, system, [f"{text} {poison}"], reply_to=reply_to, id=str(number))
            pipe.execute()
        started = time.monotonic()
        kills = supervise(system, lambda: store.llen(reply_to) >= len(texts))
        print(f"{kills} nodes died; all answered after {time.monotonic() - started:.1f} s")
        replies = [json.loads(reply) for reply in store.lrange(reply_to, 0, -1)]
        letters = [json.loads(letter) for letter in store.lrange(f"{system.namespace}:filter:dead", 0, -1)]
    answers = {int(reply["id"]): reply.get("answer") for reply in replies}
    assert len(replies) == len(texts)
    assert answers == {
        number: None if number in poisoned else f"{number} CENSORED " for number in range(len(texts))
    }
    assert {int(json.loads(letter["petition"])["id"]) for letter in letters} == poisoned
    assert {letter["deliveries"] for letter in letters} == {MOST_DELIVERIES}
    errors = {reply["message"].rpartition(" ")[2]: reply for reply in replies if "error" in reply}
    assert {letter["error_id"] for letter in letters} == set(errors)
    assert all("dead-lettered" in reply["message"] for reply in errors.values())
    assert kills <= len(poisoned) * MOST_DELIVERIES


def test_what_a_working_store_refuses_again_and_again_is_kept_among_the_dead_letters(
    redis_url: str, store: "redis.Redis"
) -> None:
    with cluster_on(redis_url, Application.FILTER, 1, "--on-demand") as system:
        store.set(f"{system.namespace}:texts", "no hash")
        push(store, system, ["tonto"], id="refused")
        letters = eventually(lambda: store.lrange(f"{system.namespace}:filter:dead", 0, -1))
        letter = json.loads(letters[0])
        assert json.loads(letter["petition"])["id"] == "refused"
        assert "WRONGTYPE" in letter["reason"]


def test_what_a_killed_node_leaves_is_cleaned_by_the_others(redis_url: str, store: "redis.Redis") -> None:
    with cluster_on(redis_url, Application.FILTER, 2) as system:
        with system.filter() as client:
            list(client.filter_many(["tonto"] * 400))
        before = keys_of_nodes(store, system)
        killed_at = time.monotonic()
        system.launcher.kill(system.nodes[0])
        eventually(lambda: len(_identifiers(store, system)) == 1)
        print(f"taken over after {time.monotonic() - killed_at:.2f} s")
        assert len(keys_of_nodes(store, system)) < len(before)


def test_the_reply_list_of_a_client_that_is_killed_expires(redis_url: str, store: "redis.Redis") -> None:
    program = (
        "import sys, itertools\n"
        "from lab.contract import Architecture, Target\n"
        "from redis_impl.insult_filter import InsultFilterClient\n"
        "client = InsultFilterClient(Target(sys.argv[1], Architecture.N_NODE, sys.argv[2]))\n"
        "for _ in client.filter_many(itertools.repeat('tonto'), in_flight=1000): pass\n"
    )
    with cluster_on(redis_url, Application.FILTER, 1) as system:
        replies = f"{system.namespace}:reply:*"
        with subprocess.Popen(
            [sys.executable, "-c", program, redis_url, system.namespace], cwd=ROOT
        ) as client:
            eventually(lambda: list(store.scan_iter(replies)), within=30.0)
            client.kill()
        with system.filter() as other:
            assert other.filter("tonto") == "CENSORED"
        eventually(lambda: store.llen(f"{system.namespace}:filter") == 0)
        left = list(store.scan_iter(replies))
        print(f"{len(left)} reply list(s), for {[store.ttl(key) for key in left]} s")
        assert left
        assert all(0 < store.ttl(key) <= 60 for key in left)


def _identifiers(store: "redis.Redis", system: System) -> list[str]:
    """Return who is a member now."""
    return [str(node) for node in store.zrangebyscore(f"{system.namespace}:filter:members", "(0", "+inf")]


def _freeze_at_work(store: "redis.Redis", system: System, node: Handle) -> None:
    """SIGSTOP *node* while it has petitions that it has not settled."""
    while True:
        os.kill(node.pid, signal.SIGSTOP)
        if all(store.llen(f"{key}:processing") for key in _own_lists(store, system)):
            return
        os.kill(node.pid, signal.SIGCONT)


def _own_lists(store: "redis.Redis", system: System) -> list[str]:
    return [f"{system.namespace}:filter{A_NODE}{node}" for node in _identifiers(store, system)]
