"""A RabbitMQ of our own, and what a found one is."""

import contextlib
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pika
import pika.exceptions

from lab.brokers.server import Server, free_port, is_open

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
SCRIPTS = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/sbin",
)
# One scheduler that sleeps when there is nothing to do: a spinning one takes a core from what is measured.
ERLANG_FLAGS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


def answers(url: str) -> bool:
    """Tell whether the RabbitMQ at *url* serves us."""
    parameters = pika.URLParameters(url)
    if not is_open(parameters.port):  # cheaper, and silent
        return False
    parameters.socket_timeout = parameters.blocked_connection_timeout = 5.0
    parameters.connection_attempts = 1
    try:
        with _quiet():
            pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError):
        return False
    return True


def guarantees(url: str) -> str:
    """Say which RabbitMQ answers at *url*."""
    try:
        with _quiet():
            connection = pika.BlockingConnection(pika.URLParameters(url))
    except (pika.exceptions.AMQPError, OSError) as error:
        return f"its version is unknown ({error})"
    properties = connection._impl.server_properties or {}
    connection.close()
    version = properties.get("version", b"?")
    text = version.decode() if isinstance(version, bytes) else str(version)
    return f"RabbitMQ {text}, persistent messages on durable queues"


def script() -> str:
    """Return the path of RabbitMQ's own server script, not the packages' wrapper; empty: none."""
    for pattern in SCRIPTS:
        found = sorted(Path("/").glob(f"{pattern[1:]}/rabbitmq-server"))
        if found:
            return str(found[-1])
    return ""


def private(path: str, folder: Path, *, detached: bool = False) -> tuple[str, Server]:
    """Start the server *path* on free ports of loopback, with its own node name, epmd, user and data."""
    port, distribution_port, epmd_port = free_port(), free_port(), free_port()
    user, password = "lab", secrets.token_urlsafe(18)
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "rabbitmq.conf"
    config.touch(mode=0o600)
    config.write_text(f"default_user = {user}\ndefault_pass = {password}\nlog.console.level = error\n")
    (folder / "enabled_plugins").write_text("[].\n")
    url = f"amqp://{user}:{password}@127.0.0.1:{port}/%2F"
    environment = {
        "HOME": str(folder),
        "RABBITMQ_NODENAME": f"lab-{secrets.token_hex(4)}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
        # Its script then becomes the Erlang machine instead of waiting for it: one process to end.
        "RUNNING_UNDER_SYSTEMD": "true",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
    }
    epmd = _private_epmd(folder, epmd_port, detached=detached)
    server = Server([path], environment, folder, lambda: answers(url), detached=detached, companions=[epmd])
    server.start()
    return url, server


def _private_epmd(folder: Path, port: int, *, detached: bool) -> Server:
    """Start Erlang's port mapper in the foreground: the one that a server starts itself stays behind."""
    path = shutil.which("epmd") or "epmd"
    command = [path, "-address", "127.0.0.1", "-port", str(port)]
    epmd = Server(command, dict(os.environ), folder / "epmd", lambda: is_open(port), detached=detached)
    epmd.start()
    return epmd


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep pika from logging a failed attempt with a traceback: to look is no error."""
    logger = logging.getLogger("pika")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)
