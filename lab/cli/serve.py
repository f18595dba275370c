"""``lab serve``: a whole system in this terminal, until Ctrl-C."""

import argparse
from contextlib import AbstractContextManager, nullcontext

from lab.brokers import redacted
from lab.brokers.state import only_process
from lab.cli.brokers import brokers, say
from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.load.texts import read_insults
from lab.middleware import MIDDLEWARES, VARIANTS_HELP, middleware_name
from lab.options import Parser, add_yes_option, as_written, duration, handler, interval, namespace
from lab.process.launcher import DidNotStart
from lab.process.supervisor import RestartPolicy
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.settings import settings


def main(argv: list[str]) -> int:
    """Start a system and its brokers, print how to talk to it, restart what ends, and end both at Ctrl-C."""
    options = _parser().parse_args(argv)
    spec = _spec(options)
    with _only(spec), brokers(settings(), spec.needed_brokers, announce=True) as urls:
        missing = spec.needed_brokers - urls.kinds
        if missing:
            raise Unavailable(f"this needs {' and '.join(sorted(missing))}; see the line above")
        try:
            _serve(spec, urls, restart=not options.no_restart)
        except DidNotStart as error:
            if spec.usual_ports and "cannot listen" in error.message:
                raise DidNotStart(f"{error.message} (here: --free-ports)", error.exit_code) from error
            raise
    return 1


def _only(spec: SystemSpec) -> AbstractContextManager[None]:
    """Refuse to serve the same system twice: a client could not tell the two apart."""
    if MIDDLEWARES[spec.middleware].is_direct and not spec.usual_ports:
        return nullcontext()
    return only_process(f"serve {spec.middleware} {spec.application} {spec.architecture} {spec.namespace}")


def _serve(spec: SystemSpec, urls: BrokerUrls, *, restart: bool) -> None:
    back_off = None if restart else RestartPolicy(attempts=1)
    with System(spec, urls, supervised=True, back_off=back_off, say=say) as system:
        for name, handles in system.handles.items():
            for handle in handles:
                say(f"{name:12} {redacted(handle.address)}  (process {handle.pid})")
        say(f"talk to it in another terminal: {_shell(spec, system.target.address)}")
        say("Ctrl-C ends it")
        if system.supervisor:
            system.supervisor.wait()


MOST_NODES = 1000
_FILTER_OPTIONS = ("work_time", "work_cpu", "insults", "handler", "on_demand")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python3 -m lab serve", description="Start a whole system, brokers included, until Ctrl-C."
    )
    parser.add_argument("middleware", type=middleware_name, metavar="MIDDLEWARE", help=VARIANTS_HELP)
    parser.add_argument("application", choices=[*Application])
    parser.add_argument(
        "--nodes", type=_count, metavar="N", help="n-node with N nodes; without it, one node on its own"
    )
    parser.add_argument(
        "--namespace", type=namespace, default=settings().namespace, help="prefix of keys and queues"
    )
    parser.add_argument("--free-ports", action="store_true", help="take free ports, not the usual ones")
    for name, read, value, text in (
        ("--interval", interval, "TIME", "service: time between broadcasts (default 5s)"),
        ("--work-time", duration, "TIME", "filter: sleep so long per text, such as 5ms"),
        ("--work-cpu", duration, "TIME", "filter: compute so long per text, such as 2ms"),
        ("--insults", read_insults, "FILE", "filter: insults to censor, a line each"),
        ("--handler", handler, "MODULE:FUNCTION", "filter: your own function of a text, not censoring"),
    ):
        parser.add_argument(name, type=as_written(read), metavar=value, help=text)
    parser.add_argument("--on-demand", action="store_true", help="filter: let texts wait for `resolve`")
    parser.add_argument(
        "--no-restart", action="store_true", help="let a process that ends stay ended, and say so"
    )
    add_yes_option(parser)
    return parser


def _spec(options: argparse.Namespace) -> SystemSpec:
    application = Application(options.application)
    names = _FILTER_OPTIONS if application is Application.FILTER else ("interval",)
    given = {
        name: value
        for name in ("interval", *_FILTER_OPTIONS)
        if (value := getattr(options, name)) not in (None, False)
    }
    for name in given:
        if name not in names:
            _parser().error(f"--{name.replace('_', '-')} means nothing to the {options.application}")
    return SystemSpec(
        options.middleware,
        application,
        Architecture.N_NODE if options.nodes else Architecture.ONE_NODE,
        options.nodes or 1,
        options.namespace,
        tuple(
            f"--{name.replace('_', '-')}" + ("" if value is True else f"={value}")
            for name, value in given.items()
            if name != "interval"
        ),
        options.interval or "5s",
        usual_ports=not options.free_ports,
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes, 1 or more")
    if int(text) > MOST_NODES:
        raise argparse.ArgumentTypeError(f"{text} nodes are more than the {MOST_NODES} that a master knows")
    return int(text)


def _shell(spec: SystemSpec, address: str) -> str:
    words = ["python3 -m lab shell", spec.middleware]
    if spec.architecture is Architecture.N_NODE:
        words.append("--architecture n-node")
    if spec.namespace != settings().namespace:
        words.append(f"--namespace {spec.namespace}")
    is_direct = MIDDLEWARES[spec.middleware].is_direct
    if is_direct and (not spec.usual_ports):
        words.append(f"--address {address}")
    return " ".join(words)
