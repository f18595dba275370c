"""A system under faults: private brokers, n supervised nodes, and what is found in its store."""

import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import pika

from harness.faults.load import Entry, Found, Outcome, Stream
from harness.faults.proxy import Proxy
from harness.load.generator import now
from lab.addresses import free_port
from lab.brokers import Broker, rabbitmq_broker, redis_broker
from lab.contract import Application, Architecture, Target
from lab.errors import Unavailable
from lab.limits import MAX_PAGE
from lab.middleware import MIDDLEWARES, STOCK
from lab.operations import Operation
from lab.process.launcher import Handle, Launcher, ProcessSpec
from lab.process.supervisor import RestartPolicy
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import settings
from lab.store import open_store
from lab.store.namespace import key
from lab.store.redis_store import connect
from lab.topology import NODE, Role

BACK_OFF = RestartPolicy(longest_seconds=1.0, attempts=1_000)
"""Scenarios end processes more often, and brokers stay away longer, than a supervisor should put up with."""
NODES = 3
PROXY_HOST = "127.0.0.2"


@dataclass(frozen=True, slots=True)
class Brokers:
    """Private brokers: to be killed and restarted, which the user's never are."""

    by_kind: Mapping[str, Broker]

    @property
    def urls(self) -> BrokerUrls:
        """Where they are."""
        urls = {kind: broker.url for kind, broker in self.by_kind.items()}
        said = tuple(broker.describe() for broker in self.by_kind.values())
        return BrokerUrls(urls.get("redis", ""), urls.get("rabbitmq", ""), said)

    def kill(self, kind: str) -> None:
        """End one at once (kill -9); its data stay."""
        server = self.by_kind[kind].server
        if server:
            server.kill()

    def restart(self, kind: str) -> None:
        """Start it again on the same port with the same data; return when it answers."""
        server = self.by_kind[kind].server
        if server:
            server.start()


@contextmanager
def private_brokers(kinds: frozenset[str]) -> Iterator[Brokers]:
    """Start private brokers of these *kinds*, and end them; Unavailable if one cannot be had."""
    start = {"redis": redis_broker, "rabbitmq": rabbitmq_broker}
    with ExitStack() as stack:
        yield Brokers({k: stack.enter_context(start[k](settings(), private=True)) for k in sorted(kinds)})


class Site(System):
    """A cluster whose processes are given more variables, and that is supervised.

    With a *proxy*, clients reach the nodes, or the broker where that is between, through it alone.
    """

    def __init__(
        self,
        spec: SystemSpec,
        brokers: Brokers,
        environment: Mapping[str, str],
        proxy: Proxy | None,
        launcher: Launcher | None = None,
    ) -> None:
        super().__init__(spec, brokers.urls, supervised=True, back_off=BACK_OFF, launcher=launcher)
        self.brokers = brokers
        self._proxy = proxy
        self._proxied_target: Target | None = None
        self._scratch = tempfile.TemporaryDirectory(prefix="lab-logs-faults-")
        self._worked = Path(self._scratch.name) / "worked"
        self._more = {"LAB_WORKED": str(self._worked), **environment}

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._scratch.cleanup()

    @property
    def target(self) -> Target:
        """Where clients find the system."""
        direct = super().target
        if self._proxy is None or self.middleware.is_direct:
            return direct
        if self._proxied_target is None:
            url = urlsplit(direct.address)
            port = self._proxy.listen("127.0.0.1", 0, str(url.hostname), url.port or 0)
            address = direct.address.replace(f":{url.port}", f":{port}")
            self._proxied_target = replace(direct, address=address)
        return self._proxied_target

    @property
    def live(self) -> list[Handle]:
        """The nodes that run."""
        return [node for node in self.nodes if self.launcher.alive(node)]

    def restarts(self) -> dict[int, int]:
        """Return when the process in the place of each that ended was ready, by the old process id."""
        restarts = self.supervisor.restarts if self.supervisor else []
        return {restart.pid: restart.ready_ns for restart in restarts if restart.ready_ns}

    def worked(self) -> list[str]:
        """Return the first word of each text that was worked on, once per execution."""
        return self._worked.read_text(encoding="utf-8").split() if self._worked.exists() else []

    def fenced(self) -> int:
        """Return how many late results the store has refused."""
        store = open_store(self.brokers.urls.redis, self.namespace)
        try:
            return int(getattr(store, "fenced", lambda: 0)())
        finally:
            store.close()

    def found(self, stream: Stream) -> list[Found]:
        """Read back what was applied, from the store that all nodes share."""
        if self.spec.application is Application.SERVICE:
            return [Found(insult) for insult in self._insults_stored() if insult.startswith("q")]
        return list(self._results(stream))

    def settle(self, entries: Sequence[Entry], stream: Stream, seconds: float) -> list[Found]:
        """Wait until all that was acknowledged is there, for *seconds* at most; return what is found."""
        kind = Operation.SUBMIT if self.spec.application is Application.FILTER else Operation.ADD_INSULT
        is_kept = (entry for entry in entries if entry.outcome is Outcome.ACKNOWLEDGED)
        wanted = {entry.token for entry in is_kept if entry.operation is kind}
        deadline = time.monotonic() + seconds
        while True:
            found = self.found(stream)
            if wanted <= {one.token for one in found} or time.monotonic() > deadline:
                return found
            time.sleep(0.1)

    def _process(self, role: Role) -> ProcessSpec:
        spec = super()._process(role)
        arguments = spec.arguments
        if self._proxy and self.middleware.is_direct and role.name == NODE:
            # All of 127/8 is this machine (Linux): one port, the node at one address, the proxy at another.
            port = free_port()
            self._proxy.listen(PROXY_HOST, port, "127.0.0.1", port)
            arguments += ("--port", str(port), "--advertise", PROXY_HOST)
        return replace(spec, arguments=arguments, environment={**spec.environment, **self._more})

    def _insults_stored(self) -> list[str]:
        insults: list[str] = []
        with self.service() as client:
            while page := client.get_insults(insults[-1] if insults else "", MAX_PAGE):
                insults += page
        return insults

    def _results(self, stream: Stream) -> Iterator[Found]:
        with connect(self.brokers.urls.redis) as redis:
            if self.middleware.variant == STOCK:
                yield from _stock_results(redis.lrange(key(self.namespace, "stock:results"), 0, -1), stream)
                return
            texts: dict[str, str] = redis.hgetall(key(self.namespace, "results"))
            order = dict(redis.zrange(key(self.namespace, "results:order"), 0, -1, withscores=True))
            clock_ns = now() - time.time_ns()  # Redis's clock is the machine's
        for petition_id, text in texts.items():
            finished_ns = int(order.get(petition_id, 0) * 1e9)
            yield from _found(stream, petition_id, text, finished_ns + clock_ns if finished_ns else 0)


def _stock_results(entries: Sequence[str], stream: Stream) -> Iterator[Found]:
    """Read the list of the stock variants: a text that was done twice stands in it twice, without a time."""
    for entry in entries:
        yield from _found(stream, *json.loads(entry))


def _found(stream: Stream, petition_id: str, text: str, finished_ns: int = 0) -> Iterator[Found]:
    token = text.partition(" ")[0]
    if token[:1] == "q" and token[1:-1].isdecimal():  # else it is a canary's
        is_right = stream[int(token[1:-1])].expected == text
        yield Found(token, petition_id, is_right, finished_ns)


def site(
    middleware: str,
    application: Application,
    brokers: Brokers,
    *,
    architecture: Architecture = Architecture.N_NODE,
    environment: Mapping[str, str] | None = None,
    node_arguments: tuple[str, ...] = (),
    interval: str = "5s",
    proxy: Proxy | None = None,
) -> Site:
    """Return a system, not yet started: one node, or three."""
    nodes = NODES if architecture is Architecture.N_NODE else 1
    spec = SystemSpec(
        middleware, application, architecture, nodes, node_arguments=node_arguments, interval=interval
    )
    missing = spec.needed_brokers - set(brokers.by_kind)
    if missing:
        raise Unavailable(f"{middleware} needs {' and '.join(sorted(missing))}")
    return Site(spec, brokers, environment or {}, proxy)


MOST = 1_000


class Letter(NamedTuple):
    """A text that was put aside."""

    token: str
    reason: str


def dead_letters(site: Site) -> list[Letter]:
    """Return the dead letters of a filter, wherever its middleware keeps them."""
    if site.middleware.variant == STOCK:
        return []  # it has none
    broker = MIDDLEWARES[site.spec.middleware].broker
    if broker == "rabbitmq":
        return _in_queue(site.brokers.urls.amqp, f"{site.namespace}.{site.spec.application}.dead")
    if broker == "redis":
        return _in_list(site.brokers.urls.redis, f"{site.namespace}:{site.spec.application}:dead")
    store = open_store(site.brokers.urls.redis, site.namespace)
    try:
        return [Letter(_token(text), reason) for _, text, reason in store.dead_letters(MOST)]
    finally:
        store.close()


def _in_list(url: str, name: str) -> list[Letter]:
    with connect(url) as redis:
        raws = redis.lrange(name, 0, MOST)
    letters = []
    for raw in raws:
        letter = json.loads(raw)
        petition = letter.get("petition", letter)
        petition = json.loads(petition) if isinstance(petition, str) else petition
        letters.append(Letter(_token(str(petition.get("data", ""))), str(letter.get("reason", ""))))
    return letters


def _in_queue(url: str, name: str) -> list[Letter]:
    """Look at the queue; what is read is put back when the connection closes."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    letters: list[Letter] = []
    while len(letters) < MOST:
        method, properties, body = channel.basic_get(name)
        if method is None or body is None:
            break
        reason = ((properties.headers if properties else None) or {}).get("lab-reason", "")
        letters.append(Letter(_token(body.decode()), str(reason)))
    connection.close()
    return letters


def _token(text: str) -> str:
    return text.partition(" ")[0]
