"""``lab doctor``: what is here, what is missing, and how to get it."""

import argparse
import json
import shutil
from dataclasses import asdict

from lab.brokers import rabbitmq_server
from lab.brokers.locate import located
from lab.cli.brokers import say
from lab.cli.findings import MISSING, Finding, findings, stale_namespaces
from lab.cli.leftovers import idle_folders
from lab.middlewares import MIDDLEWARES
from lab.settings import Settings, settings
from lab.store.namespace import delete_namespace

IDLE_SECONDS = 3600.0


def main(argv: list[str]) -> int:
    """Print a row for everything that is needed; return 1 if something is missing."""
    parser = argparse.ArgumentParser(
        prog="python3 -m lab doctor", description="What is here, what is missing, and how to get it."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sweep", action="store_true", help="delete what killed runs left behind")
    parser.add_argument(
        "--idle",
        type=float,
        default=IDLE_SECONDS,
        metavar="SECONDS",
        help="unused for that long (%(default)g)",
    )
    arguments = parser.parse_args(argv)
    if arguments.sweep:
        _sweep(settings(), arguments.idle)
    rows = findings(settings(), arguments.idle)
    print(json.dumps([asdict(row) for row in rows], indent=2) if arguments.json else _table(rows))
    return 1 if any(row.state == MISSING for row in rows) else 0


def _sweep(known: Settings, idle_seconds: float) -> None:
    """Delete stale throw-away namespaces, keys and queues, and temporary folders; nothing else, ever."""
    redis, rabbitmq = located("redis", known), located("rabbitmq", known)
    for name in stale_namespaces(known, idle_seconds):
        say(f"deleting the namespace {name}")
        if redis:
            delete_namespace(redis[0], name)
        if rabbitmq and rabbitmq_server.answers(rabbitmq[0]):
            MIDDLEWARES["rabbitmq"].delete_queues(rabbitmq[0], name)
    for folder in idle_folders(idle_seconds):
        say(f"deleting {folder}")
        shutil.rmtree(folder, ignore_errors=True)


def _table(rows: list[Finding]) -> str:
    width = max(len(row.what) for row in rows)
    lines = []
    for row in rows:
        lines.append(f"{row.what:{width}}  {row.state:7}  {row.detail}")
        if row.mend:
            lines.append(f"{'':{width}}  {'':7}  -> {row.mend}")
    return "\n".join(lines)
