"""The load generators of one machine: ``python -m harness.load.far_process``, asked over a local socket.

They are those of a run on one machine, with that machine's clock; what they answer is counted from the start
of each window.
"""

import json
import os
import pickle
import signal
import sys
from multiprocessing.connection import Listener
from pathlib import Path

import numpy as np

from harness.load.measure import Answer, LocalGenerators, Order, Start
from harness.record.recorder import Tally
from lab.errors import LabError
from lab.process.node import die_with
from lab.settings import settings


def main() -> int:
    die_with(settings().parent)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    generators: LocalGenerators | None = None
    try:
        with Listener(family="AF_UNIX") as listener:
            print(json.dumps({"ready": True, "address": listener.address, "pid": os.getpid()}), flush=True)
            while True:
                with listener.accept() as asker:
                    order: Order = pickle.loads(asker.recv_bytes())
                    if isinstance(order, Start):
                        generators = _started(order)
                    asker.send_bytes(pickle.dumps(_answer(generators, order)))
    finally:
        if generators:
            generators.close()


def _started(order: Start) -> LocalGenerators:
    return LocalGenerators(
        order.subject,
        order.clients,
        processes=1,
        in_flight=order.in_flight,
        warm_up=order.warm_up,
        first=order.first,
    )


def _answer(generators: LocalGenerators | None, order: Order) -> Answer | tuple[str, str]:
    """Return what came of *order*, or the code and the message of an error: not all can be pickled."""
    try:
        if generators is None or isinstance(order, Start):
            return _ready(generators)
        outcome = generators.run(order, order.seconds)
        times = b"".join(_from(outcome.start_ns, raw) for raw in outcome.raws)
        return Answer(outcome.tally, times)
    except LabError as error:
        return str(error.code), error.message


def _ready(generators: LocalGenerators | None) -> Answer:
    if generators:
        generators.wait_ready()
    return Answer(Tally())


def _from(start_ns: int, raw: Path) -> bytes:
    times = np.fromfile(raw, dtype=np.int64) - start_ns
    raw.unlink()
    return times.tobytes()


if __name__ == "__main__":
    raise SystemExit(main())
