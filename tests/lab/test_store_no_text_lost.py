"""Under any sequence of calls each text of the work list is completed exactly once and none is lost."""

from dataclasses import dataclass
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from lab.contract import Result
from lab.errors import InvalidRequest
from lab.store import UnderWay, WaitingText
from lab.store.protocol import FAILURES_AT_MOST
from tests.lab.conftest import OpenStore, run_machine

LONG, OVER = 3600.0, 0.0
OWNERS = st.sampled_from(["ana", "bert", "carla"])
LEASES = st.sampled_from([LONG, OVER])


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
                self.note_taken(text, "last", LONG)
                self.complete(Taken(text.petition_id, text.epoch))
            for owner in ("ana", "bert", "carla"):
                assert self.store.release(owner) == self.note_released(owner)
            while text := self.store.take(LONG):
                self.note_taken(text, "last", LONG)
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

    def note_taken(self, taken: WaitingText, owner: str, lease: float) -> None:
        self.sweep()
        text = self.texts[taken.petition_id]
        assert text.waits
        assert taken.epoch > self.epoch
        assert taken.text == f"text {taken.petition_id}"
        self.epoch = text.epoch = taken.epoch
        text.owner, text.lease = owner, lease

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
        self.note_taken(text, owner, lease)
        return Taken(text.petition_id, text.epoch)

    @rule(target=taken, operation_id=st.sampled_from("xyz"), lease=LEASES, owner=OWNERS)
    def resolve(self, operation_id: str, lease: float, owner: str) -> object:
        known = self.bound.get(operation_id, "")
        answer = self.store.take_for(operation_id, lease, owner)
        if isinstance(answer, WaitingText):
            self.note_taken(answer, owner, lease)
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
        text = self.texts[taken.petition_id]
        is_its_own = text.is_open and text.epoch == taken.epoch
        answer = self.store.complete(
            taken.petition_id, f"result {taken.petition_id}", taken.operation_id, taken.epoch
        )
        assert answer is is_its_own
        text.completed += answer
        self.fenced += not answer

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
    run_machine(lambda: NoTextIsLost(open_store), examples=150 if store_kind == "memory" else 30)
