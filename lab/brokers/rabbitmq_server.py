"""Start a private RabbitMQ, ask a running one whether it serves us, list and delete its queues.

AMQP has no list of queues; ``rabbitmqctl`` has.
"""

import contextlib
import json
import logging
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pika
import pika.exceptions
import psutil
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from lab.addresses import host_port, is_open
from lab.brokers.server import SILENT, Server, kept_port, redacted, refuse_second
from lab.brokers.state import listeners
from lab.options import LOOPBACK
from lab.settings import SettingsError

DEFAULT_URL = "amqp://guest:guest@127.0.0.1:5672/%2F"
SCRIPTS = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/sbin",
)
# Idle schedulers must sleep. Spinning ones take a core away from the processes that are measured.
BUSY_WAIT_OFF = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
ERLANG_FLAGS = f"{BUSY_WAIT_OFF} -kernel inet_dist_use_interface {{127,0,0,1}}"

_REFUSALS = (pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError)
_AWAY = (pika.exceptions.AMQPError, AMQPConnectorException, OSError)
"""If a port accepts and then stays silent, pika raises an error of its connector, which is no AMQPError."""


def answers(url: str) -> bool:
    """Tell whether the RabbitMQ at *url* serves us."""
    return not refusal(url)


def refusal(url: str) -> str:
    """Return why the RabbitMQ at *url* does not serve us: SILENT, or its own words. Empty: it serves us."""
    try:
        parameters = pika.URLParameters(url)
    except (ValueError, IndexError) as error:
        raise SettingsError(f"{redacted(url)} is not the URL of a RabbitMQ: {error}") from error
    if not is_open(parameters.port, parameters.host):  # cheaper, and silent
        return SILENT
    parameters.socket_timeout = parameters.stack_timeout = parameters.blocked_connection_timeout = 5.0
    parameters.connection_attempts = 1
    try:
        with _quiet():
            pika.BlockingConnection(parameters).close()
    except _REFUSALS as error:
        return str(error).partition("'")[2].partition(". For details")[0].rstrip("'") or str(error)
    except _AWAY:
        return SILENT
    return ""


def guarantees(url: str) -> str:
    """Say which RabbitMQ answers at *url*."""
    try:
        with _quiet():
            connection = pika.BlockingConnection(pika.URLParameters(url))
    except _AWAY as error:
        return f"its version is unknown ({error})"
    properties = connection._impl.server_properties or {}
    connection.close()
    version = properties.get("version", b"?")
    text = version.decode() if isinstance(version, bytes) else str(version)
    return f"RabbitMQ {text}, persistent messages on durable queues"


def script() -> str:
    """Return the path of RabbitMQ's own server script, not of Debian's wrapper; empty if there is none."""
    for pattern in SCRIPTS:
        found = sorted(Path("/").glob(f"{pattern[1:]}/rabbitmq-server"))
        if found:
            return str(found[-1])
    return shutil.which("rabbitmq-server") or ""


def private(path: str, folder: Path, *, detached: bool = False, host: str = LOOPBACK) -> tuple[str, Server]:
    """Start the server *path* on a port of *host*, with an epmd (on loopback), user and data of its own.

    Return its URL too. A *folder* that an earlier one left is taken over with its data, port, user and
    password.
    """
    known = password(folder)

    def url_at(port: int) -> str:
        return f"amqp://lab:{known}@{host_port(host, port)}/%2F"

    refuse_second(folder, lambda port: answers(url_at(port)))
    port, epmd_port = kept_port(folder, "port", host), kept_port(folder, "epmd_port")
    environment = {
        "HOME": str(folder),
        # The name of its data: it must stay. Another RabbitMQ may have the same, as each has its own epmd.
        "RABBITMQ_NODENAME": "lab@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": host,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(kept_port(folder, "dist_port")),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
        # With this, its script becomes the Erlang machine and does not wait for it: one process to end.
        "RUNNING_UNDER_SYSTEMD": "true",
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(epmd_port),
    }
    url = url_at(port)
    epmd = _private_epmd(folder, epmd_port, detached=detached)
    server = Server([path], environment, folder, lambda: answers(url), detached=detached, companions=[epmd])
    server.start()
    return url, server


def password(folder: Path) -> str:
    """Return the password in the configuration in *folder*. Write the configuration if there is none.

    The server reads it when the data is first made, so it stays with the data.
    """
    config = folder / "rabbitmq.conf"
    if not config.exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
        config.touch(mode=0o600)
        config.write_text(
            f"default_user = lab\ndefault_pass = {secrets.token_hex(16)}\nlog.console.level = error\n",
            encoding="utf-8",
        )
    return config.read_text(encoding="utf-8").partition("default_pass = ")[2].split()[0]


def _private_epmd(folder: Path, port: int, *, detached: bool) -> Server:
    """Return Erlang's port mapper, in the foreground. One that the server starts itself would not end."""
    path = shutil.which("epmd") or "epmd"
    command = [path, "-address", "127.0.0.1", "-port", str(port)]
    return Server(command, dict(os.environ), folder / "epmd", lambda: is_open(port), detached=detached)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep pika from logging a traceback when an attempt to connect fails."""
    logger = logging.getLogger("pika")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


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
