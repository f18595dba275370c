"""More and more stored insults: what is asked and added must not get slower."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from harness.experiment.growth.curve import Terms, resident
from harness.experiment.thresholds import clients
from harness.experiment.thresholds.growth import FLAT, stored
from harness.experiment.thresholds.load import Load, Run
from harness.experiment.thresholds.sides import alternate, loaded
from harness.probes.resources import Pids, component_pids
from harness.record.findings import Curve, Size
from lab.contract import Architecture, Target

STUDY = "insults"
CLIENTS = 2
"""Of each size; those of all sizes are connected at the same time."""
IN_MEMORY = "xmlrpc"
"""The middleware with which the store in memory is measured: it is the same code in all four."""
Connect = Callable[[str, Target], AbstractContextManager[Run]]
OPERATIONS: dict[str, Connect] = {
    "insult_me": partial(clients.insult_me, check=False),
    "add_insult and remove_insult": clients.add_and_remove,
}


def insults(middleware: str, terms: Terms) -> Iterator[Curve]:
    """Measure one node with its insults in Redis, and, with one middleware, in its memory."""
    yield from _kept(middleware, Architecture.N_NODE, "in Redis", terms)
    if middleware == IN_MEMORY:
        yield from _kept(middleware, Architecture.ONE_NODE, "in memory", terms)


def _kept(middleware: str, architecture: Architecture, where: str, terms: Terms) -> Iterator[Curve]:
    with ExitStack() as stack:
        targets: dict[int, Target] = {}
        pids: dict[int, Pids] = {}
        for count in terms.sizes:
            system = stored(stack, middleware, architecture, count, terms.urls)
            targets[count] = system.target
            pids[count] = component_pids(system, terms.urls)
        for operation, connect in OPERATIONS.items():
            with ExitStack() as clients_stack:
                loads = {
                    count: loaded(clients_stack, partial(connect, middleware, target), CLIENTS)
                    for count, target in targets.items()
                }
                yield _curve(operation, where, middleware, loads, pids, terms)


def _curve(
    what: str,
    place: str,
    middleware: str,
    loads: dict[int, Load],
    pids: dict[int, Pids],
    terms: Terms,
) -> Curve:
    named = {str(count): load for count, load in loads.items()}
    rates = alternate(named, terms.windows, terms.seconds)
    sizes = [
        Size(count, rates[str(count)], resident({**pids[count], "harness": load.pids}))
        for count, load in loads.items()
    ]
    return Curve(STUDY, middleware, what, place, sizes=sizes, bar=FLAT)
