"""The steps on lists, one by one, on a real Redis: who may settle, where petitions go when a node dies."""

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from lab.contract import Application
from lab.process.system import System
from lab.store.redis_store import load
from redis_impl.tuned.server import SCRIPTS
from redis_impl.tuned.wire import Keys
from tests.eventually import eventually
from tests.redis_impl.private import SEED, cluster_on, connected

LEASE = 0.05


class Lists:
    """The lists of an application in a throw-away namespace, and the scripts on them."""

    def __init__(self, store: "redis.Redis", namespace: str) -> None:
        self.store = store
        self.keys = Keys(namespace, Application.FILTER)
        self._push = store.register_script(load("push", SCRIPTS))
        self._pulse = store.register_script(load("pulse", SCRIPTS))
        self._settle = store.register_script(load("settle", SCRIPTS))

    def push(self, *petitions: str) -> int:
        keys = [self.keys.entry, self.keys.nodes, self.keys.turn]
        return int(self._push(keys=keys, args=[60.0, *petitions]))

    def pulse(self, node: str, *gone: str, lease: float = 60.0, is_new: bool = False) -> list[Any]:
        flags: list[str | float] = [node, lease, 1, int(is_new), lease / 2, *gone]
        return list(self._pulse(keys=[self.keys.entry], args=flags))

    def settle(self, node: str, turn: int, size: int, in_vain: int = 0, wanted: int = 10) -> list[Any]:
        """Settle *size* petitions with one reply and one result, as the node would."""
        written: list[str | float] = (
            [f"{self.keys.replies}{node}", "reply", f"result-{node}-{turn}", "text", 0] if size else []
        )
        counts = (1, 0) if size else (0, 0)
        limits = (1000, 3600, 900)
        arguments = [self.keys.prefix, node, turn, size, in_vain, wanted, 1, *limits, *counts, *written]
        deliveries, *answer = self._settle(keys=[self.keys.entry], args=arguments)
        return [deliveries, *answer[1:]]

    def leave(self, node: str) -> None:
        self.store.eval(load("leave", SCRIPTS), 1, self.keys.entry, node)

    def all(self, name: str) -> list[str]:
        return [str(entry) for entry in self.store.lrange(f"{self.keys.entry}{name}", 0, -1)]

    def let_die(self, node: str, survivor: str) -> None:
        """Let *survivor* find *node* silent and without a connection."""
        eventually(lambda: self.pulse(survivor, node, lease=LEASE)[0] >= 0 and not self.is_member(node))

    def live(self) -> list[str]:
        return [str(node) for node in self.store.zrangebyscore(f"{self.keys.entry}:members", "(0", "+inf")]

    def is_member(self, node: str) -> bool:
        score = self.store.zscore(f"{self.keys.entry}:members", node)
        return score is not None and score > 0


@pytest.fixture
def lists(redis_url: str, namespace: str) -> Iterator[Lists]:
    with connected(redis_url) as store:
        yield Lists(store, namespace)


def test_petitions_go_to_the_entry_list_while_no_node_is_live(lists: Lists) -> None:
    assert lists.push("a", "b") == 0
    assert lists.all("") == ["a", "b"]


def test_what_waits_for_a_dead_node_waits_for_all_and_what_it_worked_on_is_tried_again(lists: Lists) -> None:
    lists.pulse("1", lease=LEASE, is_new=True)
    lists.push("a", "b", "c")
    assert lists.settle("1", 0, 0, wanted=2) == [0, "a", "b"]
    lists.pulse("2", is_new=True)
    lists.let_die("1", "2")
    assert lists.all("") == ["c"]
    assert lists.all(":retry") == ["1 a", "1 b"]
    assert lists.store.keys(f"{lists.keys.entry}:node:1*") == []


def test_who_was_taken_over_can_neither_settle_nor_take_nor_come_back(lists: Lists) -> None:
    lists.pulse("1", lease=LEASE, is_new=True)
    lists.push("a")
    lists.settle("1", 0, 0)
    lists.pulse("2", is_new=True)
    lists.let_die("1", "2")
    lists.push("b")
    assert lists.settle("1", 1, 1) == [-1]
    assert lists.pulse("1")[0] == -1
    assert not lists.store.exists(f"{lists.keys.replies}1")
    assert not lists.store.exists(f"{lists.keys.prefix}results")
    assert not lists.is_member("1")


def test_what_a_dead_node_still_moves_is_given_to_the_others(lists: Lists) -> None:
    lists.pulse("1", lease=LEASE, is_new=True)
    lists.pulse("2", is_new=True)
    lists.let_die("1", "2")
    lists.store.rpush(lists.keys.entry, "late")
    lists.store.lmove(lists.keys.entry, f"{lists.keys.node('1')}:processing")  # its BLMOVE was under way
    lists.pulse("2")
    assert lists.all(":retry") == ["1 late"]


def test_petitions_of_the_retry_list_are_taken_alone_and_by_one_node_at_a_time(lists: Lists) -> None:
    lists.store.rpush(f"{lists.keys.entry}:retry", "1 a", "2 b\nc")
    lists.store.rpush(lists.keys.entry, "innocent")
    lists.pulse("1", is_new=True)
    lists.pulse("2", is_new=True)
    assert lists.settle("1", 0, 0) == [1, "a"]
    assert lists.settle("2", 0, 0) == [0, "innocent"]
    assert lists.settle("1", 1, 1, in_vain=1) == [2, "b\nc"]
    assert lists.settle("1", 2, 1, in_vain=2) == [0]


def test_each_death_of_a_node_that_tries_one_again_counts(lists: Lists) -> None:
    lists.store.rpush(f"{lists.keys.entry}:retry", "1 a", "1 b")
    lists.pulse("1", lease=LEASE, is_new=True)
    lists.settle("1", 0, 0)
    lists.pulse("2", is_new=True)
    lists.let_die("1", "2")
    assert lists.all(":retry") == ["1 b", "2 a"]
    assert lists.settle("2", 0, 0) == [1, "b"]


def test_who_leaves_is_not_blamed(lists: Lists) -> None:
    lists.pulse("1", is_new=True)
    lists.pulse("2", is_new=True)
    lists.store.rpush(f"{lists.keys.entry}:retry", "1 a")
    lists.store.rpush(lists.keys.entry, "b", "c")
    assert lists.settle("1", 0, 0) == [1, "a"]
    assert lists.settle("2", 0, 0) == [0, "b", "c"]
    lists.leave("2")
    lists.leave("1")
    assert lists.all(":retry") == ["1 a"]
    assert lists.all("") == ["b", "c"]
    assert set(lists.store.keys(f"{lists.keys.entry}*")) == {lists.keys.entry, f"{lists.keys.entry}:retry"}


def test_a_batch_is_settled_once_however_late_its_step_comes_again(lists: Lists) -> None:
    lists.pulse("1", is_new=True)
    lists.store.rpush(lists.keys.entry, *"abcd")
    assert lists.settle("1", 0, 0, wanted=2) == [0, "a", "b"]
    assert lists.settle("1", 1, 2, wanted=1) == [0, "c"]
    assert lists.settle("1", 1, 2, wanted=1) == [0, "c"]  # the answer was lost: what was taken is told again
    assert lists.settle("1", 2, 1, wanted=1) == [0, "d"]
    assert lists.settle("1", 1, 2, wanted=1) == [0, "d"]
    assert lists.store.llen(f"{lists.keys.replies}1") == 2


def test_what_waits_for_a_node_whose_membership_was_deleted_by_hand_waits_for_all(lists: Lists) -> None:
    lists.pulse("1", is_new=True)
    lists.push("a")
    lists.store.delete(f"{lists.keys.entry}:members")
    lists.pulse("2", is_new=True)
    assert (lists.all(""), lists.live()) == (["a"], ["2"])


def test_a_lease_that_ends_too_late_ends_at_now_and_its_length(lists: Lists) -> None:
    """The clock was set back by an hour after these leases were given."""
    lists.pulse("dead", lease=LEASE, is_new=True)
    lists.pulse("alive", lease=LEASE, is_new=True)
    for name in ("members", "nodes"):
        for node in ("dead", "alive"):
            lists.store.zincrby(f"{lists.keys.entry}:{name}", 3600, node)
    lists.store.incrbyfloat(f"{lists.keys.entry}:pulsed", 3600)
    assert lists.push("a") == 0  # to nobody's list: none is known to live
    eventually(lambda: lists.pulse("alive", lease=LEASE)[0] >= 0 and lists.live() == ["alive"])


def test_nobody_loses_a_lease_by_a_clock_set_forward(lists: Lists) -> None:
    lists.pulse("1", lease=60.0, is_new=True)
    lists.pulse("2", lease=60.0, is_new=True)
    for name in ("members", "nodes"):
        for node in ("1", "2"):
            lists.store.zincrby(f"{lists.keys.entry}:{name}", -3600, node)
    lists.store.incrbyfloat(f"{lists.keys.entry}:pulsed", -3600)
    lists.pulse("1", lease=60.0)
    assert (lists.live(), lists.push("a", "b")) == (["1", "2"], 2)


def test_a_silence_of_everybody_is_nobodys_death(lists: Lists) -> None:
    lists.pulse("1", lease=LEASE, is_new=True)
    time.sleep(2 * LEASE)  # not before an assertion: Redis was away for longer than the lease
    lists.pulse("2", lease=LEASE, is_new=True)
    assert lists.is_member("1")


def test_no_petition_is_pushed_to_a_list_that_nobody_serves(lists: Lists, redis_url: str) -> None:
    """Clients push while nodes come, die by their lease, leave and are found dead, thousands of times."""
    print(f"seed {SEED}")
    chance, pushed = random.Random(SEED), [0, 0]
    until = time.monotonic() + 2.0

    def push(place: int) -> None:
        with connected(redis_url) as store:
            mine = Lists(store, lists.keys.prefix[:-1])
            while time.monotonic() < until:
                mine.push(*(f"{place}-{pushed[place] + number}" for number in range(3)))
                pushed[place] += 3

    threads = [threading.Thread(target=push, args=(place,)) for place in (0, 1)]
    for thread in threads:
        thread.start()
    nodes: list[str] = []
    acts = (lambda node: lists.pulse(node, lease=0.004), lists.leave, lambda node: lists.settle(node, 0, 0))
    number = 0
    while time.monotonic() < until:
        number += 1
        nodes.append(str(number))
        lists.pulse(str(number), lease=0.004, is_new=True)
        for node in chance.sample(nodes, min(3, len(nodes))):
            chance.choice(acts)(node)
        nodes = nodes[-6:]
    for thread in threads:
        thread.join()
    print(f"{sum(pushed)} petitions pushed, {number} nodes came and went")
    lists.pulse("last", lease=0.1, is_new=True)
    eventually(lambda: lists.pulse("last", lease=0.1) and lists.live() == ["last"])
    lists.leave("last")
    there = lists.all("") + [entry.partition(" ")[2] for entry in lists.all(":retry")]
    assert len(there) == sum(pushed)
    assert len(set(there)) == sum(pushed)
    assert lists.store.keys(f"{lists.keys.entry}:node:*") == []


PETITIONS = 100
DEADLINE_SECONDS = 5.0
"""A node that looks at the entry list only every 0.1 s needs 10 s for them."""


@pytest.fixture
def store(redis_url: str) -> Iterator["redis.Redis"]:
    with connected(redis_url) as client:
        yield client


def ask(store: "redis.Redis", system: System, text: str) -> str:
    """Push a text to the entry list as any client may, and wait for its reply."""
    reply_to = f"{system.namespace}:reply:{uuid4().hex}"
    petition = {"operation": "X1", "data": text, "reply_to": reply_to}
    store.rpush(f"{system.namespace}:filter", json.dumps(petition))
    answer = store.blpop([reply_to], timeout=10)
    assert answer
    return str(json.loads(answer[1])["answer"])


def test_petitions_one_after_the_other_are_served_at_once_by_idle_nodes(
    redis_url: str, store: "redis.Redis"
) -> None:
    with cluster_on(redis_url, Application.FILTER, 3) as system:
        started = time.monotonic()
        for number in range(PETITIONS):
            assert ask(store, system, f"{number} tonto") == f"{number} CENSORED"
        took = time.monotonic() - started
    print(f"{1000 * took / PETITIONS:.2f} ms each")
    assert took < DEADLINE_SECONDS


def test_a_petition_goes_to_an_idle_node_not_to_one_that_is_occupied(
    redis_url: str, store: "redis.Redis"
) -> None:
    """Each text takes three seconds. Two at a time are done by two nodes, never by one after the other."""
    with cluster_on(redis_url, Application.FILTER, 2, "--work-time", "3s") as system:
        eventually(lambda: len(store.zrange(f"{system.namespace}:filter:nodes", 0, -1)) == 2)
        for _ in range(2):
            replies = [f"{system.namespace}:reply:{uuid4().hex}" for _ in range(2)]
            started = time.monotonic()
            for reply_to in replies:
                petition = {"operation": "X1", "data": "tonto", "reply_to": reply_to}
                store.rpush(f"{system.namespace}:filter", json.dumps(petition))
            for reply_to in replies:
                assert store.blpop([reply_to], timeout=10)
            assert time.monotonic() - started < 5.9


def test_what_waits_on_the_entry_list_survives_nodes_that_are_killed_or_stop_while_they_wait_there(
    redis_url: str, store: "redis.Redis"
) -> None:
    with cluster_on(redis_url, Application.FILTER, 3) as system:
        sent = 0
        killed, stopped = system.nodes[:2]
        ends: list[Callable[[], object]] = [
            lambda: system.launcher.kill(killed),
            lambda: system.launcher.stop(stopped),
        ]
        for end in ends:
            for number in range(50):
                sent += 1
                petition = {"operation": "X1", "data": f"{sent} tonto", "id": str(sent)}
                store.rpush(f"{system.namespace}:filter", json.dumps(petition))
                if number == 25:
                    end()
        results = f"{system.namespace}:results"
        eventually(lambda: store.hlen(results) == sent, within=15.0)
        assert store.hgetall(results) == {str(number): f"{number} CENSORED" for number in range(1, sent + 1)}
