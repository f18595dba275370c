"""What only the store in Redis has: scripts, a namespace, absences, and a clock that it mistrusts."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lab.addresses import free_port
from lab.bootstrap import ROOT
from lab.contract import Result
from lab.errors import Unavailable
from lab.store import Hold, MemoryStore, Store, open_store
from lab.store.namespace import delete_namespace, is_throwaway, throwaway_namespace
from lab.store.redis_store import SHARED, RedisStore, connect, load
from tests.eventually import eventually
from tests.lab.conftest import OpenRedis, age

CALLS: dict[str, Callable[[Store], object]] = {
    "add_insult": lambda store: store.add_insult("tonto"),
    "add_insult with an id": lambda store: store.add_insult("tonto", "id"),
    "add_insults": lambda store: store.add_insults(["tonto"]),
    "remove_insult": lambda store: store.remove_insult("tonto"),
    "get_insults": lambda store: store.get_insults("", 10),
    "random_insult": lambda store: store.random_insult(),
    "count_insults": lambda store: store.count_insults(),
    "version": lambda store: store.version(),
    "changes": lambda store: store.changes("0-0"),
    "add_subscriber": lambda store: store.add_subscriber("http://host", 30.0),
    "remove_subscriber": lambda store: store.remove_subscriber("http://host"),
    "subscribers": lambda store: store.subscribers(),
    "set_broadcast": lambda store: store.set_broadcast(True),
    "broadcast_on": lambda store: store.broadcast_on(),
    "next_tick": lambda store: store.next_tick(),
    "hold_broadcast": lambda store: store.hold_broadcast("owner", 3.0),
    "leave_broadcast": lambda store: store.leave_broadcast("another"),
    "submit": lambda store: store.submit("petition", "text"),
    "take": lambda store: store.take(3.0),
    "settle_and_take": lambda store: store.settle_and_take((), 3, 3.0),
    "take_for": lambda store: store.take_for("id", 3.0),
    "renew": lambda store: store.renew("petition", 1, 3.0),
    "release": lambda store: store.release("owner"),
    "complete": lambda store: store.complete("petition", "text"),
    "fenced": lambda store: store.fenced(),
    "dead_letters": lambda store: store.dead_letters(10),
    "result": lambda store: store.result("petition"),
    "get_results": lambda store: store.get_results(10),
    "resolved": lambda store: store.resolved("id"),
    "waiting": lambda store: store.waiting(),
    "ping": lambda store: store.ping(),
}
HOUR = 3600.0
LEASE_SECONDS = 1.0
ANA = "http://127.0.0.1:9001"
Jump = Callable[[float], None]
FOLDERS = (SHARED, ROOT / "redis_impl" / "tuned")
GLOBALS = ("redis", "cjson", "KEYS", "ARGV")


@pytest.fixture
def other_namespace(redis_url: str) -> Iterator[str]:
    """A second throw-away namespace."""
    name = throwaway_namespace()
    yield name
    delete_namespace(redis_url, name)


def fill(store: Store) -> None:
    """Let every kind of key be there."""
    for call in CALLS.values():
        call(store)
    store.submit("waits", "text")
    store.complete("resolved", "text", "id")


def test_every_operation_is_unavailable_while_redis_is_away() -> None:
    operations = {name for name in dir(Store) if not name.startswith("_")} - {"close"}
    assert {name.partition(" ")[0] for name in CALLS} == operations
    store = RedisStore(f"redis://127.0.0.1:{free_port()}/0", "lab-00000000", timeout_seconds=5.0)
    for call in CALLS.values():
        with pytest.raises(Unavailable, match="is it running"):
            call(store)


def test_an_operation_repeated_at_another_node_has_its_effect_once(
    open_redis: OpenRedis, namespace: str
) -> None:
    ana, bert = open_redis(namespace), open_redis(namespace)
    assert ana.add_insult("tonto", "id") is True
    ana.remove_insult("tonto")
    assert bert.add_insult("tonto", "id") is True
    assert ana.get_insults("", 10) == []


def test_namespaces_share_nothing(open_redis: OpenRedis, namespace: str, other_namespace: str) -> None:
    fill(open_redis(namespace))
    other = open_redis(other_namespace)
    assert (other.count_insults(), other.subscribers(), other.broadcast_on()) == (0, [], False)
    assert (other.waiting(), other.get_results(10), other.next_tick()) == (0, [], 1)
    assert other.add_insult("tonto", "id") is True


def test_deleting_a_namespace_leaves_nothing_of_it(
    redis_url: str, open_redis: OpenRedis, namespace: str
) -> None:
    fill(open_redis(namespace))
    deleted = delete_namespace(redis_url, namespace)
    with connect(redis_url) as client:
        assert list(client.scan_iter(f"{namespace}*")) == []
    assert deleted >= 10
    assert delete_namespace(redis_url, namespace) == 0


@pytest.mark.parametrize(
    "name", ["insults", "lab-", "lab-1234567", "lab-123456789", "lab-1234567g", "xlab-12345678"]
)
def test_what_is_not_a_throwaway_namespace_is_never_taken_for_one(name: str) -> None:
    assert not is_throwaway(name)


def test_without_a_url_the_state_is_in_memory() -> None:
    assert isinstance(open_store("", "lab-00000000"), MemoryStore)


def test_no_result_comes_twice_in_a_page_while_others_finish(open_redis: OpenRedis, namespace: str) -> None:
    reader, writer = open_redis(namespace), open_redis(namespace)
    numbers = iter(range(3000))
    for number in islice(numbers, 1000):
        writer.complete(f"early {number}", "text")

    def write() -> None:
        for number in numbers:
            writer.complete(f"late {number}", "text")

    with ThreadPoolExecutor(1) as others:
        writing = others.submit(write)
        while not writing.done():
            ids = [result.petition_id for result in reader.get_results(1000)]
            assert len(ids) == len(set(ids))
        writing.result()


@pytest.fixture
def redis_store(open_redis: OpenRedis, namespace: str) -> RedisStore:
    return open_redis(namespace)


@pytest.fixture
def jump(redis_url: str, namespace: str) -> Jump:
    """Let the clock of Redis jump so many seconds: what is stored is that much older, or of the future."""

    def shift(seconds: float) -> None:
        with connect(redis_url) as connection:
            client: Any = connection
            for key in client.scan_iter(f"{namespace}:*"):
                if client.type(key) == "zset" and not key.endswith((":insults", ":owned")):
                    for member in client.zrange(key, 0, -1):
                        client.zincrby(key, -seconds, member)
                elif key.endswith((":heard", ":at")):
                    at, *more = client.get(key).split()
                    client.set(key, " ".join([str(float(at) - seconds), *more]))
                elif (left := client.pttl(key)) > 0:
                    client.pexpire(key, left - int(1000 * seconds))

    return shift


def test_a_dead_nodes_text_waits_no_longer_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(LEASE_SECONDS, "dead")
    jump(-HOUR)
    assert redis_store.take(LEASE_SECONDS) is None
    taken = eventually(lambda: redis_store.take(LEASE_SECONDS, "alive"))
    assert taken
    assert taken.petition_id == "a"


def test_a_lease_of_another_length_ends_at_now_and_its_own_length(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(2 * LEASE_SECONDS, "dead")
    jump(-HOUR)
    assert redis_store.take(60.0) is None
    assert eventually(lambda: redis_store.take(60.0))


def test_nobody_alive_loses_a_text_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.submit("a", "text")
    held = redis_store.take(LEASE_SECONDS, "alive")
    assert held
    jump(HOUR)
    assert redis_store.take(LEASE_SECONDS, "other") is None
    assert redis_store.renew("a", held.epoch, LEASE_SECONDS)
    assert redis_store.complete("a", "result", epoch=held.epoch)


def test_a_dead_nodes_text_is_taken_over_after_the_clock_was_set_forward(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    redis_store.take(LEASE_SECONDS, "dead")
    jump(HOUR)
    assert eventually(lambda: redis_store.take(LEASE_SECONDS, "other"))


def test_a_dead_nodes_text_is_taken_over_by_nodes_that_ask_seldom(redis_store: RedisStore) -> None:
    """A long silence spares a lease once, not for ever."""
    redis_store.submit("a", "text")
    redis_store.take(0.1, "dead")
    found = []
    for _ in range(3):
        time.sleep(1.0)  # not before an assertion: nobody asks meanwhile
        found.append(redis_store.take(0.1))
    assert [bool(text) for text in found][:2] == [False, True]


def test_a_dead_broadcasters_hold_ends_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    assert redis_store.hold_broadcast("dead", LEASE_SECONDS)
    jump(-HOUR)
    assert redis_store.hold_broadcast("alive", LEASE_SECONDS) is None
    hold = eventually(lambda: redis_store.hold_broadcast("alive", LEASE_SECONDS))
    assert hold
    assert redis_store.next_tick(hold.epoch) == 1


def test_the_broadcaster_goes_on_after_the_clock_was_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    hold = redis_store.hold_broadcast("alive", LEASE_SECONDS)
    assert hold == Hold(hold.epoch if hold else 0, None)
    jump(HOUR)
    assert redis_store.next_tick(hold.epoch) == 1
    assert redis_store.hold_broadcast("other", LEASE_SECONDS) is None
    held = redis_store.hold_broadcast("alive", LEASE_SECONDS)
    assert held
    assert held.epoch == hold.epoch


@pytest.mark.parametrize("seconds", [-HOUR, HOUR])
def test_the_last_tick_is_never_in_the_future(redis_store: RedisStore, jump: Jump, seconds: float) -> None:
    redis_store.next_tick()
    jump(seconds)
    hold = redis_store.hold_broadcast("owner", LEASE_SECONDS)
    assert hold
    assert hold.ticked_ago is not None
    assert hold.ticked_ago >= 0


def test_a_silent_subscriber_is_dropped_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.add_subscriber(ANA, LEASE_SECONDS)
    jump(-HOUR)
    eventually(lambda: redis_store.subscribers() == [])


def test_no_subscriber_is_dropped_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.add_subscriber(ANA, LEASE_SECONDS)
    jump(HOUR)
    assert redis_store.subscribers() == [ANA]
    assert redis_store.add_subscriber(ANA, LEASE_SECONDS) is False


def test_results_keep_their_order_and_their_hour_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump, redis_url: str, namespace: str
) -> None:
    for number in range(3):
        redis_store.complete(f"before-{number}", "text")
    jump(-HOUR)
    redis_store.complete("after", "text")
    assert [result.petition_id for result in redis_store.get_results(10)] == [
        "after",
        "before-2",
        "before-1",
        "before-0",
    ]
    age(redis_url, namespace, 0.9 * HOUR)
    assert redis_store.result("before-0") == "text"
    age(redis_url, namespace, 0.2 * HOUR)
    assert (redis_store.result("before-0"), redis_store.get_results(10)) == (None, [])


def test_no_result_is_forgotten_when_the_clock_is_set_forward(redis_store: RedisStore, jump: Jump) -> None:
    redis_store.complete("before", "text")
    jump(HOUR)
    redis_store.complete("after", "text")
    assert redis_store.result("before") == "text"
    assert [result.petition_id for result in redis_store.get_results(10)] == ["after", "before"]


@pytest.mark.parametrize("kind", ["add", "submit", "resolve"])
def test_an_id_lives_no_longer_than_its_length_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump, redis_url: str, namespace: str, kind: str
) -> None:
    def use() -> None:
        if kind == "add":
            redis_store.add_insult("tonto", "id")
        elif kind == "submit":
            redis_store.submit("id", "text")
        else:
            redis_store.take_for("id", LEASE_SECONDS)

    use()
    jump(-HOUR)
    use()
    with connect(redis_url) as client:
        assert 0 < client.ttl(f"{namespace}:op:{kind}:id") <= 900


def test_a_resolve_is_answered_from_the_result_after_the_clock_was_set_back(
    redis_store: RedisStore, jump: Jump
) -> None:
    redis_store.submit("a", "text")
    taken = redis_store.take_for("id", LEASE_SECONDS)
    redis_store.complete("a", "result")
    jump(-HOUR)
    assert taken
    assert redis_store.take_for("id", LEASE_SECONDS) == Result("a", "result")


FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.lua"))]

SCRIPTS = [path for path in FILES if "KEYS:" in path.read_text(encoding="utf-8")]


def head_of(path: Path) -> str:
    """Return the comment that a file begins with."""
    return "\n".join(re.match(r"(--[^\n]*\n)+", path.read_text(encoding="utf-8"))[0].splitlines())  # type: ignore[index]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_begins_with_a_comment_and_what_it_needs_exists(path: Path) -> None:
    needed = re.findall(r"^-- needs: (.*)$", head_of(path), re.MULTILINE)
    for name in " ".join(needed).split():
        assert any((folder / f"{name}.lua").exists() for folder in (path.parent, SHARED)), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_head_of_a_script_tells_keys_and_arguments(path: Path) -> None:
    head = head_of(path)
    assert "KEYS:" in head
    assert "ARGV:" in head


def test_each_needed_file_comes_once_and_before_its_user() -> None:
    script = load("complete")
    places = [script.index(f"local function {name}(") for name in ("now", "result", "hold", "finish")]
    assert places == sorted(places)
    assert script.count("local function now(") == 1


@pytest.mark.skipif(not shutil.which("luacheck"), reason="no luacheck here (Debian: lua-check)")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_passes_the_linter_with_all_that_it_needs(path: Path, tmp_path: Path) -> None:
    whole = tmp_path / path.name
    whole.write_text(load(path.stem, path.parent), encoding="utf-8")
    # 211: a function that only another script of the same file needs.
    command = ["luacheck", "--no-config", "--std", "lua51", "--globals", *GLOBALS, "--ignore", "211"]
    done = subprocess.run(
        [*command, "--no-max-line-length", "--", str(whole)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
