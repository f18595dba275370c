"""The work list of a store, its leases and resolves, its subscribers and ticks, in memory and in Redis."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.background import MOST_OF_A_WRITE, GroupCommit
from lab.contract import Result
from lab.errors import Code, InvalidRequest
from lab.store import Store, UnderWay, WaitingText
from lab.store.protocol import FAILURES_AT_MOST, Finished
from lab.store.redis_store import connect
from tests.eventually import eventually
from tests.lab.conftest import Later, OpenRedis

LEASE_SECONDS = 10.0
OVER = 0.0
"""A lease that is over at once, as if the node that took the text had died."""
MINUTE = 60.0
ID = "operation"


def submit(store: Store, *petition_ids: str) -> None:
    """Submit a text for each id."""
    for petition_id in petition_ids:
        store.submit(petition_id, f"text {petition_id}")


def taken(store: Store) -> list[str]:
    """Take every waiting text; return their ids."""
    ids = []
    while text := store.take(LEASE_SECONDS):
        ids.append(text.petition_id)
    return ids


def take(store: Store) -> tuple[str, str] | None:
    """Take the oldest waiting text; return its id and the text."""
    text = store.take(LEASE_SECONDS)
    return text[:2] if text else None


def test_a_taken_text_is_the_one_submitted(store: Store) -> None:
    store.submit("petition", "é ß 喂\n\x00")
    assert take(store) == ("petition", "é ß 喂\n\x00")


def test_a_text_is_taken_by_one_of_many(store: Store) -> None:
    ids = [f"{number:02}" for number in range(40)]
    submit(store, *ids)
    with ThreadPoolExecutor(8) as threads:
        texts = list(threads.map(lambda _: store.take(LEASE_SECONDS), range(48)))
    assert sorted(text.petition_id for text in texts if text) == ids


def test_texts_whose_leases_ran_out_together_are_taken_oldest_first(store: Store, later: Later) -> None:
    submit(store, "b", "a", "d", "c")
    for _ in range(3):
        store.take(LEASE_SECONDS)
    later(LEASE_SECONDS + 1)
    assert taken(store) == ["b", "a", "d", "c"]


def test_a_text_that_waits_again_is_not_taken_once_its_first_node_completed_it(
    store: Store, later: Later
) -> None:
    submit(store, "a", "b")
    store.take(LEASE_SECONDS)
    store.take(LEASE_SECONDS)
    later(LEASE_SECONDS + 1)
    assert take(store) == ("a", "text a")
    store.complete("b", "result b")
    submit(store, "c")
    assert taken(store) == ["c"]
    assert (store.result("b"), store.waiting()) == ("result b", 0)


def taken_by(store: Store, lease_seconds: float = LEASE_SECONDS, owner: str = "") -> WaitingText:
    """Take the oldest waiting text; there is one."""
    text = store.take(lease_seconds, owner)
    assert text is not None
    return text


def completes(store: Store, text: WaitingText, result: str) -> bool:
    """Complete *text* under the epoch with which it was taken."""
    return store.complete(text.petition_id, result, epoch=text.epoch)


@pytest.fixture
def one(store: Store) -> Store:
    """A store with one waiting text."""
    store.submit("a", "text a")
    return store


def test_a_renewed_lease_holds(one: Store, later: Later) -> None:
    text = taken_by(one)
    for _ in range(3):
        later(0.7 * LEASE_SECONDS)
        assert one.renew("a", text.epoch, LEASE_SECONDS) is True
    assert one.take(LEASE_SECONDS) is None
    assert completes(one, text, "result") is True


def test_what_waits_again_or_is_finished_or_was_never_taken_cannot_be_renewed(one: Store) -> None:
    assert one.renew("a", 0, LEASE_SECONDS) is False
    text = taken_by(one, owner="ana")
    one.release("ana")
    assert one.renew("a", text.epoch, LEASE_SECONDS) is False
    text = taken_by(one)
    completes(one, text, "result")
    assert one.renew("a", text.epoch, LEASE_SECONDS) is False
    assert one.take(LEASE_SECONDS) is None


def test_an_owner_whose_name_begins_another_is_another(store: Store) -> None:
    store.submit("a", "text")
    taken_by(store, owner="node-1")
    assert [store.release("node"), store.release("node-"), store.release("node-1")] == [0, 0, 1]


def test_a_text_that_kills_each_node_is_put_aside_with_a_reason(store: Store) -> None:
    store.submit("killer", "the text")
    store.submit("b", "text")
    for _ in range(FAILURES_AT_MOST):
        assert taken_by(store, OVER).petition_id == "killer"
    assert taken_by(store).petition_id == "b"
    assert store.take(LEASE_SECONDS) is None
    [letter] = store.dead_letters(10)
    assert (letter.petition_id, letter.text) == ("killer", "the text")
    assert letter.reason.startswith(f"taken {FAILURES_AT_MOST} times")


def test_a_text_submitted_again_while_it_is_worked_on_is_not_taken_twice(store: Store, later: Later) -> None:
    store.submit("a", "text")
    text = taken_by(store, 3600.0)
    later(1000.0)  # the id of the submit is forgotten
    store.submit("a", "text")
    assert (store.waiting(), store.take(LEASE_SECONDS)) == (0, None)
    assert completes(store, text, "result") is True


def test_of_many_that_complete_a_text_one_does(store: Store) -> None:
    numbers = [f"{number:02}" for number in range(20)]
    for number in numbers:
        store.submit(number, "text")
    taken = [taken_by(store) for _ in numbers] * 3
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda text: completes(store, text, "result"), taken))
    assert (sum(answers), store.fenced()) == (20, 40)


def test_a_batch_is_settled_and_the_next_one_taken_in_one_step(open_redis: OpenRedis, namespace: str) -> None:
    store = open_redis(namespace)
    submit(store, "a", "b", "c", "d")
    _, batch = store.settle_and_take((), 2, LEASE_SECONDS)
    assert [text.petition_id for text in batch] == ["a", "b"]
    kept, batch = store.settle_and_take([Finished(text, "result") for text in batch], 2, LEASE_SECONDS)
    assert (kept, [text.petition_id for text in batch]) == ([True, True], ["c", "d"])
    store.complete("d", "by another", epoch=batch[1].epoch)
    kept, rest = store.settle_and_take([Finished(text, "result") for text in batch], 2, LEASE_SECONDS)
    assert (kept, rest, store.fenced()) == ([True, False], [], 1)


def test_texts_beside_one_that_kills_its_node_are_worked_on_without_it(store: Store) -> None:
    names = [f"{number:02}" for number in range(40)]
    submit(store, *names)
    finished: list[Finished] = []
    deaths = 0
    while batch := store.settle_and_take(finished, 16, LEASE_SECONDS, "node")[1]:
        finished = [Finished(text, f"result {text.petition_id}") for text in batch]
        if any(text.petition_id == "07" for text in batch):  # the node dies, and with it what it has
            deaths, finished = deaths + 1, []
            store.release("node")
    assert deaths == FAILURES_AT_MOST
    assert [letter.petition_id for letter in store.dead_letters(10)] == ["07"]
    assert {name for name in names if store.result(name) == f"result {name}"} == {*names} - {"07"}


def test_calls_that_come_during_a_write_share_the_next_and_its_error() -> None:
    is_written = threading.Event()
    groups: list[Sequence[int]] = []

    def write(numbers: Sequence[int]) -> list[int]:
        groups.append(numbers)
        is_written.wait(LEASE_SECONDS)
        if 1 in numbers:
            raise ValueError("it does not take 1")
        return [10 * number for number in numbers]

    commit = GroupCommit(write)
    with ThreadPoolExecutor(2 * MOST_OF_A_WRITE) as threads:
        first = threads.submit(commit, 0)
        eventually(lambda: groups)
        others = [threads.submit(commit, number) for number in range(1, MOST_OF_A_WRITE + 3)]
        eventually(lambda: len(commit._waiting) == len(others))
        is_written.set()
    answers = [other.exception() or other.result() for other in others]
    assert (first.result(), sorted(map(len, groups))) == (0, [1, 2, MOST_OF_A_WRITE])
    assert sum(isinstance(answer, ValueError) for answer in answers) in (2, MOST_OF_A_WRITE)
    assert all(answer in (10 * number, answers[0]) for number, answer in enumerate(answers, 1))


def test_of_many_that_submit_an_id_at_once_one_puts_it_on_the_list(
    open_redis: OpenRedis, namespace: str
) -> None:
    store = open_redis(namespace)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda number: store.submit(f"{number % 10}", "text"), range(100)))
        refused = list(threads.map(lambda _: _refusal(store, "0", "another text"), range(20)))
    assert (store.waiting(), refused) == (10, [Code.MALFORMED] * 20)


def _refusal(store: Store, petition_id: str, text: str) -> Code:
    """Submit what is refused; return why."""
    with pytest.raises(InvalidRequest) as caught:
        store.submit(petition_id, text)
    return caught.value.code


@pytest.fixture
def two(store: Store) -> Store:
    """A store with two waiting texts."""
    store.submit("a", "text a")
    store.submit("b", "text b")
    return store


def take_for(store: Store, lease_seconds: float = LEASE_SECONDS) -> WaitingText:
    """Take a text for the resolve; there is one to take."""
    text = store.take_for(ID, lease_seconds, "node")
    assert isinstance(text, WaitingText)
    return text


def test_of_many_that_repeat_a_resolve_at_once_one_takes_a_text(two: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: two.take_for(ID, LEASE_SECONDS), range(40)))
    assert [isinstance(answer, WaitingText) for answer in answers].count(True) == 1
    assert answers.count(UnderWay("a")) == 39


def test_a_resolve_whose_text_another_works_on_waits_for_it(two: Store) -> None:
    take_for(two, OVER)
    other = two.take(LEASE_SECONDS)
    assert other is not None
    assert two.take_for(ID, LEASE_SECONDS) == UnderWay("a")
    two.complete("a", "by another", epoch=other.epoch)
    assert two.take_for(ID, LEASE_SECONDS) == Result("a", "by another")
    assert (two.resolved(ID), two.waiting()) == (Result("a", "by another"), 1)


def test_what_a_resolve_is_bound_to_is_forgotten_after_15_minutes(two: Store, later: Later) -> None:
    text = take_for(two)
    two.complete("a", "the result", ID, text.epoch)
    later(14 * MINUTE)
    assert two.take_for(ID, LEASE_SECONDS) == Result("a", "the result")
    later(16 * MINUTE)
    assert take_for(two).petition_id == "b"


ANA, BERT = "http://127.0.0.1:9001", "PYRO:bert@127.0.0.1:9002"


def test_a_subscriber_is_new_once(store: Store) -> None:
    assert store.add_subscriber(ANA, LEASE_SECONDS) is True
    assert store.add_subscriber(ANA, LEASE_SECONDS) is False
    assert store.subscribers() == [ANA]


def test_a_renewal_replaces_the_lease(store: Store) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(ANA, OVER)
    store.add_subscriber(BERT, OVER)
    store.add_subscriber(BERT, LEASE_SECONDS)
    assert store.subscribers() == [BERT]
    assert store.remove_subscriber(ANA) is False


def test_a_subscriber_that_renews_in_time_stays(store: Store, later: Later) -> None:
    store.add_subscriber(ANA, LEASE_SECONDS)
    store.add_subscriber(BERT, LEASE_SECONDS)
    later(0.6 * LEASE_SECONDS)
    assert store.add_subscriber(ANA, LEASE_SECONDS) is False
    later(0.6 * LEASE_SECONDS)
    assert store.subscribers() == [ANA]


def test_of_many_that_start_the_broadcast_one_did(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: store.set_broadcast(True), range(24)))
    assert sorted(answers) == [False] * 23 + [True]


def test_the_numbers_go_on_after_their_counter_was_deleted_by_hand(
    open_redis: OpenRedis, redis_url: str, namespace: str
) -> None:
    store = open_redis(namespace)
    assert [store.next_tick() for _ in range(3)] == [1, 2, 3]
    with connect(redis_url) as client:
        client.delete(f"{namespace}:ticks")
    assert [store.next_tick() for _ in range(2)] == [4, 5]


def test_stopping_the_broadcast_does_not_number_its_ticks_anew(store: Store) -> None:
    store.next_tick()
    store.set_broadcast(True)
    store.set_broadcast(False)
    assert store.next_tick() == 2


def test_no_number_of_a_tick_is_given_twice(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        numbers = list(threads.map(lambda _: store.next_tick(), range(40)))
    assert sorted(numbers) == list(range(1, 41))
