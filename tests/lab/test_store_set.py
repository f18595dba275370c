"""Under any sequence of calls the insults of a store are a Python set with the rules of operation ids."""

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lab.errors import Code, LabError
from tests.lab.conftest import OpenStore, run_machine

NAMES = st.sampled_from(["a", "A", "b", "b c", "é", "喂", "\U0001f600"])
IDS = st.sampled_from(["", "", "1", "2", "3"])


class InsultsAreASet(RuleBasedStateMachine):
    """Insults against a set; the answers to operations against those that their ids got first."""

    def __init__(self, open_store: OpenStore) -> None:
        super().__init__()
        self.store, self.end = open_store()
        self.model: set[str] = set()
        self.answers: dict[tuple[str, str], tuple[bool, str]] = {}
        self.since = self.store.version()
        self.followed: set[str] = set()

    def teardown(self) -> None:
        self.end()

    def once(self, kind: str, operation_id: str, insult: str, effect: Callable[[], bool]) -> bool | Code:
        """Return what the model says to an operation."""
        if not operation_id:
            return effect()
        if (kind, operation_id) not in self.answers:
            self.answers[kind, operation_id] = effect(), insult
        answer, body = self.answers[kind, operation_id]
        return answer if body == insult else Code.MALFORMED

    @rule(insult=NAMES, operation_id=IDS)
    def add(self, insult: str, operation_id: str) -> None:
        def effect() -> bool:
            new = insult not in self.model
            self.model.add(insult)
            return new

        answer = _answer(lambda: self.store.add_insult(insult, operation_id))
        assert answer is self.once("add", operation_id, insult, effect)

    @rule(insult=NAMES, operation_id=IDS)
    def remove(self, insult: str, operation_id: str) -> None:
        def effect() -> bool:
            was_there = insult in self.model
            self.model.discard(insult)
            return was_there

        answer = _answer(lambda: self.store.remove_insult(insult, operation_id))
        assert answer is self.once("remove", operation_id, insult, effect)

    @rule(after=NAMES, limit=st.integers(1, 4))
    def page(self, after: str, limit: int) -> None:
        wanted = [insult for insult in sorted(self.model) if insult > after][:limit]
        assert self.store.get_insults(after, limit) == wanted

    @rule()
    def random(self) -> None:
        insult = self.store.random_insult()
        assert insult in self.model if self.model else insult is None

    @rule()
    def follow(self) -> None:
        """A node that follows the changes has the same insults in the end."""
        changes = self.store.changes(self.since)
        assert changes.complete
        for added, insult in changes.changes:
            (self.followed.add if added else self.followed.discard)(insult)
        self.since = changes.version
        assert self.followed == self.model

    @invariant()
    def list(self) -> None:
        assert self.store.get_insults("", 100) == sorted(self.model)
        assert self.store.count_insults() == len(self.model)


def _answer(call: Callable[[], bool]) -> bool | Code:
    try:
        return call()
    except LabError as error:
        return Code(error.code)


def test_no_sequence_of_calls_tells_the_insults_from_a_set(open_store: OpenStore, store_kind: str) -> None:
    run_machine(lambda: InsultsAreASet(open_store), examples=150 if store_kind == "memory" else 60)
