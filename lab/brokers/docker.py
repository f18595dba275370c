"""RabbitMQ in a container, for machines with a Docker engine and no RabbitMQ."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from signal import SIGTERM

from lab.brokers import rabbitmq_server
from lab.brokers.server import Server, kept_port, say
from lab.options import LOOPBACK

IMAGE = "rabbitmq:3.13-alpine"
ENGINE_SECONDS = 5.0


def ready() -> bool:
    """Tell whether a Docker engine that we may use runs and has the image; pull it if need be."""
    if not shutil.which("docker"):
        return False
    try:
        if _docker("info", timeout=ENGINE_SECONDS).returncode:
            return False
    except subprocess.TimeoutExpired:
        return False
    if _docker("image", "inspect", IMAGE).returncode == 0:
        return True
    say(f"no RabbitMQ here, but Docker: pulling {IMAGE}")
    return _docker("pull", "-q", IMAGE).returncode == 0


def rabbitmq(folder: Path, *, detached: bool = False, host: str = LOOPBACK) -> tuple[str, Server]:
    """Start RabbitMQ in a container on a free port of *host*, its data in *folder*; return its URL too."""
    port, data = kept_port(folder, "port", host), folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    password = rabbitmq_server.password(folder)
    name = f"lab-rabbitmq-{secrets.token_hex(4)}"
    url = f"amqp://lab:{password}@{host}:{port}/%2F"
    # Its user is ours, so that we can delete the data; its host name is fixed, so that it finds them again.
    own = ["--name", name, "--hostname", "lab", "--user", f"{os.getuid()}:{os.getgid()}"]
    shared = ["--publish", f"{host}:{port}:5672", "--volume", f"{data}:/var/lib/rabbitmq"]
    environment = {
        "RABBITMQ_DEFAULT_USER": "lab",
        "RABBITMQ_DEFAULT_PASS": password,
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": rabbitmq_server.BUSY_WAIT_OFF,
    }
    passed = [option for variable in environment for option in ("--env", variable)]
    server = _Container(
        ["docker", "run", "--rm", *own, *shared, *passed, IMAGE],
        environment,
        folder,
        lambda: rabbitmq_server.answers(url),
        detached=detached,
        end_signal=SIGTERM,  # `docker run` passes it on to the container; SIGKILL would leave that behind
    )
    server.name = name
    server.start()
    return url, server


class _Container(Server):
    """A server whose process is ``docker run``."""

    name = ""

    def kill(self) -> None:
        _docker("kill", self.name)
        super().kill()


def _docker(*arguments: str, timeout: float | None = None) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["docker", *arguments], capture_output=True, timeout=timeout, check=False)
