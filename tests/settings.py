"""What each setting costs: one change at a time from the default, the same load, with intervals.

Each change is measured in alternating windows with the default, in one run. --only takes middlewares,
settings and values: `xmlrpc,rabbitmq:prefetch,redis_impl:appendonly=off`.
"""

import argparse
import itertools
import sys

from harness.experiment.contestants import CLIENTS
from harness.experiment.session import Experiment, add_results_option, add_window_options, conduct
from harness.experiment.settings import DEFAULTS, changes, load_words, settings_step
from harness.record.run import Run
from lab.cli import commands
from lab.options import Parser

QUICK, FULL = (0.7, 3), (5.0, 7)
"""Seconds of a window, and pairs of windows."""


def main(argv: list[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    wanted = {
        middleware: list(some)
        for middleware, some in itertools.groupby(
            changes(options.only), lambda change: change.setting.middleware
        )
    }
    seconds, pairs = FULL if options.full else QUICK
    seconds, pairs = options.seconds or seconds, options.pairs or pairs
    steps = [settings_step(name, some, seconds, pairs) for name, some in wanted.items()]
    configuration = {
        "only": options.only,
        "seconds": seconds,
        "pairs": pairs,
        "clients": CLIENTS,
        "loads": {name: load_words(DEFAULTS[name], CLIENTS) for name in wanted},
    }
    kinds = frozenset[str]().union(*(step.needs for step in steps))
    experiment = Experiment("settings", steps, None, configuration, kinds=kinds, keeps_raw=False)
    return conduct(experiment, options.results, _judge, as_json=options.json)


def _judge(run: Run) -> int:
    return 0 if all(cost.is_valid or cost.missing for cost in run.costs) else 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m tests.settings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_window_options(parser, QUICK, FULL)
    parser.add_argument(
        "--only", default="", metavar="WHAT,WHAT", help="MIDDLEWARE, MIDDLEWARE:SETTING or ...:SETTING=VALUE"
    )
    add_results_option(parser)
    return parser


if __name__ == "__main__":
    raise SystemExit(commands.main(["settings", *sys.argv[1:]]))
