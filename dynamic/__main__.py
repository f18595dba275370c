"""``python -m dynamic``: the controller, in a terminal of its own; publishers run in others.

It makes scaling visible: a line a decision, a live table on a terminal, or JSON for programs.
"""

import argparse
import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn, Protocol

from rich.console import Console
from rich.live import Live
from rich.table import Table

from dynamic.controller import Bounds, Controller, Forecast, Reading
from dynamic.events import EventNames, EventQueues
from dynamic.policies import Policy, add_price_option, chosen
from dynamic.policies.sample import TARGET_SECONDS
from dynamic.pool.client import (
    MOST_WORKERS,
    PoolClient,
    add_pool_options,
    find_or_start,
    pool_arguments,
    socket_path,
)
from lab.bootstrap import INTERRUPTED, WRONG_USAGE, run_program
from lab.brokers import locate_rabbitmq, locate_redis
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.load.texts import default_insults, read_insults
from lab.options import interval, positive, process_parser, whole_number
from lab.process.launcher import usable_cores
from lab.process.node import STOP_SIGNALS, die_with
from lab.settings import settings
from lab.store import open_store

SHOWN = 20
COLUMNS = ("time", "rate/s", "backlog", "wanted", "starting", "ready", "p99", "why")
log = logging.getLogger(__name__)

READING_SECONDS = 2.0
USUAL_RATE = 1000.0
"""Messages per second of a busy worker where neither work nor C is given: a prior, soon corrected."""


class View(Protocol):
    """Shows readings as they come."""

    def show(self, reading: Reading) -> None: ...

    def close(self) -> None: ...


def view_for(*, as_json: bool) -> View:
    """Return JSON lines if asked for, a live table on a terminal, plain lines elsewhere."""
    if as_json:
        return JsonView()
    console = Console()
    return LiveView(console) if console.is_terminal else PlainView()


class JsonView:
    """A JSON object a line; `sample` and `decision` as policies have them, without the memory."""

    def show(self, reading: Reading) -> None:
        fields = {field.name: getattr(reading, field.name) for field in dataclasses.fields(reading)}
        fields["sample"] = dataclasses.asdict(reading.sample)
        fields["decision"] = {"wanted": reading.decision.wanted, "reason": reading.decision.reason}
        print(json.dumps(fields), flush=True)

    def close(self) -> None:
        pass


class PlainView:
    """A line a reading."""

    def show(self, reading: Reading) -> None:
        when, rate, backlog, wanted, starting, ready, p99, why = row(reading)
        print(
            f"{when}  rate {rate}/s  backlog {backlog}  workers {wanted} wanted, {starting} starting, "
            f"{ready} ready  p99 {p99}  ({why})",
            flush=True,
        )

    def close(self) -> None:
        pass


class LiveView:
    """The last readings as a table that stays in place."""

    def __init__(self, console: Console) -> None:
        self._rows: deque[tuple[str, ...]] = deque(maxlen=SHOWN)
        self._live = Live(self._table(), console=console, auto_refresh=False)
        self._live.start()

    def show(self, reading: Reading) -> None:
        self._rows.append(row(reading))
        self._live.update(self._table(), refresh=True)

    def close(self) -> None:
        self._live.stop()
        sys.stdout.flush()

    def _table(self) -> Table:
        table = Table(title="workers, as many as the load needs (Ctrl-C ends them)", title_justify="left")
        for column in COLUMNS:
            is_text = column in ("time", "why")
            table.add_column(column, justify="left" if is_text else "right", no_wrap=not is_text)
        for values in self._rows:
            table.add_row(*values)
        return table


def row(reading: Reading) -> tuple[str, ...]:
    """Return what is shown of *reading*, in the order of COLUMNS; a dash for what is not known."""
    sample, decision = reading.sample, reading.decision
    is_void = sample.arrivals is None
    rate = "-" if sample.arrivals is None else f"{sample.arrivals / sample.interval_seconds:.1f}"
    p99 = "-" if reading.p99_seconds is None else f"{reading.p99_seconds:.2f} s"
    return (
        time.strftime("%H:%M:%S", time.localtime(reading.at)),
        rate,
        "-" if is_void else str(sample.backlog),
        str(decision.wanted),
        str(sample.starting),
        str(sample.ready),
        p99,
        f"{decision.reason}: {reading.trouble}" if reading.trouble else decision.reason,
    )


class _Stopped(BaseException):
    """A signal asked for the end. A second signal changes nothing, because the workers are leaving."""

    def __init__(self, number: int) -> None:
        self.code = INTERRUPTED if number == signal.SIGINT else 0


def main(argv: list[str] | None = None) -> int:
    parser = process_parser(
        "dynamic", "Keep as many InsultFilter workers as the load on Work_queue needs (RabbitMQ)."
    )
    _add_options(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=settings().log_level, format="%(levelname)s %(name)s: %(message)s")
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        die_with(settings().parent)
        policy, forecast = _checked(arguments)
        _seed(arguments)
        names = EventNames(arguments.namespace)
        with EventQueues(locate_rabbitmq(), names, arguments.queue_type, controls=True) as queues:
            _run(arguments, queues, policy, forecast)
    except LabError as error:
        print(f"dynamic: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE
    except BrokenPipeError:  # the reader of our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _Stopped as stopped:
        return stopped.code


def _stop(number: int, frame: object) -> NoReturn:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Add what ``python -m dynamic`` takes."""
    add_pool_options(parser)
    parser.add_argument(
        "--min", type=whole_number(0, MOST_WORKERS), default=0, metavar="N", help="fewest workers"
    )
    parser.add_argument(
        "--policy",
        default="adaptive",
        metavar="NAME",
        help="such as adaptive, assignment, hpa or static:workers=5",
    )
    parser.add_argument(
        "--interval",
        type=interval,
        default=READING_SECONDS,
        metavar="TIME",
        help="time between two decisions",
    )
    parser.add_argument(
        "--C",
        type=positive("C, in messages,"),
        metavar="C",
        help=f"messages per worker per Tr ({TARGET_SECONDS:g} s), as `lab dynamic --calibrate` prints; "
        "none: what the declared work allows",
    )
    add_price_option(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON object a decision")
    parser.add_argument("--forecast", metavar="FILE", help="the rates to come, for the policy reference")


def _checked(arguments: argparse.Namespace) -> tuple[Policy, Forecast | None]:
    if arguments.min > arguments.max:
        message = f"--min {arguments.min} is more than --max {arguments.max}"
        raise InvalidRequest(Code.MALFORMED, message)
    if arguments.insults:
        read_insults(arguments.insults)  # each worker reads them; an error is reported here, once
    forecast = Forecast.read(Path(arguments.forecast)) if arguments.forecast else None
    return chosen(arguments.policy), forecast


def _seed(arguments: argparse.Namespace) -> None:
    """Put insults into the store that the workers share, if there are none."""
    if arguments.architecture is Architecture.N_NODE:
        with contextlib.closing(open_store(locate_redis(), arguments.namespace)) as store:
            if arguments.insults:
                store.add_insults(read_insults(arguments.insults))
            elif not store.count_insults():
                store.add_insults(default_insults())


def _run(
    arguments: argparse.Namespace, queues: EventQueues, policy: Policy, forecast: Forecast | None
) -> NoReturn:
    """Control until a signal comes. The workers leave with us, unless we are killed."""
    path = socket_path(locate_rabbitmq(), arguments.namespace)
    with ExitStack() as stack:
        stack.callback(_dismiss, path)
        pool = _pool(arguments)
        controller = Controller(queues, pool, policy, _bounds(arguments), forecast)
        stack.callback(lambda: controller.pool.close())
        controller.begin()
        if arguments.json:
            ready = {"ready": True, "role": "controller", "address": str(path), "pid": os.getpid()}
            print(json.dumps(ready), flush=True)
        view = stack.enter_context(contextlib.closing(view_for(as_json=arguments.json)))
        _control(arguments, controller, view)


def _control(arguments: argparse.Namespace, controller: Controller, view: View) -> NoReturn:
    due = time.monotonic()
    if controller.forecast:  # an experiment and its simulation read at the same times
        begin = controller.forecast.begin + controller.forecast.phase_seconds
        due += (begin - due) % arguments.interval - arguments.interval
    while True:
        due += arguments.interval
        left = due - time.monotonic()
        time.sleep(max(0.0, left))
        due += arguments.interval * max(0.0, -left // arguments.interval)  # skip those that were missed
        try:
            view.show(controller.tick())
        except Unavailable as error:  # the pool was killed, and its workers with it
            log.warning("%s; looking for it, or starting another", error.message)
            controller.pool.close()
            with contextlib.suppress(Unavailable):  # tried again at the next reading
                controller.pool = _pool(arguments)


def _pool(arguments: argparse.Namespace) -> PoolClient:
    path = socket_path(locate_rabbitmq(), arguments.namespace)
    pool, ran_already = find_or_start(path, pool_arguments(arguments))
    try:
        status = pool.take_control()
    except LabError:
        pool.close()
        raise
    if ran_already:
        log.warning("adopted %s workers of pool %s, as it was started", status.ready, status.pid)
    return pool


def _dismiss(path: Path) -> None:
    """Let the workers finish, and wait for the end of the pool, unless another controller has it."""
    deadline = time.monotonic() + 2 * DRAIN_SECONDS
    with contextlib.suppress(Unavailable, Overloaded):  # the pool has ended, or has another controller
        pool = PoolClient(path)
        while time.monotonic() < deadline:
            pool.dismiss()
            time.sleep(0.05)


def _bounds(arguments: argparse.Namespace) -> Bounds:
    declared = arguments.work_time + arguments.work_cpu
    rate = 1 / declared if declared else USUAL_RATE
    if arguments.C is not None:
        rate = arguments.C / TARGET_SECONDS
    return Bounds(
        arguments.min, arguments.max, rate, arguments.interval, usable_cores(), arguments.start_price
    )


if __name__ == "__main__":
    raise SystemExit(run_program(main))
