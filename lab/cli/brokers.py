"""Both brokers: for the length of a command, or from ``lab up`` until ``lab down``."""

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from lab.addresses import free_port
from lab.brokers import Broker, located, rabbitmq_broker, redacted, redis_broker
from lab.brokers.provide import private_rabbitmq, private_redis
from lab.brokers.server import Server
from lab.brokers.state import FOLDER, Running, announced, changing, running, write_state
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES
from lab.options import LOOPBACK, Parser, add_yes_option, host
from lab.process.system import BrokerUrls
from lab.settings import Settings, settings
from lab.store.namespace import delete_namespace


@contextmanager
def brokers(settings: Settings, kinds: frozenset[str], *, announce: bool = False) -> Iterator[BrokerUrls]:
    """Provide the *kinds* of brokers, say where each comes from, and end private ones afterwards.

    One that cannot be had is said in one line and has no URL; it is an error if ``LAB_*_URL`` names it, or
    with ``LAB_REQUIRE_BROKERS``.
    *announce*: processes in other terminals find private ones too.
    """
    urls: dict[str, str] = {}
    descriptions: list[str] = []
    servers: dict[str, Server] = {}
    with ExitStack() as stack:
        for kind in sorted(kinds):
            try:
                provide = redis_broker if kind == "redis" else rabbitmq_broker
                broker = stack.enter_context(provide(settings))
            except Unavailable as error:
                if settings.require_brokers or (settings.redis_url if kind == "redis" else settings.amqp_url):
                    raise
                say(f"skipping what needs {kind}: {error}")
                continue
            descriptions.append(broker.describe())
            say(descriptions[-1])
            if broker.server:
                servers[kind] = broker.server
                if announce:
                    _announce(stack, running(kind, broker.url, broker.server.pids))
            urls[kind] = broker.url
        yield BrokerUrls(urls.get("redis", ""), urls.get("rabbitmq", ""), tuple(descriptions), servers)


def _announce(stack: ExitStack, broker: Running) -> None:
    try:
        is_first = stack.enter_context(announced(broker))
    except (OSError, Unavailable) as error:  # this folder is not ours to write
        say(f"other terminals do not find this {broker.kind}, only LAB_*_URL tells them: {error}")
        return
    if not is_first:
        say(f"other terminals find another's {broker.kind}: for two systems at once, `python3 -m lab up`")


def child_environment(urls: BrokerUrls) -> dict[str, str]:
    """Return the environment by which a child process finds the brokers."""
    return {**os.environ, **urls.environment()}


def say(message: str) -> None:
    """Print progress on standard error; results go to standard output."""
    with suppress(OSError):  # a terminal that is closed does not stop the clean-up
        print(message, file=sys.stderr, flush=True)


def up(argv: list[str]) -> int:
    """Start a Redis and a RabbitMQ of our own, unless they are up; print how to find them."""
    parser = Parser(
        prog="python3 -m lab up", description="Start brokers that stay until `lab down`. Nodes find them."
    )
    add_yes_option(parser)
    parser.add_argument(
        "--host",
        type=host,
        default=LOOPBACK,
        help="address at which they listen (default 127.0.0.1); see docs/cluster.md",
    )
    arguments = parser.parse_args(argv)
    free_port(arguments.host)  # is it an address of this machine?
    with changing() as here:
        started = []
        try:
            for kind, start in {"redis": private_redis, "rabbitmq": private_rabbitmq}.items():
                if kind in here and here[kind].lasting:
                    say(f"{kind} is up already, at {redacted(here[kind].url)}")
                    continue
                here[kind] = _started(start(FOLDER / kind, host=arguments.host))
                started.append(kind)
                write_state(here)  # at once: the next one may fail
                say(f"{kind} is up")
        except KeyboardInterrupt:
            for kind in started:
                here.pop(kind).stop()
            write_state(here)
            raise
        print(f"export LAB_REDIS_URL='{here['redis'].url}'")
        print(f"export LAB_AMQP_URL='{here['rabbitmq'].url}'")
    say("nodes started in this folder find both by themselves; `python3 -m lab down` ends them")
    return 0


def _started(broker: Broker) -> Running:
    if broker.server is None:
        raise TypeError("a private broker has a server")
    broker.server.release()
    return running(broker.kind, broker.url, broker.server.pids)


def down(argv: list[str]) -> int:
    """End the brokers of ``lab up``, by process id; with --purge delete what they stored."""
    parser = Parser(prog="python3 -m lab down", description="End what `lab up` started.")
    parser.add_argument(
        "--purge", action="store_true", help="also delete what is stored: theirs, and our namespace elsewhere"
    )
    arguments = parser.parse_args(argv)
    if not FOLDER.exists() and not arguments.purge:
        say("nothing is up")
        return 0
    with changing() as here:
        lasting = {kind: broker for kind, broker in here.items() if broker.lasting}
        others = {kind: broker for kind, broker in here.items() if not broker.lasting}  # of a `lab serve`
        for kind, broker in lasting.items():
            broker.stop()
            say(f"{kind} ended")
        if not lasting:
            say("nothing is up")
        write_state(others)
        if arguments.purge:
            for folder in (FOLDER / "redis", FOLDER / "rabbitmq") if others else (FOLDER,):
                shutil.rmtree(folder, ignore_errors=True)
            _purge(settings(), {broker.url for broker in lasting.values()})
    return 0


def _purge(known: Settings, ended: set[str]) -> None:
    """Delete only our namespace from the brokers that still run: they belong to the user.

    The settings may name one that has just *ended*, as `lab up` proposes.
    """
    redis, rabbitmq = located("redis", known), located("rabbitmq", known)
    if redis and redis[0] not in ended:
        count = delete_namespace(redis[0], known.namespace)
        say(f"{count} keys of {known.namespace!r} deleted from the Redis at {redacted(redis[0])}")
    if rabbitmq and rabbitmq[0] not in ended:
        MIDDLEWARES["rabbitmq"].delete_queues(rabbitmq[0], known.namespace)
        say(f"the queues of {known.namespace!r} deleted from the RabbitMQ at {redacted(rabbitmq[0])}")
    say("what the brokers of `lab up` stored is deleted")
