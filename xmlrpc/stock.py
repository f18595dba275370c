"""The whole system over XML-RPC as the documentation of the standard library has it, in one file.

A node is a ``SimpleXMLRPCServer`` with ``ThreadingMixIn`` and HTTP/1.1, so that connections stay open. A
client is a ``ServerProxy``, a batch is a ``MultiCall``. One node keeps its state in memory. n nodes keep
theirs in Redis and join a master, which gives each client a node in turn::

    python -m xmlrpc.stock service                                   one node, or
    python -m xmlrpc.stock master                                    for n nodes: the master,
    python -m xmlrpc.stock broadcaster                               the broadcaster,
    python -m xmlrpc.stock service --master http://127.0.0.1:8000    and each node
    python -m xmlrpc.stock subscriber

``lab/middleware.py`` says what this variant does not promise. A repeated request has its effect twice. A
killed node loses the text that it works on. A request of any length is read. ``xmlrpc/tuned`` promises all
that.
"""

import http.client
import itertools
import socket
import threading
import time
import xml.parsers.expat
from collections.abc import Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any, cast

from lab.addresses import host_port
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
from xmlrpc.client import Fault, MultiCall, ProtocolError, ServerProxy, Transport
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from .topology import BROADCASTER_PORT, FILTER_PORT, MASTER_PORT, SERVICE_PORT, default_address

HEARTBEAT_SECONDS, LEASE_SECONDS, NOTIFY_SECONDS = 0.5, 2.0, 2.0


class Handler(SimpleXMLRPCRequestHandler):
    """Keeps connections open between requests. The number of a tick comes in a header."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:  # noqa: N802, the library calls it so
        tick = self.headers.get("Idempotency-Key", "")
        cast(Server, self.server).tick = int(tick[5:]) if tick.startswith("tick-") else 0
        super().do_POST()


class Server(ThreadingMixIn, SimpleXMLRPCServer):
    """Answers by the methods *names* of *target*, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 128
    tick = 0

    def __init__(
        self, host: str, port: int, target: object, names: Iterable[str], advertised_host: str = ""
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler, logRequests=False, allow_none=True, use_builtin_types=True)
        for name in names:
            self.register_function(_answering(getattr(target, name)), str(name))
        self.register_introspection_functions()
        self.register_multicall_functions()
        self.url = f"http://{host_port(advertised_host or host, self.server_address[1])}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def _answering(method: Any) -> Any:
    """Let *method* answer an error of the lab as a Fault with its code."""

    def answer(*arguments: Any) -> Any:
        try:
            return to_plain(method(*arguments))
        except LabError as error:
            raise Fault(1, as_text(error)) from error

    answer.__doc__ = method.__doc__
    return answer


class TimeoutTransport(Transport):
    """The library's transport, with a timeout for its connection."""

    def __init__(self, seconds: float, headers: tuple[tuple[str, str], ...]) -> None:
        super().__init__(use_builtin_types=True, headers=headers)
        self._seconds = seconds

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = self._seconds
        return connection


def proxy_of(url: str, seconds: float, headers: tuple[tuple[str, str], ...] = ()) -> ServerProxy:
    """Return a proxy of the server at *url* whose calls may take *seconds*."""
    return ServerProxy(url, TimeoutTransport(seconds, headers), allow_none=True, use_builtin_types=True)


def call(proxy: Any, name: str, *arguments: object) -> Any:
    """Call the method *name*, or the proxy itself if it is empty; raise the lab's errors."""
    try:
        return getattr(proxy, name)(*arguments) if name else proxy()
    except Fault as fault:
        raise error_from_text(fault.faultString) or InternalError("unknown", fault.faultString) from fault
    except TimeoutError as error:
        raise DeadlineExceeded("the node did not answer in time") from error
    except (OSError, http.client.HTTPException, ProtocolError, xml.parsers.expat.ExpatError) as error:
        raise Unavailable(f"the node did not answer: {error or type(error).__name__}") from error


class Master(Node):
    """Knows the nodes that sent a heartbeat in the last 2 s, and gives each client one in turn."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        self._options = options
        self._pulses: dict[tuple[str, str], float] = {}
        self._ports = itertools.count((options.port or MASTER_PORT) + 2)
        self._turn = itertools.count()

    def assign_port(self, application: str) -> int:
        """Return a port that no other node was given."""
        return next(self._ports)

    def heartbeat(self, application: str, url: str) -> bool:
        """Keep the node at *url* for 2 s."""
        self._pulses[application, url] = time.monotonic()
        return True

    def get_node(self, application: str) -> str:
        """Return the URL of the live node whose turn it is."""
        silent_before = time.monotonic() - LEASE_SECONDS
        live = [
            url
            for (kind, url), pulse in list(self._pulses.items())
            if kind == application and pulse > silent_before
        ]
        if not live:
            raise Unavailable(f"no {application} node is live; start one with --master")
        return live[next(self._turn) % len(live)]

    def start(self) -> str:
        options = self._options
        port = MASTER_PORT if options.port is None else options.port
        names = ("assign_port", "heartbeat", "get_node")
        return Server(options.host, port, self, names, options.advertised_host).url


class _Process(Node):
    """The four steps of a process that serves: its server, its state, and its place at the master."""

    application = Application.SERVICE

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        is_shared = options.architecture is Architecture.N_NODE
        self._store: Store = SimpleStore(locate_redis(), options.namespace) if is_shared else MemoryStore()
        self._options, self._master = options, master
        self._beats = heartbeat("heartbeat", HEARTBEAT_SECONDS, self._beat)
        self._url = ""

    def serve(self, default_port: int, target: object, names: Iterable[str]) -> str:
        """Listen at the port that was asked for, else at the one that the master gives."""
        options = self._options
        port = default_port if options.port is None else options.port
        is_given = self._master and options.port is None
        if is_given:
            port = call(proxy_of(self._master, HEARTBEAT_SECONDS), "assign_port", self.application.value)
        while True:
            try:
                self._url = Server(options.host, port, target, names, options.advertised_host).url
                return self._url
            except OSError as error:
                if not is_given:
                    raise Unavailable(f"cannot listen at port {port}: {error.strerror}") from error
                port += 1

    def canary(self) -> None:
        call(proxy_of(self._url, NOTIFY_SECONDS), "system.listMethods")

    def join(self) -> None:
        if self._master:
            self._beat()
            self._beats.start()

    def drain(self, timeout_seconds: float) -> None:
        self._beats.stop(timeout_seconds)
        self._store.close()

    def _beat(self) -> None:
        master = proxy_of(self._master, NOTIFY_SECONDS)
        call(master, "heartbeat", self.application.value, self._url)


class Broadcaster(_Process):
    """Calls the subscribers of the store back, one random insult every interval while the broadcast is on."""

    def __init__(self, options: NodeOptions, master: str = "") -> None:
        super().__init__(options, master)
        self._fan_out = FanOut(self._store, notify)
        self._ticker = Ticker(self._store, self._fan_out, options.interval_seconds)

    def start(self) -> str:
        self._ticker.start()
        service = ServiceApplication(self._store, ("http",))
        return self.serve(BROADCASTER_PORT, service, ("start_broadcast", "stop_broadcast"))

    def drain(self, timeout_seconds: float) -> None:
        self._ticker.stop()
        super().drain(timeout_seconds)


class ServiceNode(Broadcaster):
    """Serves the InsultService. One node broadcasts by itself; n nodes have a broadcaster."""

    def start(self) -> str:
        if not self._master:
            self._ticker.start()
        return self.serve(SERVICE_PORT, ServiceApplication(self._store, ("http",)), SERVICE_OPERATIONS)


class FilterNode(_Process):
    """Serves the InsultFilter and works through the texts that were submitted, one at a time."""

    application = Application.FILTER

    def start(self) -> str:
        self._filter = build_filter(self._options, self._store, has_work_list=True)
        self._filter.start()
        return self.serve(FILTER_PORT, self._filter.application, FILTER_OPERATIONS)

    def drain(self, timeout_seconds: float) -> None:
        self._filter.stop(timeout_seconds)
        super().drain(timeout_seconds)


def notify(url: str, tick: Tick) -> None:
    """Call the subscriber at *url* back."""
    headers = (("Idempotency-Key", f"tick-{tick.number}"),)
    call(proxy_of(url, NOTIFY_SECONDS, headers), "notify", tick.insult)


class _Client:
    """A proxy for each thread, all of one node; with a master, of the node that the master gave."""

    application = Application.SERVICE

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        clean_address(target.address, "http", default_port=80)
        self._url, self._seconds = target.address, clean_deadline(deadline_seconds)
        if target.architecture is Architecture.N_NODE:
            self._url = call(proxy_of(self._url, deadline_seconds), "get_node", self.application.value)
        self._of_thread = threading.local()

    @property
    def proxy(self) -> ServerProxy:
        if not hasattr(self._of_thread, "proxy"):
            self._of_thread.proxy = proxy_of(self._url, self._seconds)
        return cast(ServerProxy, self._of_thread.proxy)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> Any:
        return call(self.proxy, operation, *arguments)

    def close(self) -> None:
        self._of_thread = threading.local()  # the library closes a connection with its proxy


class InsultServiceClient(_Client, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    def subscribe(self) -> Inbox:
        """Receive ticks at a server of our own, whose URL is added again every 3 s."""
        inbox: Inbox

        def notify(insult: Any) -> bool:
            inbox.deliver(server.tick, insult)
            return True

        server = Server("127.0.0.1", 0, self, ())
        server.register_function(notify, "notify")

        def leave() -> None:
            self.perform(Operation.REMOVE_SUBSCRIBER, server.url)
            server.shutdown()
            server.server_close()

        inbox = Inbox(leave, lambda: self.perform(Operation.ADD_SUBSCRIBER, server.url))
        self.perform(Operation.ADD_SUBSCRIBER, server.url)
        return inbox


class InsultFilterClient(_Client, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    application = Application.FILTER

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        """Keep *in_flight* calls under way, each on a connection of its own."""
        return concurrently(self.filter, texts, in_flight)

    def filter_batch(self, texts: Iterable[str]) -> list[str]:
        """Filter all *texts* in one request."""
        batch = MultiCall(self.proxy)
        for text in clean_texts(texts):
            batch.filter(text)
        return list(call(batch, ""))


ROLES: dict[str, Any] = {"master": Master, "broadcaster": Broadcaster}
ROLES |= {"service": ServiceNode, "filter": FilterNode}


def main(argv: list[str] | None = None) -> int:
    entry = ("--master", "", "be one of n nodes of this master")
    return main_of_roles("xmlrpc.stock", ROLES, InsultServiceClient, default_address, argv, entry=entry)


if __name__ == "__main__":
    raise SystemExit(main())
