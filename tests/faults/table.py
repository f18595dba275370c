"""The scenarios, by name, in the order in which they are run."""

from tests.faults.rig import Scenario
from tests.faults.scenarios.kills import KILLS

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in (KILLS,)}
