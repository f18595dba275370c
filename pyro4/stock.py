"""The whole system over Pyro4 as its documentation has it, in one file.

A node is an exposed object in a ``Daemon``, found by its name in the library's own name server. A client is
a ``Proxy``, a batch is ``Pyro4.batch``. Settings and serializer are those of the library. One node keeps
its state in memory. n nodes keep theirs in Redis and send heartbeats to a master, which gives each client
the node with the fewest clients::

    python -m pyro4.stock name_server                     first, always; then
    python -m pyro4.stock service                         one node, or
    python -m pyro4.stock master                          for n nodes: the master,
    python -m pyro4.stock broadcaster                     the broadcaster,
    python -m pyro4.stock service --architecture n-node   and each node
    python -m pyro4.stock subscriber

It does not promise everything (``lab/middleware.py``): a repeated request has its effect twice, a killed node
loses the text that it works on, and forty silent clients keep everybody else out.
"""

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import Pyro4
import Pyro4.errors
import Pyro4.naming

from lab.applications.broadcast import Broadcaster as Ticker
from lab.applications.broadcast import FanOut
from lab.applications.filter import build_filter
from lab.applications.service import ServiceApplication
from lab.background import heartbeat
from lab.brokers import locate_redis
from lab.client.calls import FilterCalls, Inbox, ServiceCalls, concurrently
from lab.contract import Application, Architecture, Target, Tick
from lab.errors import DeadlineExceeded, InternalError, LabError, Unavailable, as_text, error_from_text
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import FILTER_OPERATIONS, SERVICE_OPERATIONS, Operation, to_plain
from lab.options import NodeOptions
from lab.process.node import Node, main_of_roles
from lab.store import MemoryStore, Store
from lab.store.simple import SimpleStore
from lab.validation import clean_address, clean_deadline, clean_texts

from .topology import NAME_SERVER_PORT, default_address

KINDS = {Application.SERVICE: "insult", Application.FILTER: "filter"}
HEARTBEAT_SECONDS, LEASE_SECONDS, NOTIFY_SECONDS = 3.0, 10.0, 2.0


def exposed(target: object, names: Iterable[str]) -> Any:
    """Return an object that exposes the methods *names* of *target*."""
    methods = {str(name): _answering(getattr(target, name)) for name in names}
    return Pyro4.expose(type("Exposed", (), methods))()


def _answering(method: Any) -> Any:
    """Let *method* raise an error of the lab as a ValueError, which every serializer carries."""

    def answer(_: object, *arguments: Any, **named: Any) -> Any:
        try:
            return to_plain(method(*arguments, **named))
        except LabError as error:
            raise ValueError(as_text(error)) from error

    return answer


def serve(daemon: Any, target: object, names: Iterable[str], name: str | None = None) -> str:
    """Serve the methods *names* of *target* in a thread; return the URI."""
    uri = daemon.register(exposed(target, names), name)
    threading.Thread(target=daemon.requestLoop, daemon=True).start()
    return str(uri)


def daemon_of(options: NodeOptions) -> Any:
    """Return a daemon, reached under another host if one is advertised."""
    return Pyro4.Daemon(options.host, options.port or 0, nathost=options.advertise or None)


def proxy_of(uri: str, seconds: float) -> Any:
    """Return a proxy of the object at *uri* whose calls may take *seconds*."""
    proxy = Pyro4.Proxy(uri)
    proxy._pyroTimeout = seconds
    return proxy


def call(proxy: Any, name: str, *arguments: object) -> Any:
    """Call the method *name*; raise the lab's errors."""
    try:
        return getattr(proxy, name)(*arguments)
    except (ValueError, TypeError) as error:
        raise error_from_text(str(error)) or InternalError("unknown", str(error)) from error
    except Pyro4.errors.TimeoutError as error:
        raise DeadlineExceeded(f"no answer to {name} in time; is its server silent?") from error
    except (Pyro4.errors.CommunicationError, Pyro4.errors.NamingError) as error:
        raise Unavailable(f"no answer to {name}: {error}; is its server running?") from error


class NameServer(Node):
    """The library's own name server."""

    def __init__(self, options: NodeOptions, name_server: str = "") -> None:
        self._options = options

    def start(self) -> str:
        port = NAME_SERVER_PORT if self._options.port is None else self._options.port
        _, daemon, _ = Pyro4.naming.startNS(self._options.host, port, enableBroadcast=False)
        threading.Thread(target=daemon.requestLoop, daemon=True).start()
        return str(daemon.locationStr)


class Master(Node):
    """Knows the nodes that sent a heartbeat in the last 10 s, and shares the clients out."""

    def __init__(self, options: NodeOptions, name_server: str) -> None:
        self._options, self._name_server = options, name_server
        self._pulses: dict[tuple[str, str], float] = {}
        self._assigned: Counter[str] = Counter()
        self._identifiers = itertools.count(1)

    def next_identifier(self) -> int:
        return next(self._identifiers)

    def heartbeat_slave(self, beat: str) -> bool:
        node = json.loads(beat)
        self._pulses[node["application"], node["uri"]] = time.monotonic()
        return True

    def get_resolver_slave(self) -> str:
        return self._next(Application.SERVICE)

    def get_resolver_filter(self) -> str:
        return self._next(Application.FILTER)

    def _next(self, application: Application) -> str:
        silent_before = time.monotonic() - LEASE_SECONDS
        pulses = list(self._pulses.items())
        live = [uri for (kind, uri), pulse in pulses if kind == application and pulse > silent_before]
        if not live:
            raise Unavailable(f"no {application} node is live; start one with --architecture n-node")
        uri = min(live, key=lambda each: self._assigned[each])
        self._assigned[uri] += 1
        return uri

    def start(self) -> str:
        names = ("next_identifier", "heartbeat_slave", "get_resolver_slave", "get_resolver_filter")
        uri = serve(daemon_of(self._options), self, names, "master.service")
        register(self._name_server, "master.service", uri)
        return uri


class _Process(Node):
    """The four steps of a process that serves: its object in the name server, its state, its heartbeats."""

    application = Application.SERVICE

    def __init__(self, options: NodeOptions, name_server: str) -> None:
        self._is_one_of_n = options.architecture is Architecture.N_NODE
        self._store: Store = (
            SimpleStore(locate_redis(), options.namespace) if self._is_one_of_n else MemoryStore()
        )
        self._options, self._name_server = options, name_server
        self._beats = heartbeat("heartbeat", HEARTBEAT_SECONDS, self._beat)
        self._name = self._uri = ""

    def serve(self, target: object, names: Iterable[str]) -> str:
        """Serve *target* under its name: one node's is always the same, each of n has a number in it."""
        number = ""
        if self._is_one_of_n:
            number = str(call(master_of(self._name_server, NOTIFY_SECONDS), "next_identifier"))
        self._name = f"{KINDS[self.application]}{number}.service"
        self._uri = serve(daemon_of(self._options), target, names, self._name)
        return self._uri

    def canary(self) -> None:
        call(proxy_of(self._uri, NOTIFY_SECONDS), "_pyroBind")

    def join(self) -> None:
        register(self._name_server, self._name, self._uri)
        if self._is_one_of_n:
            self._beat()
            self._beats.start()

    def drain(self, timeout_seconds: float) -> None:
        self._beats.stop(timeout_seconds)
        self._store.close()

    def _beat(self) -> None:
        beat = {"application": self.application.value, "name": self._name, "uri": self._uri}
        with master_of(self._name_server, NOTIFY_SECONDS) as master:
            call(master, "heartbeat_slave", json.dumps(beat))


class Broadcaster(Node):
    """Calls the subscribers of a store back, one random insult every interval while the broadcast is on."""

    def __init__(self, options: NodeOptions, name_server: str) -> None:
        store = SimpleStore(locate_redis(), options.namespace)
        self._ticker = Ticker(store, FanOut(store, notify), options.interval_seconds)

    def start(self) -> str:
        self._ticker.start()
        return "calls subscribers, is called by nobody"

    def drain(self, timeout_seconds: float) -> None:
        self._ticker.stop()


class ServiceNode(_Process):
    """Serves the InsultService. One node broadcasts by itself; n nodes have a broadcaster."""

    def start(self) -> str:
        self._ticker = Ticker(self._store, FanOut(self._store, notify), self._options.interval_seconds)
        if not self._is_one_of_n:
            self._ticker.start()
        return self.serve(ServiceApplication(self._store, ("pyro",)), SERVICE_OPERATIONS)


class FilterNode(_Process):
    """Serves the InsultFilter and works through the texts that were submitted, one at a time."""

    application = Application.FILTER

    def start(self) -> str:
        self._filter = build_filter(self._options, self._store, has_work_list=True)
        self._filter.start()
        return self.serve(self._filter.application, FILTER_OPERATIONS)

    def drain(self, timeout_seconds: float) -> None:
        self._filter.stop(timeout_seconds)
        super().drain(timeout_seconds)


def notify(uri: str, tick: Tick) -> None:
    """Call the subscriber at *uri* back; the number of the tick is an annotation."""
    with proxy_of(uri, NOTIFY_SECONDS) as subscriber:
        call(subscriber, "_pyroBind")  # first: to connect clears the annotations
        Pyro4.current_context.annotations = {"TICK": str(tick.number).encode()}
        call(subscriber, "notify", tick.insult)


class _Client:
    """A proxy for each thread, all of one node; with n nodes, of the node that the master gave."""

    application = Application.SERVICE

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        clean_address(target.address)
        self._name_server, self._seconds = target.address, clean_deadline(deadline_seconds)
        self._of_thread, self._uri = threading.local(), ""
        if target.architecture is Architecture.N_NODE:
            is_service = self.application is Application.SERVICE
            name = "get_resolver_slave" if is_service else "get_resolver_filter"
            self._uri = call(master_of(target.address, self._seconds), name)

    @property
    def proxy(self) -> Any:
        if not hasattr(self._of_thread, "proxy"):
            name = f"{KINDS[self.application]}.service"
            node = self._uri or find(name, self._name_server, self._seconds)
            self._of_thread.proxy = proxy_of(node, self._seconds)
        return self._of_thread.proxy

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> Any:
        try:
            return call(self.proxy, operation, *arguments)
        except Unavailable:  # the node may be back at another place: look it up again
            vars(self._of_thread).pop("proxy", None)
            raise

    def close(self) -> None:
        if hasattr(self._of_thread, "proxy"):
            self._of_thread.proxy._pyroRelease()


class InsultServiceClient(_Client, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def subscribe(self) -> Inbox:
        """Receive ticks at an object of our own, whose URI is added again every 3 s."""
        inbox: Inbox

        class Subscriber:
            def notify(self, insult: str) -> bool:
                inbox.deliver(int(bytes(Pyro4.current_context.annotations["TICK"])), insult)
                return True

        def leave() -> None:
            self.perform(Operation.REMOVE_SUBSCRIBER, uri)
            daemon.shutdown()

        daemon = Pyro4.Daemon("127.0.0.1")
        uri = serve(daemon, Subscriber(), ("notify",))
        inbox = Inbox(leave, lambda: self.perform(Operation.ADD_SUBSCRIBER, uri))
        self.perform(Operation.ADD_SUBSCRIBER, uri)
        return inbox


class InsultFilterClient(_Client, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    application = Application.FILTER

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        """Keep *in_flight* calls under way, each on a connection of its own."""
        return concurrently(self.filter, texts, in_flight)

    def filter_batch(self, texts: Iterable[str]) -> list[str]:
        """Filter all *texts* in one request."""
        batch = Pyro4.batch(self.proxy)
        for text in clean_texts(texts):
            batch.filter(text)
        return list(call(batch, "__call__"))


def find(name: str, name_server: str, seconds: float) -> str:
    """Return the URI of the object with this *name*. ``PYRONAME:`` would wait for a silent name server."""
    return str(call(names_at(name_server, seconds), "lookup", name))


def master_of(name_server: str, seconds: float) -> Any:
    """Return a proxy of the master."""
    return proxy_of(find("master.service", name_server, seconds), seconds)


def register(name_server: str, name: str, uri: str) -> None:
    """Let the name server find *uri* under *name*."""
    call(names_at(name_server, NOTIFY_SECONDS), "register", name, uri)


def names_at(name_server: str, seconds: float) -> Any:
    return proxy_of(f"PYRO:Pyro.NameServer@{name_server}", seconds)


ROLES: dict[str, Any] = {"name_server": NameServer, "master": Master, "broadcaster": Broadcaster}
ROLES |= {"service": ServiceNode, "filter": FilterNode}


def main(argv: list[str] | None = None) -> int:
    usual = default_address(Architecture.ONE_NODE, Application.SERVICE)
    entry = ("--name-server", usual, "where names are found")
    return main_of_roles("pyro4.stock", ROLES, InsultServiceClient, default_address, argv, entry=entry)


if __name__ == "__main__":
    raise SystemExit(main())
