"""Start the system a test asks for, with the brokers of this session."""

import pytest

from lab.process.system import BrokerUrls, System, SystemSpec


def system_for(request: pytest.FixtureRequest, spec: SystemSpec, *, supervised: bool = False) -> System:
    """Return the system of *spec*, not yet started; skip or fail where a broker it needs is missing."""
    needed = spec.needed_brokers
    urls = BrokerUrls(
        redis=request.getfixturevalue("redis_url") if "redis" in needed else "",
        amqp=request.getfixturevalue("amqp_url") if "rabbitmq" in needed else "",
    )
    return System(spec, urls, supervised=supervised)
