"""``python -m dynamic``: the controller, in a terminal of its own; publishers run in others."""

import argparse
import contextlib
import json
import logging
import os
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from dynamic.controller import Bounds, Controller
from dynamic.events import EventNames
from dynamic.forecast import Forecast
from dynamic.options import add_controller_options, pool_arguments
from dynamic.policies import Policy, chosen
from dynamic.pool.client import PoolClient, find_or_start, socket_path
from dynamic.queues import EventQueues
from dynamic.sample import TARGET_SECONDS
from dynamic.view import View, view_for
from lab.bootstrap import INTERRUPTED, WRONG_USAGE, run_program
from lab.brokers.locate import locate_rabbitmq, locate_redis
from lab.contract import Architecture
from lab.data import default_insults, read_insults
from lab.errors import Code, InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import DRAIN_SECONDS
from lab.options import process_parser
from lab.process.launcher import usable_cores
from lab.process.node import STOP_SIGNALS, die_with
from lab.settings import settings
from lab.store import open_store

log = logging.getLogger(__name__)

USUAL_RATE = 1000.0
"""Messages per second of a busy worker where neither work nor C is given: a prior, soon corrected."""


class _Stopped(BaseException):
    """A signal asked for the end; another one changes nothing: the workers are leaving."""

    def __init__(self, number: int) -> None:
        self.code = INTERRUPTED if number == signal.SIGINT else 0


def main(argv: list[str] | None = None) -> int:
    parser = process_parser(
        "dynamic", "Keep as many InsultFilter workers as the load on Work_queue needs (RabbitMQ)."
    )
    add_controller_options(parser)
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
    except BrokenPipeError:  # nobody reads what is shown any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _Stopped as stopped:
        return stopped.code


def _stop(number: int, frame: object) -> NoReturn:
    for each in STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise _Stopped(number)


def _checked(arguments: argparse.Namespace) -> tuple[Policy, Forecast | None]:
    if arguments.min > arguments.max:
        message = f"--min {arguments.min} is more than --max {arguments.max}"
        raise InvalidRequest(Code.MALFORMED, message)
    if arguments.insults:
        read_insults(arguments.insults)  # each worker will; what is wrong with them is said here, once
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
        due += (controller.forecast.begin - due) % arguments.interval - arguments.interval
    while True:
        due += arguments.interval
        left = due - time.monotonic()
        time.sleep(max(0.0, left))
        due += arguments.interval * max(0.0, -left // arguments.interval)  # late by whole intervals: left out
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
    """Let the workers finish what they have, and wait for the end of the pool; not of another controller."""
    deadline = time.monotonic() + 2 * DRAIN_SECONDS
    with contextlib.suppress(Unavailable, Overloaded):  # it has ended, or it was never ours
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
