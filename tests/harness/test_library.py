"""Nothing of the tuned variant lies between a stock client and its library, in client or node."""

import pytest

from harness.experiment.bench import Bench
from harness.experiment.library import library_share
from harness.load.workload import Workload
from lab.contract import Application
from lab.middleware import STOCK_LACKS
from lab.process.system import BrokerUrls

ALLOWED = (
    "lab/client/calls.py",
    "lab/operations.py",
    "lab/process/",
    "lab/errors.py",
    "lab/background.py",
    "lab/work.py",
)
"""What checks arguments, names operations, keeps a process and its jobs, or spends the declared work."""


@pytest.mark.parametrize("middleware", STOCK_LACKS)
def test_a_stock_call_runs_the_library_and_nothing_that_replaces_it(
    request: pytest.FixtureRequest, middleware: str
) -> None:
    needs = {"redis_impl": "redis_url", "rabbitmq": "amqp_url"}.get(middleware)
    url = request.getfixturevalue(needs) if needs else ""
    brokers = BrokerUrls(url if middleware == "redis_impl" else "", url if middleware == "rabbitmq" else "")
    share = library_share(Bench(brokers, Workload(Application.FILTER)), f"{middleware}:stock", 0.3)
    own = (f"{middleware}/stock.py", *ALLOWED)
    assert [file for file in share.files if not file.startswith(own)] == []
    assert share.calls["library"] > share.calls["carrying"]
