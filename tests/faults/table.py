"""The scenarios, by name, in the order in which they are run."""

from tests.faults.rig import Scenario
from tests.faults.scenarios.bombs import BOMBS
from tests.faults.scenarios.brokers import RABBITMQ_KILLED, REDIS_KILLED
from tests.faults.scenarios.drain import DRAIN
from tests.faults.scenarios.frozen import FROZEN
from tests.faults.scenarios.kills import KILLS
from tests.faults.scenarios.malformed import MALFORMED
from tests.faults.scenarios.masters import MASTERS
from tests.faults.scenarios.poison import POISONED
from tests.faults.scenarios.replies import NETWORK, REPLIES
from tests.faults.scenarios.silent import SILENT
from tests.faults.scenarios.subscribers import SUBSCRIBERS

_NODES = (KILLS, FROZEN, MASTERS, POISONED, DRAIN)
_BROKERS_AND_NETWORK = (REDIS_KILLED, RABBITMQ_KILLED, REPLIES, NETWORK)
_CLIENTS = (MALFORMED, BOMBS, SILENT, SUBSCRIBERS)

SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario for scenario in (*_NODES, *_BROKERS_AND_NETWORK, *_CLIENTS)
}
