"""Every line of the table of what is promised under faults, at a size that a test can take.

Counts, codes and survival are tested here, and that no call passes its deadline. How long things take is
judged by ``lab faults``, on a machine that does nothing else.
"""

import pytest

from harness.faults.rig import Rig, Scenario
from harness.faults.session import SCENARIOS
from harness.record.run import Check
from harness.report.faults import describe_fault

TIMES = frozenset({"s", "ms", "x"})
DEADLINES = frozenset({"slowest call", "slowest new client"})
CASES = [
    pytest.param(scenario, name, id=f"{scenario.name}-{name}")
    for scenario in SCENARIOS.values()
    for name in scenario.middlewares
]


@pytest.mark.parametrize(("scenario", "middleware"), CASES)
def test_what_is_promised_holds(rig: Rig, scenario: Scenario, middleware: str) -> None:
    if missing := scenario.missing():
        pytest.skip(missing)
    trial = scenario.run(rig, middleware)
    assert not [check for check in trial.checks if is_tested(check) and not check.holds], describe_fault(
        trial
    )


def test_stock_over_rabbitmq_loses_no_text_of_a_killed_node_and_may_do_it_twice(rig: Rig) -> None:
    trial = SCENARIOS["kills"].run(rig, "rabbitmq:stock")
    assert trial.counts["lost"] == 0, describe_fault(trial)
    assert trial.counts["applied"] > 0


def is_tested(check: Check) -> bool:
    """Leave speeds out; what was never over has no time, and fails."""
    return check.value is None or check.unit not in TIMES or check.what in DEADLINES
