"""How a client of a direct middleware goes on when its node dies, by a clock that the test moves."""

import pytest

from lab.client.retry import LEAST_SECONDS, Failover
from lab.errors import Code, DeadlineExceeded, InvalidRequest, NotFound, Overloaded, Unavailable
from tests.lab.clock import Clock
from tests.lab.nodes import DEADLINE_SECONDS, Connection, System


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the client goes by."""
    clock = Clock()
    monkeypatch.setattr("lab.client.retry.time", clock)
    return clock


def test_a_call_is_answered_by_the_assigned_node() -> None:
    assert System("a", "b").call() == "a"


def test_calls_of_a_client_go_to_the_same_node_over_one_connection() -> None:
    system = System("a", "b")
    assert [system.call() for _ in range(3)] == ["a", "a", "a"]
    assert len(system.connections) == 1


def test_when_its_node_dies_the_call_is_repeated_at_another() -> None:
    system = System("a", "b")
    system.call()
    system.dead = {"a"}
    assert system.call() == "b"


def test_a_dead_node_is_reported_once_and_its_connection_closed() -> None:
    system = System("a", "b", dead=("a",))
    system.call()
    assert system.reported == ["a"]
    assert [connection.closed for connection in system.connections] == [True, False]


def test_every_dead_node_on_the_way_to_a_live_one_is_reported() -> None:
    system = System("a", "b", "c", dead=("a", "b"))
    assert (system.call(), system.reported) == ("c", ["a", "b"])


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


def test_between_attempts_the_client_pauses(clock: Clock) -> None:
    system = System("a", "b", dead=("a", "b"))
    with pytest.raises(DeadlineExceeded):
        system.call()
    assert 10 <= len(system.reported) <= 50  # of 20 ms, doubled up to 500 ms


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
