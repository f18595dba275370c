"""List and delete the queues of a RabbitMQ on this machine. AMQP has no list; ``rabbitmqctl`` has."""

import json
import subprocess
from contextlib import suppress
from pathlib import Path

import pika
import psutil

from lab.brokers.ports import listeners
from lab.brokers.rabbitmq_server import SCRIPTS

TOOL_SECONDS = 30.0


def queue_names(url: str) -> dict[str, int] | None:
    """Return the queues and the number of their consumers; None if the RabbitMQ at *url* cannot be asked.

    It can be asked if it runs on this machine under our user, and ``rabbitmqctl`` is beside its script. That
    is true of each one that the lab started.
    """
    environment = _environment(pika.URLParameters(url).port)
    tool = _tool()
    if not environment or not tool:
        return None
    command = [tool, "-q", "--formatter=json", "list_queues", "name", "consumers"]
    with suppress(OSError, subprocess.TimeoutExpired, ValueError, KeyError):
        done = subprocess.run(
            command, env=environment, capture_output=True, timeout=TOOL_SECONDS, check=False
        )
        if not done.returncode:
            return {row["name"]: int(row["consumers"] or 0) for row in json.loads(done.stdout)}
    return None


def delete_queues(url: str, prefix: str) -> None:
    """Delete the queues whose names begin with *prefix* from the RabbitMQ at *url*, if it can be asked."""
    names = [name for name in queue_names(url) or () if name.startswith(prefix)]
    if names:
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            channel = connection.channel()
            for name in names:
                channel.queue_delete(name)


def _environment(port: int) -> dict[str, str]:
    """Return the environment of the server that listens on *port*. The tool finds the server by it."""
    with suppress(psutil.Error, OSError):
        for listener in listeners().get(port, ()):
            return psutil.Process(listener).environ()
    return {}


def _tool() -> str:
    for pattern in SCRIPTS:
        found = sorted(Path("/").glob(f"{pattern[1:]}/rabbitmqctl"))
        if found:
            return str(found[-1])
    return ""
