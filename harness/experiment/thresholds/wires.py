"""The thresholds of the four: `insult_me` over the direct ones, the filter over the indirect ones."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from harness.experiment.baseline import (
    FILTERED,
    INSULTS,
    TEXT,
    plain_pyro4,
    plain_rabbitmq,
    plain_redis,
    plain_xmlrpc,
)
from harness.experiment.thresholds import clients, limits, unguarded, unguarded_redis
from harness.experiment.thresholds.clients import BARE, rabbitmq_for_guests, redis_with, yardstick_environment
from harness.experiment.thresholds.contestants import (
    ClientProcesses,
    Contestant,
    Terms,
    Yardstick,
    alternate,
    loaded,
    started,
)
from harness.record.findings import Finding, ratios
from lab.contract import Application, Target
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import delete_namespace, throwaway_namespace

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
        sides: dict[str, Contestant] = {OURS: ours, name: _reference(stack, middleware, terms)}
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


def _wire(ours: ClientProcesses) -> tuple[int, int, str]:
    """Return the bytes of a request and of its reply, and a note about them."""
    request, reply = ours.bytes_per_request()
    if request and reply:
        return request, reply, f"a request is {request} bytes on the wire and its reply {reply}"
    request, reply = ASSUMED
    return request, reply, f"{request} and {reply} bytes are assumed: no connection stays open to be asked"


def _reference(stack: ExitStack, middleware: str, terms: Terms) -> Contestant:
    if terms.yardstick:
        return Yardstick(terms.yardstick, middleware)
    plain = PLAIN[middleware]
    address = started(stack, plain.__name__)
    return loaded(stack, partial(plain.client, address))


DEPTH = 1000
"""In flight per client, on both sides."""
REDIS_BARS = {"always": 12.0, "everysec": 20.0}
PETITION_BYTES = 130
"""Of a petition as JSON with id and place to reply, around the text."""
UNGUARDED = "ours, nothing guaranteed"
REDIS_LIMIT = "limit: bare list commands"
PIKA_LIMIT = "limit: bare pika"


def redis_filter(terms: Terms) -> Iterator[Finding]:
    """Compare the filter over Redis, with both settings of its log, and the reference on a plain Redis."""
    name = reference_name(terms)
    with ExitStack() as stack:
        bare = redis_with(stack, BARE)
        sides: dict[str, Contestant] = {name: _redis_reference(stack, bare, terms)}
        for setting in REDIS_BARS:
            url = redis_with(stack, setting)
            target = _filter(stack, "redis_impl", BrokerUrls(redis=url))
            sides[_ours(setting)] = loaded(stack, partial(clients.filter_many, "redis_impl", target, DEPTH))
            payload = PETITION_BYTES + len(TEXT)
            sides[_limit(setting)] = loaded(
                stack, partial(limits.lists, url, DEPTH // 10, payload, len(FILTERED))
            )
        plain = _unguarded(stack, unguarded_redis.__name__, "redis_impl", BrokerUrls(redis=bare))
        sides[UNGUARDED] = loaded(stack, partial(clients.filter_many, "redis_impl", plain, DEPTH))
        rates = alternate(sides, terms.pairs, terms.seconds)
    notes = [f"{DEPTH:,} in flight per client; the reference's Redis keeps nothing on the disk"]
    for setting, bar in REDIS_BARS.items():
        ours, limit = _ours(setting), _limit(setting)
        what = f"Redis filter, request to result, appendfsync {setting}, against the {name}"
        shown = {side: rates[side] for side in (ours, name, limit)}
        yield Finding(
            "redis",
            what,
            ratios(rates[ours], rates[name]),
            bar,
            rates=shown,
            ours=ours,
            limit=limit,
            notes=notes,
        )
    what = f"Redis filter, request to result, the reference's own guarantees (none), against the {name}"
    shown = {side: rates[side] for side in (UNGUARDED, name)}
    yield Finding("redis", what, ratios(rates[UNGUARDED], rates[name]), rates=shown, ours=UNGUARDED)


def rabbitmq_filter(terms: Terms) -> Iterator[Finding]:
    """Compare the filter over RabbitMQ with the reference, with our guarantees and with none."""
    name = reference_name(terms)
    with ExitStack() as stack:
        amqp = rabbitmq_for_guests(stack) if terms.yardstick else terms.brokers.amqp
        urls = BrokerUrls(amqp=amqp)
        target = _filter(stack, "rabbitmq", urls)
        bare = _unguarded(stack, unguarded.__name__, "rabbitmq", urls)
        sides: dict[str, Contestant] = {
            OURS: loaded(stack, partial(clients.filter_many, "rabbitmq", target, DEPTH)),
            name: _rabbitmq_reference(stack, amqp, terms),
            UNGUARDED: loaded(stack, partial(unguarded.filter_many, bare, DEPTH)),
            PIKA_LIMIT: loaded(stack, partial(limits.bare_pika, amqp, DEPTH, len(TEXT))),
        }
        rates = alternate(sides, terms.pairs, terms.seconds)
    notes = [f"{DEPTH:,} in flight per client"]
    promises = {
        OURS: "confirms and manual acknowledgement",
        UNGUARDED: "the reference's own guarantees (none)",
    }
    for side, bar in ((OURS, 1.5), (UNGUARDED, 2.0)):
        what = f"RabbitMQ filter, request to reply, {promises[side]}, against the {name}"
        shown = {one: rates[one] for one in (side, name, PIKA_LIMIT)}
        values = ratios(rates[side], rates[name])
        yield Finding("rabbitmq", what, values, bar, rates=shown, ours=side, limit=PIKA_LIMIT, notes=notes)


def _filter(stack: ExitStack, middleware: str, urls: BrokerUrls) -> Target:
    """Start an InsultFilter of one node that knows the insults of the plain reference."""
    spec = SystemSpec(middleware, Application.FILTER, node_arguments=("--insults", str(_insults(stack))))
    return stack.enter_context(System(spec, urls)).target


def _unguarded(stack: ExitStack, module: str, middleware: str, urls: BrokerUrls) -> Target:
    """Start the node *module*, which is like ours and guarantees nothing."""
    namespace = throwaway_namespace()
    if urls.amqp:
        stack.callback(MIDDLEWARES[middleware].delete_queues, urls.amqp, namespace)
    else:
        stack.callback(delete_namespace, urls.redis, namespace)
    launcher = stack.enter_context(LocalLauncher())
    arguments = ("--namespace", namespace, "--insults", str(_insults(stack)))
    launcher.start(ProcessSpec("unguarded", module, arguments, urls.environment()))
    return Target(urls.amqp or urls.redis, namespace=namespace)


def _insults(stack: ExitStack) -> Path:
    with NamedTemporaryFile("w", prefix="lab-insults-", suffix=".txt", delete=False) as file:
        file.write("\n".join(INSULTS))
    stack.callback(os.unlink, file.name)
    return Path(file.name)


def _redis_reference(stack: ExitStack, url: str, terms: Terms) -> Contestant:
    if terms.yardstick:
        return Yardstick(terms.yardstick, "redis", yardstick_environment(url, ""))
    queue = throwaway_namespace()
    started(stack, plain_redis.__name__, url, queue)
    return loaded(stack, partial(plain_redis.client, url, queue, DEPTH))


def _rabbitmq_reference(stack: ExitStack, url: str, terms: Terms) -> Contestant:
    if terms.yardstick:
        return Yardstick(terms.yardstick, "rabbitmq", yardstick_environment("", url))
    queue = throwaway_namespace()
    started(stack, plain_rabbitmq.__name__, url, queue)
    return loaded(stack, partial(plain_rabbitmq.client, url, queue, DEPTH))


def _ours(setting: str) -> str:
    return f"ours, {setting}"


def _limit(setting: str) -> str:
    return f"{REDIS_LIMIT}, {setting}"
