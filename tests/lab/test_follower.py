"""Nodes of n: they follow the insults of the store, call back allowed hosts only, and have fault hooks."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.applications.broadcast import AllowedHosts, CalledBackService
from lab.applications.censor import Censor
from lab.applications.filter import Follower
from lab.bootstrap import ROOT
from lab.errors import Code, InvalidRequest, Unavailable
from lab.store import MemoryStore, Store
from lab.store.memory import KEPT_CHANGES
from pyro4.tuned.node import wire_of
from tests.lab.conftest import OpenRedis
from xmlrpc.tuned.server import WIRE

STRANGERS = [
    "10.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "example.com",
    "localhost.example.com",
    "8.8.8.8",
]
WORK = "from lab.work import fault_hook as r; n = r(); n('t1 hello'); n('t2 arsenic'); n('t3')"


class Node:
    """A censor that follows a store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.censor = Censor()
        self.follower = Follower(store, self.censor)

    def censors(self, *insults: str) -> bool:
        """Tell whether it censors these insults and no other."""
        found = [insult for insult in insults if self.censor.censor(insult) == "CENSORED"]
        return len(found) == len(insults) == len(self.censor)


@pytest.fixture
def node(store: Store) -> Node:
    """A node that has read the insult "bobo" of its store."""
    store.add_insult("bobo")
    node = Node(store)
    node.follower.load()
    return node


def test_a_node_reads_every_insult_of_its_store(store: Store) -> None:
    insults = [f"insult {number}" for number in range(2_500)]
    store.add_insults(insults)
    node = Node(store)
    node.follower.load()
    assert node.censors(*insults)


def test_what_somebody_deleted_in_the_store_is_censored_no_more(
    open_redis: OpenRedis, namespace: str
) -> None:
    store = open_redis(namespace)
    store.add_insult("bobo")
    node = Node(store)
    node.follower.load()
    store._redis.delete(f"{namespace}:insults")
    for _ in range(2):
        node.follower.follow()
    assert node.censors()


def test_insults_that_are_added_all_at_once_are_censored(node: Node) -> None:
    node.store.add_insults(["tonto", "feo"])
    node.follower.follow()
    node.store.remove_insult("feo")
    node.follower.follow()
    assert node.censors("bobo", "tonto")


def test_a_change_between_asking_the_version_and_reading_all_is_not_missed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.add_insult("bobo")
    node, get_insults = Node(store), store.get_insults

    def change_and_get(after: str, limit: int) -> list[str]:
        page = get_insults(after, limit)
        store.remove_insult("bobo")
        store.add_insult("tonto")
        return page if not after else []

    monkeypatch.setattr(store, "get_insults", change_and_get)
    node.follower.load()
    node.follower.follow()
    assert node.censors("tonto")


def test_a_node_that_follows_random_changes_ends_equal_to_its_store(node: Node) -> None:
    choose = random.Random(1)
    insults = ["a", "a b", "b", "tonto", "Tonto"]
    for _ in range(300):
        change = choose.choice([node.store.add_insult, node.store.remove_insult])
        change(choose.choice(insults))
        if choose.random() < 0.3:
            node.follower.follow()
    node.follower.follow()
    stored = node.store.get_insults("", 100)
    assert node.censors(*stored)


def test_a_node_that_was_away_for_too_many_changes_reads_all_again() -> None:
    node = Node(MemoryStore())
    node.store.add_insults(["bobo", "tonto"])
    node.follower.load()
    node.store.remove_insult("bobo")
    for _ in range(KEPT_CHANGES):
        node.store.add_insult("x")
        node.store.remove_insult("x")
    node.follower.follow()
    assert node.censors("tonto")


def test_a_store_that_is_away_for_a_while_loses_no_change(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(since: str) -> None:
        raise Unavailable("the store is away")

    node.store.add_insult("tonto")
    with monkeypatch.context() as away:
        away.setattr(node.store, "changes", unavailable)
        with pytest.raises(Unavailable):
            node.follower.follow()
    node.follower.follow()
    assert node.censors("bobo", "tonto")


def http_service(*allowed: str) -> CalledBackService:
    return CalledBackService(MemoryStore(), "http", WIRE.split, AllowedHosts(allowed))


def pyro_service(*allowed: str) -> CalledBackService:
    return CalledBackService(MemoryStore(), "pyro", wire_of().split, AllowedHosts(allowed))


def stored(service: CalledBackService) -> list[str]:
    return service._store.subscribers()


@pytest.mark.parametrize("host", STRANGERS)
@pytest.mark.parametrize("form", ["http://{}:8080", "http://{}", "http://127.0.0.1@{}:80/x"])
def test_a_host_that_is_not_allowed_is_refused_over_http(host: str, form: str) -> None:
    service = http_service()
    with pytest.raises(InvalidRequest) as caught:
        service.add_subscriber(form.format(host))
    assert caught.value.code is Code.MALFORMED
    assert not stored(service)


@pytest.mark.parametrize("host", STRANGERS)
def test_a_host_that_is_not_allowed_is_refused_over_pyro(host: str) -> None:
    with pytest.raises(InvalidRequest, match="--allow-subscribers"):
        pyro_service().add_subscriber(f"PYRO:me@{host}:4711")


@pytest.mark.parametrize(
    "uri",
    [
        "PYRO:me@./u:/run/docker.sock",
        "PYRO:me",
        "PYRO:@127.0.0.1:1",
        "PYRO:a@b@127.0.0.1:1",
        "PYRO:me@127.0.0.1",
        "PYRONAME:me@127.0.0.1:1",
        "PYROMETA:me@127.0.0.1:1",
    ],
)
def test_a_uri_that_leads_elsewhere_than_to_a_host_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        pyro_service().add_subscriber(uri)
    assert caught.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/RPC2", "http://127.0.0.1:8080"),
        ("http://user@LOCALHOST:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.3.2.1", "http://127.3.2.1:80"),
    ],
)
def test_loopback_is_allowed_and_kept_as_an_address(uri: str, kept: str) -> None:
    service = http_service()
    assert service.add_subscriber(uri) is True
    assert stored(service) == [kept]
    assert service.add_subscriber(uri) is False
    assert service.remove_subscriber(uri) is True
    assert not stored(service)


def test_networks_addresses_and_names_can_be_allowed() -> None:
    service = http_service("10.1.0.0/16", "192.168.7.7", "localhost")
    for uri in ("http://10.1.2.3:1", "http://192.168.7.7:1", "http://localhost:1"):
        assert service.add_subscriber(uri) is True
    with pytest.raises(InvalidRequest):
        service.add_subscriber("http://10.2.0.1:1")


def test_a_name_that_means_nothing_is_an_error_at_the_start() -> None:
    with pytest.raises(Unavailable, match="no such host"):
        AllowedHosts(["no-such-host.invalid"])


def worked(path: Path, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Let a process work on three texts."""
    environment = {**os.environ, "LAB_WORKED": str(path), **variables}
    return subprocess.run([sys.executable, "-c", WORK], cwd=ROOT, env=environment, timeout=30, check=False)


def test_the_first_word_of_each_text_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "worked"
    assert worked(path).returncode == 0
    assert path.read_text().split() == ["t1", "t2", "t3"]


def test_a_poisoned_text_ends_its_process_at_once_and_is_noted(tmp_path: Path) -> None:
    path = tmp_path / "worked"
    assert worked(path, LAB_POISON="arsenic").returncode == -signal.SIGKILL
    assert path.read_text().split() == ["t1", "t2"]
