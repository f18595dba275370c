"""Start what a setup asks for: a broker of its own, a node, and the clients."""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from harness.experiment.settings import variants
from harness.experiment.settings.clients import filtering
from harness.experiment.settings.table import Setup
from harness.experiment.thresholds.load import Load
from harness.experiment.thresholds.servers import redis_with
from harness.experiment.thresholds.sides import loaded
from lab.contract import Application, Target
from lab.middleware import MIDDLEWARES
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import BrokerUrls, System, SystemSpec
from lab.store.namespace import throwaway_namespace


class Sides:
    """Clients of one middleware by their setups; nodes end with *stack*, and serve all who need the same."""

    def __init__(self, stack: ExitStack, middleware: str, urls: BrokerUrls, clients: int) -> None:
        self._stack = stack
        self._middleware = middleware
        self._urls = urls
        self._count = clients
        self._nodes: dict[Setup, Target] = {}
        self._usual: dict[Setup, Load] = {}

    def usual(self, setup: Setup) -> Load:
        """Return clients that stay until the middleware is done: those of a default."""
        if setup not in self._usual:
            if setup.node not in self._nodes:
                self._nodes[setup.node] = self._node(self._stack, setup)
            self._usual[setup] = self._clients(self._stack, setup, self._nodes[setup.node])
        return self._usual[setup]

    def changed(self, stack: ExitStack, setup: Setup) -> Load:
        """Return clients that end with *stack*, as does their node, unless one like it runs."""
        return self._clients(stack, setup, self._nodes.get(setup.node) or self._node(stack, setup))

    def again(self, stack: ExitStack, setup: Setup) -> Load:
        """Return clients, and a node, that end with *stack*, though others like them run."""
        return self._clients(stack, setup, self._node(stack, setup))

    def _clients(self, stack: ExitStack, setup: Setup, target: Target) -> Load:
        with _variables(setup.variables):
            return loaded(stack, partial(filtering, self._middleware, target, setup), self._count)

    def _node(self, stack: ExitStack, setup: Setup) -> Target:
        urls = self._urls
        if setup.appendfsync:
            urls = replace(urls, redis=redis_with(stack, setup.appendfsync))
        with _variables(setup.variables):
            if setup.variant and self._middleware == "rabbitmq":
                return _changed_node(stack, setup.variant, urls)
            spec = SystemSpec(self._middleware, Application.FILTER, node_arguments=setup.node_arguments)
            return stack.enter_context(System(spec, urls)).target


def _changed_node(stack: ExitStack, variant: tuple[str, str], urls: BrokerUrls) -> Target:
    namespace = throwaway_namespace()
    stack.callback(MIDDLEWARES["rabbitmq"].delete_queues, urls.amqp, namespace)
    launcher = stack.enter_context(LocalLauncher())
    arguments = (*variant, "--namespace", namespace)
    launcher.start(ProcessSpec("changed", variants.__name__, arguments, urls.environment()))
    return Target(urls.amqp, namespace=namespace)


@contextmanager
def _variables(given: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Let processes that are started meanwhile have these variables; our own settings were read before."""
    before: Mapping[str, str | None] = {name: os.environ.get(name) for name, _ in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
