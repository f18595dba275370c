"""The bars of the direct middlewares: ``insult_me`` with the state in memory, 4 clients, closed loop."""

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

from harness.experiment.baseline import INSULTS, plain_pyro4, plain_xmlrpc
from harness.experiment.thresholds import clients, limits
from harness.experiment.thresholds.load import Load
from harness.experiment.thresholds.sides import Side, Terms, Yardstick, alternate, loaded, started
from harness.record.findings import Finding, ratios
from lab.contract import Application, Target
from lab.middleware import MIDDLEWARES
from lab.process.system import System, SystemSpec

OURS = "ours"
LIBRARY = {
    "xmlrpc": ("our node, ServerProxy", clients.server_proxy),
    "pyro4": ("our node, Pyro4's Proxy", clients.pyro_proxy),
}
"""Our node called by the client that comes with the library."""
WITH_IDS, WITHOUT_IDS = "ours, insults changed, each effect once", "ours, insults changed, nothing promised"
LIMIT = "limit: bare TCP echo"
PLAIN = {"xmlrpc": plain_xmlrpc, "pyro4": plain_pyro4}
ASSUMED = (270, 200)
"""Bytes of a small XML-RPC request and reply, where the kernel cannot be asked."""
BARS = {"xmlrpc": 4.0, "pyro4": 1.5}


def insult_me(middleware: str, terms: Terms) -> Iterator[Finding]:
    """Compare ``insult_me`` with the plain reference, or the yardstick, and with a bare echo."""
    name = reference_name(terms)
    with ExitStack() as stack:
        target = service(stack, middleware, terms)
        ours = loaded(stack, partial(clients.insult_me, middleware, target))
        sides: dict[str, Side] = {OURS: ours, name: _reference(stack, middleware, terms)}
        beside, connect = LIBRARY[middleware]
        sides[beside] = loaded(stack, partial(connect, target.address))
        changed = service(stack, middleware, terms)
        for name_of_side, with_ids in ((WITH_IDS, True), (WITHOUT_IDS, False)):
            change = partial(clients.change, middleware, changed, with_ids=with_ids)
            sides[name_of_side] = loaded(stack, change)
        request, reply, note = _wire(ours)
        port = started(stack, "harness.experiment.thresholds.limits", str(request), str(reply))
        sides[LIMIT] = loaded(stack, partial(limits.echo, port, request, reply))
        rates = alternate(sides, terms.pairs, terms.seconds)
    label = MIDDLEWARES[middleware].label
    what = f"{label} insult_me, 4 clients, against the {name}"
    values = ratios(rates[OURS], rates[name])
    shown = {side: rates[side] for side in rates if side not in (WITH_IDS, WITHOUT_IDS)}
    yield Finding(
        middleware, what, values, BARS[middleware], rates=shown, ours=OURS, limit=LIMIT, notes=[note]
    )
    promised = {WITH_IDS: "with operation ids: each effect once", WITHOUT_IDS: "without: nothing promised"}
    for side, promise in promised.items():
        what = f"{label} add_insult and remove_insult, {promise}, against the {name}'s insult_me"
        shown = {one: rates[one] for one in (side, name)}
        yield Finding(middleware, what, ratios(rates[side], rates[name]), rates=shown, ours=side)


def reference_name(terms: Terms) -> str:
    """Return what the other side is called."""
    return "yardstick" if terms.yardstick else "plain reference"


def service(stack: ExitStack, middleware: str, terms: Terms) -> Target:
    """Start an InsultService of one node with the insults of the plain reference."""
    system = stack.enter_context(System(SystemSpec(middleware, Application.SERVICE), terms.brokers))
    with system.service() as client:
        for insult in INSULTS:
            client.add_insult(insult)
    return system.target


def _wire(ours: Load) -> tuple[int, int, str]:
    """Return the bytes of a request and of its reply, and a note about them."""
    request, reply = ours.bytes_per_request()
    if request and reply:
        return request, reply, f"a request is {request} bytes on the wire and its reply {reply}"
    request, reply = ASSUMED
    return request, reply, f"{request} and {reply} bytes are assumed: no connection stays open to be asked"


def _reference(stack: ExitStack, middleware: str, terms: Terms) -> Side:
    if terms.yardstick:
        return Yardstick(terms.yardstick, middleware)
    plain = PLAIN[middleware]
    address = started(stack, plain.__name__)
    return loaded(stack, partial(plain.client, address))
