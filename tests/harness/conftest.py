"""Commands for tests; none outlives its test."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.harness.commands import Command, Start


@pytest.fixture
def start(redis_url: str, namespace: str) -> Iterator[Start]:
    """Start commands; end those that still run."""
    with ExitStack() as stack:

        def start(*arguments: str) -> Command:
            command = Command(redis_url, namespace, *arguments)
            stack.callback(command.close)
            return command

        yield start
