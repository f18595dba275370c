"""``lab watch``: a page that shows a running system, and lets you play with it, until Ctrl-C.

What is watched (:mod:`watch.system`, :mod:`watch.scaling`) is sampled once a second. The samples go into a
:class:`~watch.hub.Hub`, which every open page follows by server-sent events. A button sends a `POST`;
:mod:`watch.web` hands it to what is watched. All processes are started by the main thread.
"""

import argparse
import errno
import ipaddress
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import uvicorn

from lab.addresses import allow_files, host_port, listener
from lab.cli.brokers import brokers, say
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest, Unavailable
from lab.middleware import MIDDLEWARES, STOCK, VARIANTS, VARIANTS_HELP, middleware_name
from lab.options import (
    LOOPBACK,
    Parser,
    add_yes_option,
    as_written,
    duration,
    host,
    interval,
    namespace,
    port,
)
from lab.process.system import BrokerUrls, SystemSpec
from lab.settings import settings
from lab.store.namespace import delete_namespace, throwaway_namespace
from watch.hub import Hub, MainThreadExecutor, Sampler, Watched
from watch.load import MOST_RATE
from watch.nodes import MOST_NODES
from watch.scaling import MOST_WORKERS, ScalingSpec, WatchedScaling, checked_policy
from watch.system import WatchedSystems
from watch.web import MOST_WORK_MILLISECONDS, application

BYTES_OF_TOKEN = 24
SILENT_SECONDS = 5
MOST_FILES = 4_096
"""Connections of strangers and our own. The usual limit of 1,024 is soon reached."""
DYNAMIC = "dynamic"
BOTH = "both"
USUAL_NODES = 2
MOST_SIDE_BY_SIDE = 2
_ONLY_SYSTEM = ("nodes", "interval")
_ONLY_DYNAMIC = ("policy", "max")
_EPILOG = """\
The page listens on loopback only, and asks for the token in the printed address. Anybody with that address
can start and end processes here. With --host, other machines can reach the page, without encryption: use it
only in a network that you trust.

  python3 -m lab watch redis_impl                    both applications: every button has something to do
  python3 -m lab watch xmlrpc filter --nodes 3       one of them
  python3 -m lab watch redis_impl:stock redis_impl   two side by side, under the same load
  python3 -m lab watch dynamic --policy assignment   workers that follow the load
"""


def main(argv: list[str]) -> int:
    """Start a system or the scaling, and its page; end both at Ctrl-C."""
    options = read_options(argv)
    needed = _needed_brokers(options)
    allow_files(MOST_FILES)
    with _listener(options) as listener, brokers(settings(), needed, announce=True) as urls:
        missing = needed - urls.kinds
        if missing:
            raise Unavailable(f"this needs {' and '.join(sorted(missing))}; see the line above")
        hub, main_thread = Hub(), MainThreadExecutor()
        say("starting; this takes a few seconds")
        with _watched(options, urls, hub, main_thread) as watched, _served(options, watched, hub, listener):
            try:
                main_thread.work()
            finally:
                main_thread.close()


def _needed_brokers(options: argparse.Namespace) -> frozenset[str]:
    if options.is_dynamic:
        return frozenset({"redis", "rabbitmq"})
    return frozenset().union(*(specs[0].needed_brokers for specs in system_specs(options)))


def _watched(
    options: argparse.Namespace, urls: BrokerUrls, hub: Hub, main_thread: MainThreadExecutor
) -> AbstractContextManager[Watched]:
    if options.is_dynamic:
        return WatchedScaling(scaling_spec(options), urls, hub, main_thread, options.rate)
    return _systems(options, urls, hub, main_thread)


@contextmanager
def _systems(
    options: argparse.Namespace, urls: BrokerUrls, hub: Hub, main_thread: MainThreadExecutor
) -> Iterator[WatchedSystems]:
    """Run the systems. Both applications of one share a namespace; a throw-away one is deleted at the end."""
    given = system_specs(options)
    try:
        with WatchedSystems(given, urls, hub, main_thread, options.rate, options.work_time) as systems:
            yield systems
    finally:
        if options.is_throwaway:
            for specs in given:
                delete_namespace(urls.redis, specs[0].namespace)
                if "rabbitmq" in specs[0].needed_brokers:
                    MIDDLEWARES[specs[0].middleware].delete_queues(urls.amqp, specs[0].namespace)


class PageServer(uvicorn.Server):
    """Closes connections that ask for nothing for SILENT_SECONDS. Anybody can open one, without the token."""

    _idle: frozenset[tuple[Any, Any]] = frozenset()

    async def on_tick(self, counter: int) -> bool:
        if not counter % (10 * SILENT_SECONDS):  # uvicorn calls it ten times a second
            connections: set[Any] = {*self.server_state.connections}
            # `cycle` is the newest request that came whole; half a request does not count.
            idle = frozenset((one, one.cycle) for one in connections if _asks_nothing(one.cycle))
            for connection, _ in idle & self._idle:
                connection.transport.close()
            self._idle = idle
        return await super().on_tick(counter)


def _asks_nothing(cycle: Any) -> bool:
    return cycle is None or cycle.response_complete


@contextmanager
def _served(
    options: argparse.Namespace, watched: Watched, hub: Hub, listening: socket.socket
) -> Iterator[None]:
    """Serve the page in a thread of its own, and print its address."""
    token = secrets.token_urlsafe(BYTES_OF_TOKEN)
    number = listening.getsockname()[1]
    host = _url_host(options.host)
    app = application(watched, hub, token, host, number)
    server = PageServer(
        uvicorn.Config(
            app,
            log_level="error",  # wrong requests of strangers are not worth a line
            access_log=False,  # URLs hold the token
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, args=([listening],), name="page", daemon=True)
    sampler = Sampler(watched, hub)
    thread.start()
    print(f"http://{host_port(host, number)}/?token={token}", flush=True)
    say("open it in a browser; Ctrl-C ends everything")
    try:
        yield
    finally:
        say("ending what was started")
        hub.close()
        server.should_exit = True
        thread.join()
        sampler.close()


def _listener(options: argparse.Namespace) -> socket.socket:
    host, number = options.host, options.port
    try:
        return listener(host, number)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        if getattr(error, "errno", 0) in (errno.EADDRINUSE, errno.EACCES):
            message = f"the page cannot listen on {host_port(host, number)}: {reason}; try another --port"
            raise Unavailable(message) from error
        message = f"--host: {host} is no address of this machine: {reason}"
        raise InvalidRequest(Code.MALFORMED, message) from error


def _url_host(host: str) -> str:
    try:
        is_every_address = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    return socket.gethostname() if is_every_address else host


SYSTEM_RATE, PUBLISHER_RATE = 20.0, 50.0
SYSTEM_WORK_SECONDS, SCALING_WORK_SECONDS = 0.02, 0.05


def read_options(argv: list[str]) -> argparse.Namespace:
    """Read the command line; say what is wrong with it and exit, as argparse does."""
    parser = _parser()
    options = parser.parse_args(argv)
    _read_words(parser, options)
    for name in _ONLY_SYSTEM if options.is_dynamic else _ONLY_DYNAMIC:
        if getattr(options, name) is not None:
            parser.error(f"--{name} means nothing to {options.words[0]}")
    if options.is_dynamic and options.work_time == 0:
        parser.error("--work-time must be above 0 here: workers without work need no scaling")
    if options.application == Application.SERVICE and options.work_time is not None:
        parser.error("--work-time means nothing to the service")
    if options.application == Application.FILTER and options.interval is not None:
        parser.error("--interval means nothing to the filter")
    options.is_throwaway = options.namespace is None
    options.namespace = options.namespace or throwaway_namespace()
    if options.rate is None:
        options.rate = PUBLISHER_RATE if options.is_dynamic else SYSTEM_RATE
    if options.work_time is None:
        options.work_time = SCALING_WORK_SECONDS if options.is_dynamic else SYSTEM_WORK_SECONDS
    return options


def _read_words(parser: Parser, options: argparse.Namespace) -> None:
    """Tell middlewares, the application and `dynamic` apart."""
    *words, last = options.words
    options.is_dynamic = DYNAMIC in options.words
    options.application = BOTH
    if words and last in (*Application, BOTH):
        options.application = last
    else:
        words.append(last)
    if options.is_dynamic:
        if options.words != [DYNAMIC]:
            parser.error(f"{DYNAMIC} stands alone: its workers are filter nodes over RabbitMQ")
        return
    try:
        options.middlewares = [middleware_name(word) for word in words]
    except argparse.ArgumentTypeError as error:
        parser.error(f"{error}; or {DYNAMIC}")
    if len(words) > MOST_SIDE_BY_SIDE:
        parser.error(f"{MOST_SIDE_BY_SIDE} systems fit side by side, not {len(words)}")
    if len(set(options.middlewares)) < len(words):
        given, *_ = options.middlewares
        usual = given.partition(":")[0]
        other = next(
            one for one in (usual, f"{usual}:{STOCK}", *VARIANTS) if one in VARIANTS and one != given
        )
        parser.error(f"{words[0]} and {words[1]} are the same; name two, such as {given} {other}")


def system_specs(options: argparse.Namespace) -> list[list[SystemSpec]]:
    """Return for each middleware the systems to start; the first one of each gets the load."""
    is_both = options.application == BOTH
    applications = (
        [Application.FILTER, Application.SERVICE] if is_both else [Application(options.application)]
    )
    return [
        [
            SystemSpec(
                middleware,
                application,
                Architecture.N_NODE,
                # Beside the filter, the service is there for its broadcast and its insults.
                (options.nodes or USUAL_NODES) if place == 0 else 1,
                f"{options.namespace}-{number}" if number > 1 else options.namespace,
                interval=options.interval or "5s",
            )
            for place, application in enumerate(applications)
        ]
        for number, middleware in enumerate(options.middlewares, 1)
    ]


def scaling_spec(options: argparse.Namespace) -> ScalingSpec:
    """Return what to scale."""
    return ScalingSpec(
        options.namespace,
        options.is_throwaway,
        options.policy or "adaptive",
        options.max or 10,
        options.work_time,
    )


def _parser() -> Parser:
    parser = Parser(
        prog="python3 -m lab watch",
        usage="python3 -m lab watch MIDDLEWARE [MIDDLEWARE] [APPLICATION] [OPTIONS]\n"
        "       python3 -m lab watch dynamic [OPTIONS]",
        description="Start a system under a small load, and a page on this machine that shows it and lets "
        "you play with it, until Ctrl-C.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_options(parser)
    return parser


def _add_options(parser: Parser) -> None:
    """Add what is shown, and how it begins."""
    parser.add_argument("words", metavar="MIDDLEWARE", nargs="+", help=_one_of())
    parser.add_argument(
        "--nodes", type=_up_to(MOST_NODES), metavar="N", help=f"at the start (default {USUAL_NODES})"
    )
    parser.add_argument(
        "--rate",
        type=_rate,
        metavar="N",
        help=f"load at the start, per second (default {SYSTEM_RATE:g}; dynamic: {PUBLISHER_RATE:g})",
    )
    parser.add_argument(
        "--work-time",
        type=_work_time,
        metavar="TIME",
        help="how long a node works on each text at the start (default 20ms; dynamic: 50ms)",
    )
    parser.add_argument(
        "--interval", type=as_written(interval), metavar="TIME", help="time between broadcasts (default 5s)"
    )
    parser.add_argument(
        "--policy", type=_policy, metavar="NAME", help="dynamic: how to scale at the start (default adaptive)"
    )
    parser.add_argument(
        "--max", type=_up_to(MOST_WORKERS), metavar="N", help="dynamic: most workers (default 10)"
    )
    parser.add_argument(
        "--namespace", type=namespace, help="prefix of keys and queues (default: a throw-away one)"
    )
    parser.add_argument("--host", type=host, default=LOOPBACK, help="address of the page (default 127.0.0.1)")
    parser.add_argument("--port", type=port, default=0, help="port of the page (default: a free one)")
    add_yes_option(parser)


def _one_of() -> str:
    return (
        f"one or two of {VARIANTS_HELP}; then service, filter or both (default both). "
        f"Or `{DYNAMIC}`: workers that are scaled"
    )


def _up_to(most: int) -> Callable[[str], int]:
    """Return what reads a whole number from 1 to *most*."""

    def read(text: str) -> int:
        if not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= most:
            message = f"{text!r} is not a number from 1 to {most}, the most that a page starts"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return read


def _work_time(text: str) -> float:
    seconds = duration(text)
    if seconds > MOST_WORK_MILLISECONDS / 1000:
        raise argparse.ArgumentTypeError(
            f"{text!r} is more than {MOST_WORK_MILLISECONDS / 1000:g}s, the most here"
        )
    return seconds


def _policy(text: str) -> str:
    try:
        return checked_policy(text)
    except InvalidRequest as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= MOST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a rate from 0 to {MOST_RATE:g} per second")
    return abs(rate)  # not -0
