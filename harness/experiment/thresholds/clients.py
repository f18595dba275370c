"""Our clients as contestants, and the brokers that a comparison needs in a certain setting."""

import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import Pyro4
import redis

from harness.experiment.baseline import FILTERED, INSULTS, TEXT
from harness.experiment.thresholds.contestants import Run
from lab.addresses import free_port
from lab.brokers import rabbitmq_server, redis_server
from lab.brokers.server import Server
from lab.contract import InsultFilter, Target
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES
from xmlrpc.client import ServerProxy

DEADLINE_SECONDS = 30.0


def repeated(step: Callable[[], bool]) -> Run:
    """Return what takes *step* until the deadline; it says whether the answer was right."""

    def run(deadline: float) -> int:
        done = 0
        while perf_counter() < deadline:
            if not step():
                raise ValueError("a wrong answer")
            done += 1
        return done

    return run


@contextmanager
def insult_me(middleware: str, target: Target, *, check: bool = True) -> Iterator[Run]:
    """Ask for random insults with our client; *check*: they must be those of the plain reference."""
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        if check:
            yield repeated(lambda: client.insult_me() in INSULTS)
        else:
            yield repeated(lambda: bool(client.insult_me()))


@contextmanager
def add_and_remove(middleware: str, target: Target) -> Iterator[Run]:
    """Add an insult and remove it, in turn, so that the number of insults stays what it is."""
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        number = itertools.count()

        def step() -> bool:
            insult = f"new {os.getpid()} {next(number)}"
            return client.add_insult(insult) and client.remove_insult(insult)

        yield repeated(step)


@contextmanager
def change(middleware: str, target: Target, *, with_ids: bool) -> Iterator[Run]:
    """Add an insult and remove it, in turn; *with_ids*: so that a repeated request has its effect once."""
    if not with_ids:
        client_module = import_module(f"{middleware}._client")
        vars(client_module)["MUTATING_OPERATIONS"] = frozenset()  # in this process, which is this client's
    with MIDDLEWARES[middleware].service_client(target, DEADLINE_SECONDS) as client:
        number = itertools.count()

        def step() -> bool:
            pair, is_second = divmod(next(number), 2)
            insult = f"new {os.getpid()} {pair}"
            return client.remove_insult(insult) if is_second else client.add_insult(insult)

        yield repeated(step)


@contextmanager
def server_proxy(url: str) -> Iterator[Run]:
    """Ask for random insults with the standard library's client."""
    with ServerProxy(url) as proxy:
        yield repeated(lambda: proxy.insult_me() in INSULTS)


@contextmanager
def pyro_proxy(name_server: str) -> Iterator[Run]:
    """Ask for random insults with Pyro4's proxy and its default serializer."""
    with Pyro4.Proxy(f"PYRONAME:insult.service@{name_server}") as proxy:
        proxy._pyroSerializer = "serpent"

        def run(deadline: float) -> int:
            proxy._pyroRelease()  # between two windows the node closes it, as it is silent for long
            return repeated(lambda: proxy.insult_me() in INSULTS)(deadline)

        yield run


@contextmanager
def filter_many(middleware: str, target: Target, depth: int) -> Iterator[Run]:
    """Filter texts with our client, *depth* of them in flight."""
    with MIDDLEWARES[middleware].filter_client(target, DEADLINE_SECONDS) as client:
        yield partial(filtered_until, client, depth)


def filtered_until(
    client: InsultFilter, depth: int, deadline: float, text: str = TEXT, filtered: str = FILTERED
) -> int:
    """Filter *text* until *deadline*, then wait for those under way; return how often that was."""
    texts = itertools.takewhile(lambda _: perf_counter() < deadline, itertools.repeat(text))
    done = 0
    for answer in client.filter_many(texts, depth):
        if answer != filtered:
            raise ValueError(f"a wrong answer: {answer[:100]!r}")
        done += 1
    return done


APPENDFSYNC = ("always", "everysec")
BARE = "no"
"""The setting of a Redis as it comes: nothing is kept on the disk."""


def redis_with(stack: ExitStack, appendfsync: str) -> str:
    """Start a Redis; *appendfsync*: always, everysec, or BARE for none at all and no password either."""
    path = redis_server.binary()
    if not path:
        raise Unavailable("no redis-server here to start with other settings")
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-redis-"))
    if appendfsync == BARE:
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        command = [path, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        server = Server(command, {}, folder, lambda: redis_server.answers(url))
        stack.callback(server.close)
        server.start()
        return url
    url, server = redis_server.private(path, folder)
    stack.callback(server.close)
    with redis.Redis.from_url(url) as client:
        client.config_set("appendfsync", appendfsync)
    return url


def rabbitmq_for_guests(stack: ExitStack) -> str:
    """Start a RabbitMQ where the user guest, whom programs of others expect, is let in beside ours."""
    path = rabbitmq_server.script()
    if not path:
        raise Unavailable("no rabbitmq-server here that could let a yardstick in")
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-rabbitmq-"))
    definitions = folder / "definitions.json"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    users = ("lab", "guest")
    content = {
        "users": [{"name": name, "password": "guest", "tags": "administrator"} for name in users],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": name, "vhost": "/", **everything} for name in users],
    }
    definitions.write_text(json.dumps(content), encoding="utf-8")
    (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    (folder / "rabbitmq.conf").write_text(
        f"default_user = lab\ndefault_pass = guest\nload_definitions = {definitions}\n"
        "log.console.level = error\n",
        encoding="utf-8",
    )
    url, server = rabbitmq_server.private(path, folder)
    stack.callback(server.close)
    return url


def yardstick_environment(redis_url: str, amqp_url: str) -> dict[str, str]:
    """Return the variables by which the yardstick finds its brokers."""
    ports = {"NAIVE_REDIS_PORT": urlsplit(redis_url).port, "NAIVE_AMQP_PORT": urlsplit(amqp_url).port}
    return {name: str(port) for name, port in ports.items() if port}
