"""The experiments of the lab: whole in each form, and what `run` and `stress` measure under each option."""

from pathlib import Path

import pytest

from harness.experiment.command import shipped
from harness.experiment.definition import Filling
from harness.experiment.document import EXPERIMENTS, read_experiment
from harness.experiment.runner import steps_of
from harness.experiment.session import CALIBRATION_SECONDS, Step
from harness.record.run import Guarantee
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_of_the_lab_begins_with_its_question_and_is_whole_in_each_form(path: Path) -> None:
    assert path.read_text(encoding="utf-8").startswith("question: ")
    for is_full in (False, True):
        found = read_experiment(path, Filling(is_full=is_full))
        assert found.question.endswith("?")
        assert all(step.seconds > 0 for step in steps_of(found))


ALL_STUDIES = ["requests", "pipelined", "accepted", "clients", "capacity"]


@pytest.mark.parametrize(
    ("load", "has", "studies"),
    [
        ({"clients": "8"}, {"clients": {8}}, ["requests", "pipelined", "accepted"]),
        ({"nodes": "5"}, {"nodes": {0, 5}}, ALL_STUDIES),
        ({"in flight": "20"}, {"in_flight": {20}}, ["pipelined"]),
        ({"text": "1KiB"}, {"text_bytes": {1024}}, ALL_STUDIES),
        ({"work": "5ms waiting"}, {"work": {"5ms waiting"}}, ALL_STUDIES),
        ({"handler": "builtins:repr"}, {"handler": {"builtins:repr"}}, ALL_STUDIES),
        ({"guarantee": "on disk"}, {"guarantee": {Guarantee.DISK}}, ALL_STUDIES),
        ({"batch": "10"}, {"batch": {10}}, ["requests", "clients"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_a_stress_takes_each_option_of_the_load_and_leaves_out_what_cannot_be_with_it(
    load: dict[str, str], has: dict[str, set[object]], studies: list[str]
) -> None:
    name = "xmlrpc" if "batch" in load else "redis_impl"
    wanted = [one for one in ALL_STUDIES if one != "capacity" or "batch" not in load]
    parts = read_experiment(EXPERIMENTS / "stress.yaml", Filling(load, only=[name], studies=wanted)).parts
    ((field, values),) = has.items()
    found = {part.study for part in parts if {getattr(side, field) for side in part.sides} <= values}
    assert [study for study in ALL_STUDIES if study in found] == studies
    for part in parts:  # a number of nodes is that of the systems that have several
        assert all(side.nodes <= 1 for side in part.sides if side.architecture == Architecture.ONE_NODE)


def test_parts_of_one_system_are_measured_one_after_the_other_while_it_stays_up() -> None:
    found = read_experiment(EXPERIMENTS / "run.yaml", Filling(only=["redis_impl", "xmlrpc"]))
    assert [step.what for step in steps_of(found)][:4] == [
        "requests, pipelined: XML-RPC, one-node",
        "requests, speedup: XML-RPC, n-node",
        "requests, pipelined: Redis, one-node",
        "requests, speedup: Redis, n-node",
    ]


def test_a_run_measures_both_guarantees_and_variants_of_a_middleware_in_the_same_blocks() -> None:
    for is_full in (False, True):
        found = read_experiment(EXPERIMENTS / "run.yaml", Filling(is_full=is_full))
        parts = [
            part for part in found.parts if part.study == "requests" and part.blocks > 1 and not part.ramp
        ]
        for part in parts:
            name, kept = part.sides[0].middleware.partition(":")[0], {one.guarantee for one in part.sides}
            both = {Guarantee.NOTHING, Guarantee.DISK} if MIDDLEWARES[name].broker else {Guarantee.NOTHING}
            assert kept == both
            assert {side.middleware for side in part.sides} == {name, f"{name}:stock"}
            assert len(part.sides) == 2 * len(both)
        assert len(parts) == 2 * len(MIDDLEWARES)


def test_a_run_over_several_machines_varies_no_guarantee() -> None:
    found = read_experiment(EXPERIMENTS / "run.yaml", Filling(is_spread=True))
    assert {side.guarantee for part in found.parts for side in part.sides} == {None}


SHORT_SECONDS = 180.0


def steps_of_run(*only: str) -> list[Step]:
    """Return the steps of the short form of `lab run`."""
    return steps_of(read_experiment(shipped("run"), Filling(only=only)))


def test_the_short_form_is_planned_within_three_minutes() -> None:
    assert CALIBRATION_SECONDS + sum(step.seconds for step in steps_of_run()) < SHORT_SECONDS


def test_a_variant_that_is_named_alone_is_measured_alone() -> None:
    assert {step.what.rpartition(": ")[2] for step in steps_of_run("xmlrpc:stock")} == {
        "XML-RPC stock, one-node",
        "XML-RPC stock, n-node",
    }
