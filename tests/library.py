"""How much of a filter call lies in the middleware's library, for each variant: by calls and by CPU time."""

import sys
from functools import reduce

from rich.console import Console
from rich.table import Table

from harness.experiment.bench import Bench
from harness.experiment.library import LibraryShare, library_share
from harness.experiment.session import middleware_names
from harness.load.workload import Workload
from harness.probes import sampled
from harness.probes.library import APPLICATION, CARRYING, LIBRARY
from lab.cli import commands
from lab.cli.brokers import brokers, say
from lab.contract import Application, Architecture
from lab.middleware import MIDDLEWARES, VARIANTS
from lab.options import Parser, interval
from lab.settings import settings


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="python3 -m lab library", description=__doc__)
    parser.add_argument(
        "--only",
        type=middleware_names,
        default=list(VARIANTS),
        metavar="A,B:stock",
        help="only these variants",
    )
    parser.add_argument("--seconds", type=interval, default=2.0, metavar="TIME", help="of sampling (2s)")
    parser.add_argument("--yes", action="store_true", help="install a missing broker without asking")
    options = parser.parse_args(argv)
    needs = [MIDDLEWARES[name].needed_brokers(Architecture.ONE_NODE) for name in options.only]
    shares = []
    with brokers(settings(), reduce(frozenset.union, needs, frozenset()), yes=options.yes) as urls:
        bench = Bench(urls, Workload(Application.FILTER))
        for name, needed in zip(options.only, needs, strict=True):
            if needed <= urls.kinds:
                say(f"{name}: counting calls, then sampling for {options.seconds:g} s")
                shares.append(library_share(bench, name, options.seconds))
    Console(width=100, highlight=False).print(_table(shares))
    if sampled.WHY_NOT:
        say(f"no share of CPU time: {sampled.WHY_NOT}")
    return 0


def _table(shares: list[LibraryShare]) -> Table:
    table = Table(title="Python functions that one warm filter call runs, client and node together")
    table.add_column("variant")
    for title in ("library", "the lab carries", "application", "library: of calls", "library: of CPU"):
        table.add_column(title, justify="right")
    for share in shares:
        counts = (f"{share.calls[kind]:.0f}" for kind in (LIBRARY, CARRYING, APPLICATION))
        cpu = "-" if sampled.WHY_NOT else f"{share.of_cpu:.0%}"
        table.add_row(MIDDLEWARES[share.middleware].label, *counts, f"{share.of_calls:.0%}", cpu)
    return table


if __name__ == "__main__":
    raise SystemExit(commands.main(["library", *sys.argv[1:]]))
