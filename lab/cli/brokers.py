"""Both brokers for the length of a command, as far as they can be had."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.brokers.state import Running, announced, running
from lab.errors import Unavailable
from lab.process.system import BrokerUrls
from lab.settings import Settings


@contextmanager
def brokers(
    settings: Settings, kinds: frozenset[str], *, yes: bool = False, announce: bool = False
) -> Iterator[BrokerUrls]:
    """Provide the *kinds* of brokers, say where each comes from, and end private ones afterwards.

    One that cannot be had is said in one line and has no URL; it is an error if ``LAB_*_URL`` names it, or
    with ``LAB_REQUIRE_BROKERS``.
    *announce*: processes in other terminals find private ones too.
    """
    urls: dict[str, str] = {}
    descriptions: list[str] = []
    with ExitStack() as stack:
        for kind in sorted(kinds):
            try:
                broker = stack.enter_context(_provide(kind, settings, yes))
            except Unavailable as error:
                if settings.require_brokers or (settings.redis_url if kind == "redis" else settings.amqp_url):
                    raise
                say(f"skipping what needs {kind}: {error}")
                continue
            descriptions.append(broker.describe())
            say(descriptions[-1])
            if announce and broker.server:
                _announce(stack, running(kind, broker.url, broker.server.pids))
            urls[kind] = broker.url
        yield BrokerUrls(urls.get("redis", ""), urls.get("rabbitmq", ""), tuple(descriptions))


def _announce(stack: ExitStack, broker: Running) -> None:
    try:
        is_first = stack.enter_context(announced(broker))
    except (OSError, Unavailable) as error:  # this folder is not ours to write
        say(f"other terminals do not find this {broker.kind}, only LAB_*_URL tells them: {error}")
        return
    if not is_first:
        say(f"other terminals find another's {broker.kind}: for two systems at once, `python3 -m lab up`")


def _provide(kind: str, settings: Settings, yes: bool) -> Broker:
    provide = redis_broker if kind == "redis" else rabbitmq_broker
    return provide(settings, may_install=yes)


def child_environment(urls: BrokerUrls) -> dict[str, str]:
    """Return the environment by which a child process finds the brokers."""
    return {**os.environ, **urls.environment()}


def say(message: str) -> None:
    """Tell what happens; results stay on standard output."""
    print(message, file=sys.stderr, flush=True)
