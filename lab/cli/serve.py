"""``lab serve``: a whole system in this terminal, until Ctrl-C."""

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from lab.brokers import redacted
from lab.brokers.state import only_process
from lab.cli.brokers import brokers, say
from lab.contract import Application, Architecture
from lab.errors import Unavailable
from lab.middleware import MIDDLEWARES, VARIANTS_HELP, middleware_name
from lab.options import Parser, add_yes_option, duration, handler, interval, namespace
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


_FILTER_OPTIONS = ("work_time", "work_cpu", "insults", "handler")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python3 -m lab serve", description="Start a whole system, brokers included, until Ctrl-C."
    )
    parser.add_argument(
        "middleware",
        type=middleware_name,
        metavar="MIDDLEWARE",
        help=VARIANTS_HELP,
    )
    parser.add_argument("application", choices=[*Application])
    parser.add_argument(
        "--nodes", type=_count, metavar="N", help="n-node with N nodes; without it, one node on its own"
    )
    parser.add_argument(
        "--namespace", type=namespace, default=settings().namespace, help="prefix of keys and queues"
    )
    parser.add_argument("--free-ports", action="store_true", help="take free ports, not the usual ones")
    parser.add_argument("--interval", metavar="TIME", help="service: time between broadcasts (default 5s)")
    parser.add_argument("--work-time", metavar="TIME", help="filter: sleep so long per text, such as 5ms")
    parser.add_argument("--work-cpu", metavar="TIME", help="filter: compute so long per text, such as 2ms")
    parser.add_argument("--insults", metavar="FILE", help="filter: insults to censor, a line each")
    parser.add_argument(
        "--handler",
        metavar="MODULE:FUNCTION",
        help="filter: your own function of a text, in place of censoring",
    )
    parser.add_argument("--on-demand", action="store_true", help="filter: let texts wait for `resolve`")
    parser.add_argument(
        "--no-restart", action="store_true", help="let a process that ends stay ended, and say so"
    )
    add_yes_option(parser)
    return parser


def _spec(options: argparse.Namespace) -> SystemSpec:
    application = Application(options.application)
    is_filter = application is Application.FILTER
    given = {name: getattr(options, name) for name in ("interval", *_FILTER_OPTIONS)}
    foreign = ("interval",) if is_filter else _FILTER_OPTIONS
    for name in foreign:
        if given[name]:
            _parser().error(f"--{name.replace('_', '-')} means nothing to the {options.application}")
    for name in ("interval", "work_time", "work_cpu"):
        if given[name]:
            _check(name, given[name], interval if name == "interval" else duration)
    if given["handler"]:
        _check("handler", given["handler"], handler)
    arguments = [
        f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value and name != "interval"
    ]
    return SystemSpec(
        options.middleware,
        application,
        Architecture.N_NODE if options.nodes else Architecture.ONE_NODE,
        options.nodes or 1,
        options.namespace,
        (*arguments, *(["--on-demand"] if is_filter and options.on_demand else [])),
        options.interval or "5s",
        usual_ports=not options.free_ports,
    )


def _check(name: str, text: str, read: Callable[[str], object]) -> None:
    try:
        read(text)
    except argparse.ArgumentTypeError as error:
        _parser().error(f"--{name.replace('_', '-')}: {error}")


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of nodes, 1 or more")
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
