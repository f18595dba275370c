"""``lab watch``: a page that shows a running system, and lets one play with it, until Ctrl-C."""

import argparse
import ipaddress
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import uvicorn

from lab.addresses import host_port, listener
from lab.cli.brokers import brokers, say
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES
from lab.process.system import BrokerUrls
from lab.settings import settings
from lab.store.namespace import delete_namespace
from watch.hub import Hub, Sampler, Watched
from watch.main_thread import MainThreadExecutor
from watch.options import DYNAMIC, read_options, scaling_spec, system_specs
from watch.scaling import WatchedScaling
from watch.system import WatchedSystem
from watch.web import application

BYTES_OF_TOKEN = 24


def main(argv: list[str]) -> int:
    """Start what is to be watched and its page; end both at Ctrl-C."""
    options = read_options(argv)
    needed = _needed_brokers(options)
    with _listener(options) as listener, brokers(settings(), needed, yes=options.yes, announce=True) as urls:
        missing = needed - urls.kinds
        if missing:
            raise Unavailable(f"this needs {' and '.join(sorted(missing))}; see the line above")
        hub, main_thread = Hub(), MainThreadExecutor()
        say("starting; this takes a few seconds")
        with _watched(options, urls, hub, main_thread) as watched, _served(options, watched, hub, listener):
            try:
                main_thread.work()
            finally:  # a second Ctrl-C does not disturb the cleaning up
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                main_thread.close()


def _needed_brokers(options: argparse.Namespace) -> frozenset[str]:
    if options.what == DYNAMIC:
        return frozenset({"redis", "rabbitmq"})
    return system_specs(options)[0].needed_brokers


def _watched(
    options: argparse.Namespace, urls: BrokerUrls, hub: Hub, main_thread: MainThreadExecutor
) -> AbstractContextManager[Watched]:
    if options.what == DYNAMIC:
        return WatchedScaling(scaling_spec(options), urls, hub, options.rate)
    return _system(options, urls, hub, main_thread)


@contextmanager
def _system(
    options: argparse.Namespace, urls: BrokerUrls, hub: Hub, main_thread: MainThreadExecutor
) -> Iterator[WatchedSystem]:
    """Run the system; both applications share a namespace, deleted at the end if it is a throw-away one."""
    specs = system_specs(options)
    try:
        with WatchedSystem(specs, urls, hub, main_thread, options.rate) as system:
            yield system
    finally:
        if options.is_throwaway:
            delete_namespace(urls.redis, options.namespace)
            if "rabbitmq" in specs[0].needed_brokers:
                MIDDLEWARES[options.what].delete_queues(urls.amqp, options.namespace)


@contextmanager
def _served(
    options: argparse.Namespace, watched: Watched, hub: Hub, listening: socket.socket
) -> Iterator[None]:
    """Serve the page in a thread of its own, and say where it is."""
    token = secrets.token_urlsafe(BYTES_OF_TOKEN)
    number = listening.getsockname()[1]
    host = _url_host(options.host)
    app = application(watched, hub, token, host, number)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # URLs hold the token
            lifespan="off",
            ws="none",
            server_header=False,
            limit_concurrency=100,
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
    except OSError as error:
        reason = error.strerror or str(error)
        raise Unavailable(
            f"the page cannot listen on {host_port(host, number)}: {reason}; try another --port"
        ) from error


def _url_host(host: str) -> str:
    try:
        is_every_address = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return host
    return socket.gethostname() if is_every_address else host
