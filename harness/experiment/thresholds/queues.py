"""The bars of the indirect middlewares: the filter, from request to result, 4 clients with many in flight."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import NamedTemporaryFile

from harness.experiment.baseline import FILTERED, INSULTS, TEXT, plain_rabbitmq, plain_redis
from harness.experiment.thresholds import clients, limits, unguarded, unguarded_redis
from harness.experiment.thresholds.direct import OURS, reference_name
from harness.experiment.thresholds.servers import BARE, rabbitmq_for_guests, redis_with, yardstick_environment
from harness.experiment.thresholds.sides import Side, Terms, Yardstick, alternate, loaded, started
from harness.record.findings import Finding, ratios
from lab.contract import Application, Target
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import delete_namespace, throwaway_namespace

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
        sides: dict[str, Side] = {name: _redis_reference(stack, bare, terms)}
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
        sides: dict[str, Side] = {
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


def _redis_reference(stack: ExitStack, url: str, terms: Terms) -> Side:
    if terms.yardstick:
        return Yardstick(terms.yardstick, "redis", yardstick_environment(url, ""))
    queue = throwaway_namespace()
    started(stack, plain_redis.__name__, url, queue)
    return loaded(stack, partial(plain_redis.client, url, queue, DEPTH))


def _rabbitmq_reference(stack: ExitStack, url: str, terms: Terms) -> Side:
    if terms.yardstick:
        return Yardstick(terms.yardstick, "rabbitmq", yardstick_environment("", url))
    queue = throwaway_namespace()
    started(stack, plain_rabbitmq.__name__, url, queue)
    return loaded(stack, partial(plain_rabbitmq.client, url, queue, DEPTH))


def _ours(setting: str) -> str:
    return f"ours, {setting}"


def _limit(setting: str) -> str:
    return f"{REDIS_LIMIT}, {setting}"
