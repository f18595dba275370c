"""The scenarios, by name, in the order in which they are run."""

from harness.faults.rig import Scenario
from harness.faults.scenarios.bombs import BOMBS
from harness.faults.scenarios.brokers import RABBITMQ_KILLED, REDIS_KILLED
from harness.faults.scenarios.drain import DRAIN
from harness.faults.scenarios.frozen import FROZEN
from harness.faults.scenarios.kills import KILLS
from harness.faults.scenarios.malformed import MALFORMED
from harness.faults.scenarios.masters import MASTERS
from harness.faults.scenarios.poison import POISONED
from harness.faults.scenarios.replies import NETWORK, REPLIES
from harness.faults.scenarios.silent import SILENT
from harness.faults.scenarios.subscribers import SUBSCRIBERS

_NODES = (KILLS, FROZEN, MASTERS, POISONED, DRAIN)
_BROKERS_AND_NETWORK = (REDIS_KILLED, RABBITMQ_KILLED, REPLIES, NETWORK)
_CLIENTS = (MALFORMED, BOMBS, SILENT, SUBSCRIBERS)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*_NODES, *_BROKERS_AND_NETWORK, *_CLIENTS)
}
