"""Each text of a store gets its result once and none is lost, in memory and in Redis."""

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from lab.contract import Result
from lab.errors import InvalidRequest
from lab.limits import MAX_REPLY_BYTES
from lab.store import Store, UnderWay, WaitingText
from lab.store.protocol import FAILURES_AT_MOST, Finished
from tests.lab.conftest import Later, MakeStore, OpenStore, run_machine

HOUR = 3600.0
LEASE_SECONDS = 10.0
LONG, OVER = 3600.0, 0.0
OWNERS = st.sampled_from(["ana", "bert", "carla"])
LEASES = st.sampled_from([LONG, OVER])


def finish(store: Store, *petition_ids: str) -> None:
    """Put a result on the list for each id."""
    for petition_id in petition_ids:
        store.complete(petition_id, f"result {petition_id}")


def test_a_text_done_again_keeps_its_first_result_although_insults_changed_meanwhile(store: Store) -> None:
    assert store.complete("a", "a fool", body="a fool")
    assert not store.complete("a", "a CENSORED", body="a fool")
    with pytest.raises(InvalidRequest, match="this id was used"):
        store.complete("a", "a CENSORED", body="a knave")
    assert store.result("a") == "a fool"


@pytest.mark.parametrize(
    ("limit", "given", "more"), [(1, 1, True), (2, 2, True), (3, 3, False), (4, 3, False)]
)
def test_a_page_of_results_ends_at_its_limit_and_says_whether_there_are_more(
    store: Store, limit: int, given: int, more: bool
) -> None:
    finish(store, "a", "b", "c")
    page = store.get_results(limit)
    assert (len(page), page.more) == (given, more)


@pytest.mark.parametrize("limit", [50, 51, 120, 1000])
def test_a_page_of_many_results_is_in_order(store: Store, limit: int) -> None:
    ids = [f"{number:03}" for number in range(120)]
    finish(store, *ids)
    assert [result.petition_id for result in store.get_results(limit)] == ids[::-1][:limit]


def test_a_page_of_results_stops_at_512_kib_of_utf_8(store: Store) -> None:
    text = "é" * 32_000
    for number in range(12):
        store.complete(str(number), text)
    page = store.get_results(1000)
    assert (len(page), page.more) == (MAX_REPLY_BYTES // 64_001, True)


def test_a_result_that_fills_a_page_is_given_alone(store: Store) -> None:
    store.complete("small", "x")
    store.complete("large", "x" * 2 * MAX_REPLY_BYTES)
    page = store.get_results(10)
    assert ([result.petition_id for result in page], page.more) == (["large"], True)


def test_a_resolve_is_answered_again_with_what_it_gave(store: Store) -> None:
    store.submit("a", "text a")
    store.take(LEASE_SECONDS)
    store.complete("a", 'a "result"\n é', "operation")
    assert store.resolved("operation") == Result("a", 'a "result"\n é')


def test_only_so_many_results_are_kept_and_those_the_newest(
    make_store: MakeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.store.memory.MAX_RESULTS", 3)
    monkeypatch.setattr("lab.store.redis_store.MAX_RESULTS", 3)
    store = make_store()
    finish(store, "a", "b", "c", "d", "e")
    assert [result.petition_id for result in store.get_results(10)] == ["e", "d", "c"]
    assert [store.result(petition_id) for petition_id in "abc"] == [None, None, "result c"]


def test_results_are_kept_for_an_hour_and_older_ones_are_gone(store: Store, later: Later) -> None:
    finish(store, "old")
    later(0.9 * HOUR)
    finish(store, "new")
    assert store.result("old") == "result old"
    assert [result.petition_id for result in store.get_results(10)] == ["new", "old"]
    later(0.2 * HOUR)
    assert store.result("old") is None
    assert [result.petition_id for result in store.get_results(10)] == ["new"]


def test_what_a_resolve_gave_is_forgotten_with_its_operation_id(store: Store, later: Later) -> None:
    store.complete("a", "the result", "operation")
    later(0.3 * HOUR)
    assert store.resolved("operation") is None
    assert store.result("a") == "the result"


def test_a_petition_whose_result_is_too_old_can_have_a_new_one(store: Store, later: Later) -> None:
    finish(store, "old", "other")
    later(1.1 * HOUR)
    assert store.complete("old", "new") is True
    assert (store.result("old"), store.get_results(10)) == ("new", [("old", "new")])


@dataclass
class Text:
    """What the model knows of a submitted text."""

    epoch: int = 0
    owner: str = ""
    lease: float | None = None
    failures: int = 0
    completed: int = 0

    @property
    def is_open(self) -> bool:
        return not self.completed and self.failures < FAILURES_AT_MOST

    @property
    def waits(self) -> bool:
        return self.is_open and self.lease is None

    def give_back(self) -> None:
        self.lease = None
        self.failures += 1


@dataclass(frozen=True)
class Taken:
    """A text as somebody took it, perhaps long ago, and for which resolve."""

    petition_id: str
    epoch: int
    operation_id: str = ""


class NoTextIsLost(RuleBasedStateMachine):
    """The work list: nodes take, renew, freeze, die, complete late; resolves are repeated."""

    taken = Bundle("taken")

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.store, self.end = open_store()
        self.texts: dict[str, Text] = {}
        self.bound: dict[str, str | None] = {}
        self.numbers = count()
        self.epoch = 0
        self.fenced = 0

    def teardown(self) -> None:
        try:
            while text := self.store.take(LONG):
                self.note_taken("last", LONG, text)
                self.complete(Taken(text.petition_id, text.epoch))
            for owner in ("ana", "bert", "carla"):
                assert self.store.release(owner) == self.note_released(owner)
            while text := self.store.take(LONG):
                self.note_taken("last", LONG, text)
                self.complete(Taken(text.petition_id, text.epoch))
            done = {name for name, text in self.texts.items() if text.completed}
            dead = {letter.petition_id for letter in self.store.dead_letters(1000)}
            assert done | dead == set(self.texts)
            assert not done & dead
            assert {result.petition_id for result in self.store.get_results(1000)} == done
        finally:
            self.end()

    def sweep(self) -> None:
        """Let leases run out that are over, as any taking does."""
        for text in self.texts.values():
            if text.is_open and text.lease == OVER:
                text.give_back()

    def note_taken(self, owner: str, lease: float, *batch: WaitingText) -> None:
        self.sweep()
        assert len(batch) <= 1 or not any(self.texts[taken.petition_id].failures for taken in batch)
        assert all(taken.epoch > self.epoch for taken in batch)
        for taken in batch:
            text = self.texts[taken.petition_id]
            assert text.waits
            assert taken.text == f"text {taken.petition_id}"
            self.epoch = text.epoch = taken.epoch
            text.owner, text.lease = owner, lease

    def note_settled(self, taken: Taken, *, is_kept: bool) -> None:
        text = self.texts[taken.petition_id]
        assert is_kept is (text.is_open and text.epoch == taken.epoch)
        text.completed += is_kept
        self.fenced += not is_kept

    def note_released(self, owner: str) -> int:
        released = [text for text in self.texts.values() if text.is_open and text.lease is not None]
        released = [text for text in released if text.owner == owner]
        for text in released:
            text.give_back()
        return len(released)

    def is_nothing_waiting(self) -> bool:
        self.sweep()
        return not any(text.waits for text in self.texts.values())

    @rule()
    def submit(self) -> None:
        name = str(next(self.numbers))
        self.store.submit(name, f"text {name}")
        self.texts[name] = Text()

    @rule(name=st.sampled_from("0123456789"))
    def submit_again(self, name: str) -> None:
        if name in self.texts:
            self.store.submit(name, f"text {name}")
            with pytest.raises(InvalidRequest):
                self.store.submit(name, "another text")

    @rule(target=taken, lease=LEASES, owner=OWNERS)
    def take(self, lease: float, owner: str) -> object:
        text = self.store.take(lease, owner)
        if text is None:
            assert self.is_nothing_waiting()
            return multiple()
        self.note_taken(owner, lease, text)
        return Taken(text.petition_id, text.epoch)

    @rule(target=taken, operation_id=st.sampled_from("xyz"), lease=LEASES, owner=OWNERS)
    def resolve(self, operation_id: str, lease: float, owner: str) -> object:
        known = self.bound.get(operation_id, "")
        answer = self.store.take_for(operation_id, lease, owner)
        if isinstance(answer, WaitingText):
            self.note_taken(owner, lease, answer)
            assert known is not None
            assert not known or known == answer.petition_id or not self.texts[known].is_open
            self.bound[operation_id] = answer.petition_id
            return Taken(answer.petition_id, answer.epoch, operation_id)
        if isinstance(answer, UnderWay):
            self.sweep()
            assert answer.petition_id == known
            assert self.texts[known].lease == LONG
        elif isinstance(answer, Result):
            assert answer == (known, f"result {known}")
            assert self.texts[answer.petition_id].completed == 1
        else:
            assert known is None or self.is_nothing_waiting()
            self.bound[operation_id] = None
        return multiple()

    @rule(taken=taken)
    def complete(self, taken: Taken) -> None:
        result = f"result {taken.petition_id}"
        answer = self.store.complete(taken.petition_id, result, taken.operation_id, taken.epoch)
        self.note_settled(taken, is_kept=answer)

    @rule(target=taken, done=st.lists(taken, max_size=3), most=st.integers(0, 3), lease=LEASES, owner=OWNERS)
    def settle_and_take(self, done: list[Taken], most: int, lease: float, owner: str) -> object:
        done = [each for each in done if not each.operation_id]
        finished = [
            Finished(WaitingText(each.petition_id, "", each.epoch), f"result {each.petition_id}")
            for each in done
        ]
        kept, batch = self.store.settle_and_take(finished, most, lease, owner)
        for each, is_kept in zip(done, kept, strict=True):
            self.note_settled(each, is_kept=is_kept)
        assert len(batch) <= most
        if most:
            self.note_taken(owner, lease, *batch)
            assert batch or self.is_nothing_waiting()
        return multiple(*(Taken(text.petition_id, text.epoch) for text in batch))

    @rule(taken=taken)
    def renew(self, taken: Taken) -> None:
        text = self.texts[taken.petition_id]
        is_its_own = text.is_open and text.epoch == taken.epoch and text.lease is not None
        assert self.store.renew(taken.petition_id, taken.epoch, LONG) is is_its_own
        if is_its_own:
            text.lease = LONG

    @rule(owner=OWNERS)
    def die(self, owner: str) -> None:
        assert self.store.release(owner) == self.note_released(owner)

    @invariant()
    def what_is_completed_has_its_result_and_late_ones_are_counted(self) -> None:
        for name, text in self.texts.items():
            assert self.store.result(name) == (f"result {name}" if text.completed else None)
        assert self.store.fenced() == self.fenced


def test_no_sequence_of_calls_loses_a_text(open_store: OpenStore, store_kind: str) -> None:
    run_machine(lambda: NoTextIsLost(open_store), examples=100 if store_kind == "memory" else 20)
