"""The table of commands, and what holds for all of them: help, exit codes, errors in one line."""

import difflib
import importlib
import signal
from typing import NamedTuple

from lab.bootstrap import GOOD, WRONG_USAGE, complain, enter, run_program
from lab.cli.child import terminate
from lab.settings import settings

USUAL = "requirements.txt"


class Command(NamedTuple):
    """Where a command is, and its line in the help. Its module is loaded only when it is chosen."""

    module: str
    help: str
    requirements: str = USUAL


CLUSTER = "requirements-cluster.txt"
"""With Dask: only what uses several machines needs it."""
COMMANDS = {
    "run": Command("tests.run", "measure all four middlewares and draw the plots: about two minutes"),
    "test": Command("lab.cli.test", "run every functional test, on real brokers", CLUSTER),
    "serve": Command("lab.cli.serve", "start a whole system: serve MIDDLEWARE APPLICATION [--nodes N]"),
    "watch": Command("watch.command", "a page that shows a system and lets you play: watch MIDDLEWARE"),
    "shell": Command("lab.cli.shell", "talk to a running system by hand: shell MIDDLEWARE"),
    "stress": Command("tests.stress", "requests, clients and capacity of one: stress MIDDLEWARE"),
    "speedup": Command("tests.speedup", "throughput at 1, 2, 3 nodes: speedup MIDDLEWARE"),
    "dynamic": Command(
        "tests.dynamic_scaling", "policies that scale workers, under load: dynamic [--policy A,B]"
    ),
    "compare": Command("tests.compare", "A against B, paired: compare redis_impl rabbitmq"),
    "bench": Command("tests.bench", "what speed must hold, against a plain reference: bench [--only redis]"),
    "settings": Command("tests.settings", "what each setting costs: settings [--only rabbitmq:prefetch]"),
    "anatomy": Command("tests.anatomy", "where the CPU time of one request goes, part by part: anatomy"),
    "growth": Command("tests.growth", "cost as insults, subscribers, clients, nodes, requests grow: growth"),
    "faults": Command("tests.faults", "break all four under load; account for every request"),
    "plan": Command("tests.plan", "what a rate would need, from what was measured: plan --rate 100000"),
    "report": Command("tests.report", "draw the plots and the report of a run again: report [DIR]"),
    "machine": Command("lab.cli.machine", "let this machine measure with others: docs/cluster.md", CLUSTER),
    "up": Command("lab.cli.up", "start brokers that stay until `down`"),
    "down": Command("lab.cli.down", "end what `up` started; --purge deletes its data"),
    "doctor": Command("lab.cli.doctor", "what is here, what is missing, and how to get it"),
    "check": Command("lab.cli.check", "format, lint, types and tests", "requirements-dev.txt"),
}


def main(argv: list[str]) -> int:
    """Run the command that *argv* names; return the exit code. An error is one line on standard error."""
    return run_program(lambda: _main(argv))


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return GOOD if argv else WRONG_USAGE
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        return complain(f"no command {name!r}; {fix}", WRONG_USAGE)
    command = COMMANDS[name]
    signal.signal(signal.SIGTERM, terminate)
    enter(argv, _requirements(command, rest))
    settings()
    return int(importlib.import_module(command.module).main(rest))


def _requirements(command: Command, arguments: list[str]) -> str:
    """Return the file of what *command* needs; to tell how it is used it needs no more than the others."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        return USUAL
    has_cluster = any(word.split("=")[0] == "--cluster" for word in arguments)
    return CLUSTER if has_cluster else command.requirements


def _help() -> str:
    lines = [f"  {name:8} {command.help}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: python3 -m lab COMMAND [OPTIONS]     (COMMAND --help tells its options)",
            "",
            "The same two applications over XML-RPC, Pyro4, Redis and RabbitMQ, measured.",
            "",
            *lines,
            "",
            "Exit codes: 0 good, 1 a check failed, 2 wrong usage, 130 interrupted.",
        ]
    )
