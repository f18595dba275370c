"""The brokers that a bar needs in a certain setting: private ones, ended with the run."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import redis

from lab.addresses import free_port
from lab.brokers import rabbitmq_server, redis_server
from lab.brokers.server import Server
from lab.errors import Unavailable

APPENDFSYNC = ("always", "everysec")
BARE = "no"
"""The setting of a Redis as it comes: nothing is kept on the disk."""


def redis_with(stack: ExitStack, appendfsync: str) -> str:
    """Start a Redis; *appendfsync*: always, everysec, or BARE for none at all and no password either."""
    path = redis_server.binary()
    if not path:
        raise Unavailable("no redis-server here to start with other settings")
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-redis-"))
    if appendfsync == BARE:
        port = free_port()
        url = f"redis://127.0.0.1:{port}/0"
        command = [path, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
        server = Server(command, {}, folder, lambda: redis_server.answers(url))
        stack.callback(server.close)
        server.start()
        return url
    url, server = redis_server.private(path, folder)
    stack.callback(server.close)
    with redis.Redis.from_url(url) as client:
        client.config_set("appendfsync", appendfsync)
    return url


def rabbitmq_for_guests(stack: ExitStack) -> str:
    """Start a RabbitMQ where the user guest, whom programs of others expect, is let in beside ours."""
    path = rabbitmq_server.script()
    if not path:
        raise Unavailable("no rabbitmq-server here that could let a yardstick in")
    folder = Path(tempfile.mkdtemp(prefix="lab-bench-rabbitmq-"))
    definitions = folder / "definitions.json"
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    users = ("lab", "guest")
    content = {
        "users": [{"name": name, "password": "guest", "tags": "administrator"} for name in users],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": name, "vhost": "/", **everything} for name in users],
    }
    definitions.write_text(json.dumps(content), encoding="utf-8")
    (folder / "enabled_plugins").write_text("[].\n", encoding="utf-8")
    (folder / "rabbitmq.conf").write_text(
        f"default_user = lab\ndefault_pass = guest\nload_definitions = {definitions}\n"
        "log.console.level = error\n",
        encoding="utf-8",
    )
    url, server = rabbitmq_server.private(path, folder)
    stack.callback(server.close)
    return url


def yardstick_environment(redis_url: str, amqp_url: str) -> dict[str, str]:
    """Return the variables by which the yardstick finds its brokers."""
    ports = {"NAIVE_REDIS_PORT": urlsplit(redis_url).port, "NAIVE_AMQP_PORT": urlsplit(amqp_url).port}
    return {name: str(port) for name, port in ports.items() if port}
