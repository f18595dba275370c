"""``lab machine``: let this machine be one of several that measure together (docs/cluster.md)."""

import argparse
import os
import sys
from urllib.parse import urlsplit

from lab.addresses import free_port, is_open
from lab.bootstrap import ROOT
from lab.cli.brokers import say
from lab.errors import Code, InvalidRequest, Unavailable
from lab.options import Parser, port

SCHEDULER_PORT = 8786


def main(argv: list[str]) -> int:
    """Become the Dask scheduler, or the one Dask worker of this machine, until Ctrl-C."""
    options = _parser().parse_args(argv)
    if options.scheduler == bool(options.address):
        _parser().error("give the scheduler's ADDRESS to join it, or --scheduler to be it")
    free_port(options.host)  # is it an address of this machine?
    if options.address:
        check_scheduler(options.address)
    elif is_open(options.port, options.host):
        raise Unavailable(f"somebody listens at {options.host}:{options.port} already; take another --port")
    dask = [sys.executable, "-m", "dask"]
    if options.scheduler:
        where = ["--host", options.host, "--port", str(options.port)]
        join = f"python3 -m lab machine tcp://{options.host}:{options.port} --host"
        say(f"on each machine, this one too: {join} ITS_ADDRESS")
        command = [*dask, "scheduler", *where, "--no-dashboard", "--no-jupyter"]
    else:
        # One process that nobody starts again, pauses or kills for its memory: the lab looks after it.
        alone = ["--nworkers", "1", "--nthreads", "1", "--no-nanny", "--memory-limit", "0", "--no-dashboard"]
        command = [*dask, "worker", options.address, "--host", options.host, *alone]
    os.chdir(ROOT)
    os.execv(sys.executable, command)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python3 -m lab machine", description=__doc__)
    parser.add_argument("address", nargs="?", default="", help="join the scheduler at tcp://HOST:8786")
    parser.add_argument("--scheduler", action="store_true", help="be the scheduler")
    parser.add_argument(
        "--host", required=True, help="address of this machine, at which the others can reach it"
    )
    parser.add_argument("--port", type=port, default=SCHEDULER_PORT, help="of the scheduler (default 8786)")
    return parser


def check_scheduler(url: str) -> None:
    """Raise InvalidRequest if *url* is no address of a scheduler, Unavailable if nobody listens there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("tcp", "tls"):
        message = f"{url!r} is not a Dask scheduler's address like tcp://10.0.0.1:8786"
        raise InvalidRequest(Code.MALFORMED, message)
    if not is_open(port, host):
        raise nobody_at(url)


def nobody_at(url: str) -> Unavailable:
    """Return the error of a scheduler that does not answer."""
    return Unavailable(f"no Dask scheduler answers at {url}: docs/cluster.md tells how to start one")
