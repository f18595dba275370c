"""How a client goes on when its node dies, retries and waits, by a clock that the test moves."""

from collections.abc import Callable

import pytest

from lab.client.direct import Failover, RetryBudget
from lab.client.retry import LEAST_SECONDS, Backoff, wait_for_result
from lab.errors import Code, DeadlineExceeded, InvalidRequest, NotFound, Overloaded, Unavailable
from tests.lab.conftest import Clock

DEADLINE_SECONDS = 5.0


class Connection:
    """A connection to a node, which knows whether it was closed."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.closed = False

    def close(self) -> None:
        self.closed = True


class System:
    """A master that hands out nodes in turn, and the nodes, some of them dead."""

    def __init__(self, *nodes: str, dead: tuple[str, ...] = ()) -> None:
        self.nodes = list(nodes)
        self.dead = set(dead)
        self.reported: list[str] = []
        self.connections: list[Connection] = []
        self.limits: list[float] = []
        self.client = Failover(self.assign, self.connect, self.report_dead)

    def assign(self, left: float) -> str:
        self.limits.append(left)
        if not self.nodes:
            raise Unavailable("no node is live")
        self.nodes.append(self.nodes.pop(0))
        return self.nodes[-1]

    def connect(self, address: str, left: float) -> Connection:
        self.limits.append(left)
        self.connections.append(Connection(address))
        return self.connections[-1]

    def report_dead(self, address: str, left: float) -> None:
        self.limits.append(left)
        self.reported.append(address)

    def answer(self, connection: Connection, left: float) -> str:
        self.limits.append(left)
        if connection.address in self.dead:
            raise Unavailable(f"{connection.address} does not answer")
        return connection.address

    def call(self) -> str:
        return self.client.call(self.answer, DEADLINE_SECONDS)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the client goes by."""
    clock = Clock()
    for module in ("direct", "retry"):
        monkeypatch.setattr(f"lab.client.{module}.time", clock)
    return clock


def test_calls_of_a_client_go_to_the_same_node_over_one_connection() -> None:
    system = System("a", "b")
    assert [system.call() for _ in range(3)] == ["a", "a", "a"]
    assert len(system.connections) == 1


def test_a_dead_node_is_reported_once_and_its_connection_closed() -> None:
    system = System("a", "b", dead=("a",))
    system.call()
    assert system.reported == ["a"]
    assert [connection.closed for connection in system.connections] == [True, False]


def test_a_node_that_cannot_be_connected_to_is_dead() -> None:
    system = System("a", "b")
    connect = system.connect

    def refuse_a(address: str, left: float) -> Connection:
        if address == "a":
            raise Unavailable("connection refused")
        return connect(address, left)

    client = Failover(system.assign, refuse_a, system.report_dead)
    assert client.call(system.answer, DEADLINE_SECONDS) == "b"
    assert system.reported == ["a"]


def test_that_no_node_is_live_ends_the_call_at_once(clock: Clock) -> None:
    with pytest.raises(Unavailable):
        System().call()
    assert clock.elapsed == 0


def test_a_client_of_one_node_is_told_at_once_that_it_is_dead(clock: Clock) -> None:
    system = System("a", dead=("a",))
    client = Failover(system.assign, system.connect, None)
    with pytest.raises(Unavailable):
        client.call(system.answer, DEADLINE_SECONDS)
    assert clock.elapsed == 0
    assert system.connections[0].closed


def test_a_client_of_one_node_connects_anew_once_the_node_is_back() -> None:
    system = System("a", dead=("a",))
    client = Failover(system.assign, system.connect, None)
    with pytest.raises(Unavailable):
        client.call(system.answer, DEADLINE_SECONDS)
    system.dead.clear()
    assert client.call(system.answer, DEADLINE_SECONDS) == "a"
    assert len(system.connections) == 2


def test_when_no_node_answers_the_call_ends_at_its_deadline(clock: Clock) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        System("a", "b", dead=("a", "b")).call()
    assert clock.elapsed <= DEADLINE_SECONDS
    assert "5 s" in caught.value.message


def test_a_master_that_is_away_does_not_hide_the_answer_of_another_node() -> None:
    system = System("a", "b", dead=("a",))

    def unavailable(address: str, left: float) -> None:
        raise Unavailable("the master is away")

    client = Failover(system.assign, system.connect, unavailable)
    assert client.call(system.answer, DEADLINE_SECONDS) == "b"


@pytest.mark.parametrize("error", [InvalidRequest(Code.MALFORMED, "x"), NotFound("x"), Overloaded("x")])
def test_an_error_that_is_an_answer_is_not_taken_for_a_dead_node(error: Exception) -> None:
    system = System("a", "b")

    def fail(connection: Connection, left: float) -> str:
        raise error

    with pytest.raises(type(error)):
        system.client.call(fail, DEADLINE_SECONDS)
    assert (system.reported, system.connections[0].closed) == ([], False)


def exceed(connection: Connection, left: float) -> str:
    """Do not answer in time."""
    raise DeadlineExceeded("no answer in time")


def test_a_node_that_does_not_answer_in_time_is_reported_and_the_next_call_goes_elsewhere() -> None:
    system = System("a", "b")
    with pytest.raises(DeadlineExceeded):
        system.client.call(exceed, DEADLINE_SECONDS)
    assert (system.reported, system.connections[0].closed) == (["a"], True)
    assert system.call() == "b"


def test_one_node_that_does_not_answer_in_time_is_asked_again_by_the_next_call() -> None:
    system = System("a")
    client = Failover(system.assign, system.connect, None)
    with pytest.raises(DeadlineExceeded):
        client.call(exceed, DEADLINE_SECONDS)
    assert client.call(system.answer, DEADLINE_SECONDS) == "a"
    assert len(system.connections) == 1


def test_what_assigning_took_is_not_given_to_the_attempt_again(clock: Clock) -> None:
    system = System("a")
    assign = system.assign

    def slowly(left: float) -> str:
        clock.now += 4.0
        return assign(left)

    client = Failover(slowly, system.connect, system.report_dead)
    client.call(system.answer, DEADLINE_SECONDS)
    assert system.limits[-1] == pytest.approx(1.0)


def test_a_client_that_was_frozen_beyond_its_deadline_does_not_begin_another_attempt(clock: Clock) -> None:
    system = System("a", "b", dead=("a", "b"))
    report_dead = system.report_dead

    def freeze(address: str, left: float) -> None:
        report_dead(address, left)
        clock.sleep = lambda seconds: setattr(clock, "now", clock.now + 60.0)  # type: ignore[method-assign]

    client = Failover(system.assign, system.connect, freeze)
    with pytest.raises(DeadlineExceeded):
        client.call(system.answer, DEADLINE_SECONDS)
    assert len(system.connections) == 1


def test_no_step_is_given_more_time_than_is_left(clock: Clock) -> None:
    system = System("a", "b", dead=("a", "b"))
    answer = system.answer

    def slow(connection: Connection, left: float) -> str:
        clock.now += 0.4
        return answer(connection, left)

    with pytest.raises(DeadlineExceeded):
        system.client.call(slow, DEADLINE_SECONDS)
    above_the_least = [limit for limit in system.limits if limit > LEAST_SECONDS]
    assert above_the_least == sorted(above_the_least, reverse=True)
    assert 0 < system.limits[-1] < system.limits[0] <= DEADLINE_SECONDS


def test_closing_twice_closes_the_connection_and_a_later_call_opens_another() -> None:
    system = System("a", "b")
    system.call()
    system.client.close()
    system.client.close()
    assert system.connections[0].closed
    assert system.call() == "b"


def test_pauses_have_full_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr("lab.client.retry.random.uniform", lowest)
    system = System("a", "b", "c", "d", dead=("a", "b", "c"))
    assert system.call() == "d"
    assert drawn == [(0.0, 0.02), (0.0, 0.04), (0.0, 0.08)]


def test_a_call_is_repeated_no_more_often_than_the_budget_allows(clock: Clock) -> None:
    system = System("a", "b", dead=("a", "b"))
    client = Failover(system.assign, system.connect, system.report_dead, RetryBudget(2.0, 0.0, 0.0))
    with pytest.raises(Unavailable):
        client.call(system.answer, DEADLINE_SECONDS)
    assert len(system.reported) == 3
    assert clock.elapsed < DEADLINE_SECONDS


def test_a_budget_is_refilled_by_time_and_by_calls_but_never_beyond_its_size(clock: Clock) -> None:
    budget = RetryBudget(at_once=3.0, per_second=2.0, per_call=0.5)
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]
    clock.now += 1.0
    assert [budget.spend() for _ in range(3)] == [True, True, False]
    budget.calls += 1
    budget.calls += 1
    assert [budget.spend() for _ in range(2)] == [True, False]
    clock.now += 3600.0
    assert [budget.spend() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(("attempt", "longest"), [(1, 0.1), (2, 0.2), (3, 0.4), (4, 0.5), (10_000, 0.5)])
def test_a_pause_doubles_up_to_the_longest_with_jitter(attempt: int, longest: float) -> None:
    backoff = Backoff(0.1, 0.5, least_share=0.5)
    pauses = [backoff.pause(attempt) for _ in range(200)]
    assert all(longest / 2 <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 1


def asked(answers: list[str | Exception]) -> Callable[[float], str]:
    """Return a question that gets *answers*, the last one again and again."""

    def ask(left: float) -> str:
        assert left > 0
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def test_a_result_is_asked_for_until_it_is_there() -> None:
    ask = asked([*[NotFound("not yet")] * 5, "text"])
    assert wait_for_result(ask, "petition", DEADLINE_SECONDS) == "text"


def test_a_result_that_never_comes_is_waited_for_until_the_timeout(clock: Clock) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        wait_for_result(asked([NotFound("not yet")]), "petition", DEADLINE_SECONDS)
    assert "petition" in caught.value.message
    assert DEADLINE_SECONDS - 0.1 <= clock.elapsed <= DEADLINE_SECONDS


@pytest.mark.parametrize("timeout_seconds", [0.0, -1.0])
def test_a_result_is_asked_for_once_where_there_is_no_time(timeout_seconds: float) -> None:
    assert wait_for_result(asked(["text"]), "petition", timeout_seconds) == "text"
    with pytest.raises(DeadlineExceeded):
        wait_for_result(asked([NotFound("not yet")]), "petition", timeout_seconds)


def test_an_error_other_than_not_found_ends_the_waiting() -> None:
    with pytest.raises(Unavailable):
        wait_for_result(asked([Unavailable("gone"), "text"]), "petition", DEADLINE_SECONDS)
