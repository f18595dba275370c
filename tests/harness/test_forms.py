"""The forms of `lab run`: what they measure, before anything is started."""

from harness.experiment.forms import by_middleware, full_steps, quick_steps, steps_of_one_machine
from harness.experiment.session import CALIBRATION_SECONDS
from lab.middleware import STOCK_LACKS, VARIANTS

SHORT_SECONDS = 180.0


def test_the_short_form_is_planned_within_three_minutes() -> None:
    steps = [*quick_steps(VARIANTS), *steps_of_one_machine(VARIANTS, is_full=False)]
    assert CALIBRATION_SECONDS + sum(step.seconds for step in steps) < SHORT_SECONDS


def test_both_variants_of_a_middleware_are_measured_in_one_step_of_either_form() -> None:
    for steps in (quick_steps(VARIANTS), full_steps(VARIANTS)):
        together = [step.what for step in steps if " stock" in step.what and " and " in step.what]
        assert len([what for what in together if what.endswith(("one-node", "n-node"))]) == 2 * len(
            STOCK_LACKS
        )


def test_a_variant_that_is_named_alone_is_measured_alone() -> None:
    assert by_middleware(["xmlrpc:stock", "pyro4", "pyro4:stock"]) == [
        ["xmlrpc:stock"],
        ["pyro4", "pyro4:stock"],
    ]
    assert {step.what.split(",")[0] for step in quick_steps(["xmlrpc:stock"])} == {
        "XML-RPC stock",
        "speedup: XML-RPC stock",
    }
