"""The ledger: every request is in exactly one place, and what is lost, doubled or unexpected is named."""

from hypothesis import given
from hypothesis import strategies as st

from harness.faults.load import (
    EFFECTS,
    Entry,
    Found,
    Outcome,
    close,
    held_up,
    outcome_of,
    percentile,
    resumed,
    timeline,
)
from lab.operations import Operation

SECOND = 1_000_000_000
ACKNOWLEDGED, REJECTED, INDETERMINATE = Outcome.ACKNOWLEDGED, Outcome.REJECTED, Outcome.INDETERMINATE


def entry(
    token: str,
    outcome: Outcome = ACKNOWLEDGED,
    operation: Operation = Operation.SUBMIT,
    *,
    is_right: bool = True,
    at: float = 0.0,
    took: float = 0.1,
    client: int = 0,
) -> Entry:
    sent = int(at * SECOND)
    petition_id = f"id-{token}" if outcome is ACKNOWLEDGED and operation is Operation.SUBMIT else ""
    done = sent + int(took * SECOND)
    return Entry(token, operation, sent, sent, done, outcome, "", is_right, petition_id, client)


def found(token: str, **more: object) -> Found:
    return Found(token, f"id-{token}", **more)  # type: ignore[arg-type]


def test_what_is_acknowledged_and_not_there_is_lost() -> None:
    account = close([entry("a"), entry("b")], [found("a")])
    assert account.lost == ["b"]
    assert (account.attempted, account.applied) == (2, 1)


def test_what_is_there_under_another_id_than_the_clients_is_lost_to_it() -> None:
    assert close([entry("a")], [Found("a", "somebody's")]).lost == ["a"]


def test_an_indeterminate_request_is_never_lost_and_recovered_if_it_is_there() -> None:
    account = close([entry("a", INDETERMINATE), entry("b", INDETERMINATE)], [found("b")])
    assert (account.lost, account.unexpected, account.recovered) == ([], [], 1)


def test_what_nobody_sent_or_was_rejected_is_unexpected() -> None:
    assert close([entry("a", REJECTED)], [found("a"), found("z")]).unexpected == ["a", "z"]


def test_two_effects_of_one_request_are_told() -> None:
    account = close([entry("a")], [found("a"), Found("a", "another")])
    assert (account.duplicated, account.lost) == (["a"], [])


def test_an_insult_never_sent_before_that_was_there_already_had_its_effect_twice() -> None:
    account = close([entry("a", operation=Operation.ADD_INSULT, is_right=False)], [Found("a")])
    assert account.duplicated == ["a"]


def test_executions_beyond_the_first_are_counted_and_are_no_effects() -> None:
    account = close([entry("a"), entry("b")], [found("a"), found("b")], ["a", "a", "a", "b", "canary"])
    assert (account.repeated, account.duplicated) == (2, [])


def test_wrong_contents_are_named() -> None:
    entries = [entry("a", operation=Operation.FILTER, is_right=False), entry("b")]
    assert close(entries, [found("b", is_right=False)]).wrong == ["a", "b"]


def test_a_filtered_text_leaves_nothing_to_be_lost() -> None:
    assert close([entry("a", operation=Operation.FILTER)], []).lost == []


def test_an_error_that_leaves_it_open_is_indeterminate_and_a_refusal_is_not() -> None:
    assert {outcome_of(code) for code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "INTERNAL_ERROR")} == {
        INDETERMINATE
    }
    assert {outcome_of(code) for code in ("OVERLOADED", "TOO_LARGE", "MALFORMED")} == {REJECTED}


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.sampled_from(Outcome), max_size=20),
    st.lists(st.text("abcz", min_size=1, max_size=3), max_size=30),
)
def test_every_token_is_in_its_place(outcomes: dict[str, Outcome], applied: list[str]) -> None:
    entries = [entry(token, outcome) for token, outcome in outcomes.items()]
    account = close(entries, [found(token) for token in applied])
    acknowledged = {token for token, outcome in outcomes.items() if outcome is ACKNOWLEDGED}
    rejected = {token for token, outcome in outcomes.items() if outcome is REJECTED}
    assert set(account.lost) == acknowledged - set(applied)
    assert set(account.unexpected) == set(applied) - (set(outcomes) - rejected)
    assert set(account.duplicated) == {token for token in applied if applied.count(token) > 1}
    assert sum(account.outcomes.values()) == account.attempted == len(outcomes)


def test_every_effect_is_an_operation_of_the_ledger() -> None:
    assert {Operation.ADD_INSULT, Operation.SUBMIT} == EFFECTS


def test_answers_are_counted_where_they_came() -> None:
    line = timeline(
        [entry("a", at=0.1), entry("b", at=0.1, took=0.9), entry("c", INDETERMINATE, at=0.6)], 0, 0.5
    )
    assert (line.done, line.unanswered) == ([1, 0, 1], [0, 1, 0])
    assert [value and round(value) for value in line.p99_ms] == [100, None, 900]


def test_what_was_under_way_at_a_fault_waits_from_then_and_what_came_later_from_its_plan() -> None:
    entries = [
        entry("under way", at=0.9, took=0.6),
        entry("over", at=0.5, took=0.1),
        entry("later", at=1.5, took=0.2),
        entry("much later", at=9.0),
    ]
    assert sorted(round(delay, 3) for delay in held_up(SECOND, entries)) == [0.2, 0.5]


def test_a_submitted_text_without_its_result_is_under_way() -> None:
    delays = held_up(SECOND, [entry("a", at=0.5)], [found("a", finished_ns=3 * SECOND)])
    assert delays == [2.0]


def test_clients_have_resumed_when_the_last_of_them_has_an_answer() -> None:
    entries = [entry("a", at=1.0, took=0.5), entry("b", at=1.0, took=2.0, client=1)]
    assert resumed(SECOND, entries) == 2.0
    assert resumed(SECOND, [*entries, entry("c", INDETERMINATE, at=1.0, client=2)]) is None


def test_a_percentile_of_few_is_the_largest() -> None:
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert percentile(range(1, 1001), 0.99) == 990
    assert percentile([], 0.99) is None
