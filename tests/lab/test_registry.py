"""Which nodes live and whose turn it is, by a clock that the test moves."""

from collections.abc import Callable

import pytest

from lab.process.registry import Member, Registry

LEASE_SECONDS = 2.0
START = 1_000.0


class Scene:
    """A registry and its clock."""

    def __init__(self, *names: str) -> None:
        self.now = START
        self.registry = Registry(LEASE_SECONDS)
        for name in names:
            self.join(name)

    def join(self, name: str, address: str = "") -> None:
        self.registry.join(name, address or f"http://{name}", self.now)

    def beat(self, *names: str) -> list[bool]:
        return [self.registry.beat(name, self.now) for name in names]

    def live(self) -> list[str]:
        return sorted(member.name for member in self.registry.live(self.now))

    def turns(self, count: int) -> list[str | None]:
        """Assign *count* times in turn."""
        return [_name(self.registry.round_robin(self.now)) for _ in range(count)]

    def least(self, count: int) -> list[str | None]:
        """Assign *count* times to who has least."""
        return [_name(self.registry.least_assigned(self.now)) for _ in range(count)]


def _name(member: Member | None) -> str | None:
    return member.name if member else None


def test_without_nodes_nobody_is_handed_out() -> None:
    scene = Scene()
    assert (scene.turns(1), scene.least(1), scene.live()) == ([None], [None], [])


def test_a_node_that_joined_is_found_with_its_address() -> None:
    scene = Scene()
    scene.join("a", "http://127.0.0.1:8002")
    member = scene.registry.find("a", scene.now)
    assert member is not None
    assert (member.name, member.address) == ("a", "http://127.0.0.1:8002")


def test_a_node_that_never_joined_is_not_found() -> None:
    scene = Scene("a")
    assert scene.registry.find("b", scene.now) is None
    assert scene.beat("b") == [False]
    assert scene.live() == ["a"]


def test_a_node_lives_to_the_end_of_its_lease() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS
    assert scene.live() == ["a"]
    scene.now += 0.001
    assert scene.live() == []


def test_a_node_that_beats_goes_on_living() -> None:
    scene = Scene("a", "b")
    for _ in range(10):
        scene.now += 0.9 * LEASE_SECONDS
        assert scene.beat("a") == [True]
    assert scene.live() == ["a"]


def test_a_beat_after_the_lease_is_over_is_refused_and_does_not_revive() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS + 0.001
    assert scene.beat("a", "a") == [False, False]
    assert scene.live() == []


def test_a_node_that_was_dropped_can_join_again() -> None:
    scene = Scene("a")
    scene.now += 2 * LEASE_SECONDS
    scene.join("a")
    assert (scene.beat("a"), scene.turns(2)) == ([True], ["a", "a"])


def test_expiry_names_each_dropped_node_once() -> None:
    scene = Scene("a", "b", "c")
    scene.now += LEASE_SECONDS
    scene.beat("b")
    scene.now += 0.001
    assert sorted(scene.registry.expire(scene.now)) == ["a", "c"]
    assert scene.registry.expire(scene.now) == []


@pytest.mark.parametrize("ask", [Scene.turns, Scene.least])
def test_a_dead_node_is_never_handed_out(ask: Callable[[Scene, int], list[str | None]]) -> None:
    scene = Scene("a", "b", "c")
    scene.now += LEASE_SECONDS
    scene.beat("b")
    scene.now += 0.001
    assert ask(scene, 3) == ["b", "b", "b"]


def test_a_dead_node_is_not_found() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS + 0.001
    assert scene.registry.find("a", scene.now) is None


def test_a_node_that_left_is_not_handed_out() -> None:
    scene = Scene("a", "b", "c")
    assert scene.registry.leave("b") is True
    assert set(scene.turns(4)) == set(scene.least(4)) == {"a", "c"}


def test_leaving_twice_says_so() -> None:
    scene = Scene("a")
    assert [scene.registry.leave("a"), scene.registry.leave("a")] == [True, False]


def test_nodes_take_turns_in_the_order_in_which_they_joined() -> None:
    assert Scene("c", "a", "b").turns(7) == ["c", "a", "b", "c", "a", "b", "c"]


def test_a_beat_does_not_change_whose_turn_it_is() -> None:
    scene = Scene("a", "b", "c")
    scene.turns(1)
    scene.beat("b", "c", "a")
    assert scene.turns(3) == ["b", "c", "a"]


def test_a_new_node_waits_for_those_that_were_there() -> None:
    scene = Scene("a", "b")
    scene.turns(1)
    scene.join("c")
    assert scene.turns(3) == ["b", "a", "c"]


def test_a_node_that_dies_does_not_upset_the_turns_of_the_others() -> None:
    scene = Scene("a", "b", "c", "d")
    scene.turns(2)
    scene.registry.leave("c")
    assert scene.turns(4) == ["d", "a", "b", "d"]


def test_who_has_fewest_assignments_is_next() -> None:
    scene = Scene("a", "b")
    scene.turns(2)
    scene.registry.round_robin(scene.now)
    assert scene.least(3) == ["b", "a", "b"]


def test_of_those_with_equally_few_the_one_longest_silent_is_next() -> None:
    scene = Scene("a", "b", "c")
    for name in ("b", "c", "a"):
        scene.now += 0.1
        scene.beat(name)
    assert scene.least(6) == ["b", "c", "a", "b", "c", "a"]


def test_assignments_are_spread_evenly() -> None:
    scene = Scene("a", "b", "c")
    scene.least(300)
    assert [member.assigned for member in scene.registry.live(scene.now)] == [100, 100, 100]


def test_a_beat_keeps_the_count_of_assignments() -> None:
    scene = Scene("a", "b")
    scene.turns(1)
    scene.beat("a")
    assert scene.least(1) == ["b"]


def test_a_new_node_is_not_flooded_to_catch_up() -> None:
    scene = Scene("a", "b")
    scene.least(100)
    scene.join("c")
    assert sorted(map(str, scene.least(6))) == ["a", "a", "b", "b", "c", "c"]


def test_joining_again_replaces_the_address() -> None:
    scene = Scene("a")
    scene.join("a", "http://elsewhere")
    assert [member.address for member in scene.registry.live(scene.now)] == ["http://elsewhere"]
    assert scene.turns(2) == ["a", "a"]


def test_joining_again_renews_the_lease() -> None:
    scene = Scene("a")
    scene.now += LEASE_SECONDS
    scene.join("a")
    scene.now += LEASE_SECONDS
    assert scene.live() == ["a"]


def test_live_nodes_come_longest_silent_first() -> None:
    scene = Scene("a", "b", "c")
    scene.now += 0.1
    scene.beat("a")
    assert [member.name for member in scene.registry.live(scene.now)] == ["b", "c", "a"]


@pytest.mark.parametrize("jump_seconds", [-3600.0, -0.5])
def test_a_clock_that_was_set_back_ends_no_lease_late(jump_seconds: float) -> None:
    scene = Scene("a", "b", "c")
    scene.now += jump_seconds
    assert scene.live() == ["a", "b", "c"]
    scene.now += 1.5
    assert scene.beat("b") == [True]
    scene.now += 1.0
    assert scene.live() == ["b"]
    assert scene.turns(2) == scene.least(2) == ["b", "b"]
