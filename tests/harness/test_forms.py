"""The forms of `lab run`: what they measure, before anything is started."""

from harness.experiment.forms import by_middleware, full_steps, quick_steps, sides, steps_of_one_machine
from harness.experiment.session import CALIBRATION_SECONDS
from harness.record.run import Guarantee
from lab.contract import Architecture
from lab.middleware import MIDDLEWARES, VARIANTS

SHORT_SECONDS = 240.0


def test_the_short_form_is_planned_within_four_minutes() -> None:
    steps = [*quick_steps(VARIANTS), *steps_of_one_machine(VARIANTS, is_full=False)]
    assert CALIBRATION_SECONDS + sum(step.seconds for step in steps) < SHORT_SECONDS


def test_all_variants_of_an_architecture_are_measured_in_the_same_blocks_of_either_form() -> None:
    for steps in (quick_steps(VARIANTS), full_steps(VARIANTS)):
        together = [step.what for step in steps if step.what.startswith("side by side")]
        assert len(together) == 2
        assert all(MIDDLEWARES[name].label in what for what in together for name in VARIANTS)


def test_what_has_a_broker_is_measured_with_nothing_kept_and_on_disk() -> None:
    for architecture in Architecture:
        kept = {name: [side.guarantee for side in sides([name], architecture)] for name in VARIANTS}
        assert kept["redis_impl"] == kept["rabbitmq:stock"] == [Guarantee.NOTHING, Guarantee.DISK]
        assert kept["xmlrpc"] == kept["pyro4:stock"] == [None]


def test_a_variant_that_is_named_alone_is_measured_alone() -> None:
    assert by_middleware(["xmlrpc:stock", "pyro4", "pyro4:stock"]) == [
        ["xmlrpc:stock"],
        ["pyro4", "pyro4:stock"],
    ]
    assert {step.what.split(",")[0] for step in quick_steps(["xmlrpc:stock"])} == {
        "side by side",
        "speedup: XML-RPC stock",
    }
