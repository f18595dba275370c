"""The scenarios, by name, in the order in which they are run."""

from tests.faults.rig import Scenario
from tests.faults.scenarios.bombs import BOMBS
from tests.faults.scenarios.brokers import RABBITMQ_KILLED, REDIS_KILLED
from tests.faults.scenarios.frozen import FROZEN
from tests.faults.scenarios.kills import KILLS
from tests.faults.scenarios.malformed import MALFORMED
from tests.faults.scenarios.masters import MASTERS
from tests.faults.scenarios.replies import NETWORK, REPLIES
from tests.faults.scenarios.silent import SILENT

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        KILLS,
        FROZEN,
        MASTERS,
        REDIS_KILLED,
        RABBITMQ_KILLED,
        REPLIES,
        NETWORK,
        MALFORMED,
        BOMBS,
        SILENT,
    )
}
