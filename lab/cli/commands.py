"""The table of commands, and what holds for all of them: help, exit codes, errors in one line."""

import difflib
import importlib
import signal
from typing import NamedTuple

from lab import __version__
from lab.bootstrap import ENDING, GOOD, WRONG_USAGE, complain, enter, run_program
from lab.settings import settings

USUAL = "requirements.txt"


class Command(NamedTuple):
    """One command: the function ``module:function``, and its line in the help.

    The module is loaded only when the command is chosen.
    """

    where: str
    help: str
    requirements: str = USUAL

    def run(self, arguments: list[str]) -> int:
        """Run it with its *arguments*; return the exit code."""
        module, _, function = self.where.partition(":")
        return int(getattr(importlib.import_module(module), function or "main")(arguments))


CLUSTER = "requirements-cluster.txt"
"""With Dask: only what uses several machines needs it."""
DEVELOPMENT = "requirements-dev.txt"
GROUPS: dict[str, dict[str, Command]] = {
    "Start here": {
        "doctor": Command("lab.cli.doctor", "what is here, what is missing, and how to get it"),
        "run": Command(
            "tests.run", "measure all four, stock and tuned, and draw the plots: about four minutes"
        ),
    },
    "Systems": {
        "serve": Command("lab.cli.serve", "start a whole system: serve MIDDLEWARE APPLICATION [--nodes N]"),
        "shell": Command("lab.cli.shell", "talk to a running system by hand: shell MIDDLEWARE"),
        "watch": Command(
            "watch.command", "a page that shows a system and lets you change it: watch MIDDLEWARE"
        ),
    },
    "Experiments": {
        "stress": Command("tests.stress", "requests, clients and capacity of one: stress MIDDLEWARE"),
        "speedup": Command("tests.speedup", "throughput at 1, 2, 3 nodes: speedup MIDDLEWARE"),
        "measure": Command("tests.measure", "an experiment of your own: measure FILE (docs/experiments.md)"),
        "compare": Command("tests.compare", "A against B, in pairs: compare redis_impl rabbitmq"),
        "dynamic": Command("tests.dynamic_scaling", "policies that scale workers: dynamic [--policy A,B]"),
        "faults": Command("tests.faults", "break all four under load; account for every request"),
        "settings": Command(
            "tests.measure:settings", "what a setting costs: settings [--only rabbitmq:prefetch]"
        ),
        "anatomy": Command("tests.anatomy", "where the CPU time of one request goes, part by part"),
        "library": Command("tests.anatomy:library", "how much of a call lies in the middleware's library"),
        "growth": Command("tests.measure:growth", "cost as insults, clients, nodes and requests grow"),
        "bench": Command("tests.measure:bench", "the speed that must hold: bench [--only redis]"),
    },
    "Results": {
        "report": Command("tests.report", "draw the plots and the report of a run again: report [DIR]"),
        "export": Command("tests.report:export", "a run as a table: export DIR --csv FILE"),
        "diff": Command("tests.report:diff", "two stored runs side by side: diff A B"),
        "plan": Command(
            "tests.report:plan", "what a rate would need, from what was measured: plan --rate 1000"
        ),
    },
    "Brokers and machines": {
        "up": Command("lab.cli.brokers:up", "start brokers that stay until `down`"),
        "down": Command("lab.cli.brokers:down", "end what `up` started; --purge deletes its data"),
        "machine": Command(
            "machines.machine", "let this machine measure with others: docs/cluster.md", CLUSTER
        ),
    },
    "Development": {
        "test": Command("lab.cli.doctor:test", "run every functional test, on real brokers", CLUSTER),
        "check": Command("lab.cli.doctor:check", "format, lint, types and tests", DEVELOPMENT),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}
"""The one table of modules above lab/. It names them as text and imports none of them."""


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came. It may reach this process alone; Ctrl-C reaches its children, too."""


def main(argv: list[str]) -> int:
    """Run the command that *argv* names; return the exit code. An error is one line on standard error."""
    return run_program(lambda: _main(argv))


def _main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_help())
        return GOOD if argv else WRONG_USAGE
    if argv[0] in ("--version", "version"):
        print(f"multi-middleware benchmark lab {__version__}")
        return GOOD
    name, *rest = argv
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        fix = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        return complain(f"no command {name!r}; {fix}", WRONG_USAGE)
    command = COMMANDS[name]
    for number in ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as `nohup` and `&` have it
            signal.signal(number, _end)
    enter(argv, _requirements(command, rest))
    settings()
    return command.run(rest)


def _requirements(command: Command, arguments: list[str]) -> str:
    """Return the requirements file of *command*. For its help, the usual file is enough."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        return USUAL
    has_cluster = any(word.split("=")[0] == "--cluster" for word in arguments)
    return CLUSTER if has_cluster else command.requirements


def _help() -> str:
    groups = [
        line
        for title, commands in GROUPS.items()
        for line in ["", f"{title}:", *(f"  {name:8} {command.help}" for name, command in commands.items())]
    ]
    return "\n".join(
        [
            "usage: python3 -m lab COMMAND [OPTIONS]     (COMMAND --help tells its options)",
            "",
            "The same two applications over XML-RPC, Pyro4, Redis and RabbitMQ, measured.",
            *groups,
            "",
            "Exit codes: 0 good, 1 a check failed, 2 wrong usage, 3 undecided, 130 interrupted.",
        ]
    )


def _end(signum: int, _frame: object) -> None:
    """Let this process end as Ctrl-C does. A second signal, of any kind, does not stop the clean-up."""
    for number in ENDING:
        signal.signal(number, _go_on)
    raise KeyboardInterrupt if signum == signal.SIGINT else Terminated


def _go_on(_signum: int, _frame: object) -> None:
    """Do nothing. SIG_IGN would go on to child processes, and warn of signals that come together."""
