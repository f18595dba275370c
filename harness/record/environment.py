"""What a result depends on: the code of the lab, the machine, the interpreter, libraries, brokers."""

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import psutil

from lab.bootstrap import ROOT
from lab.process.launcher import usable_cores

LIBRARIES = ("Pyro4", "redis", "hiredis", "pika", "httptools", "uvloop", "msgpack")


def environment() -> dict[str, object]:
    """Describe this machine now."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "cpu_quota": _quota(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "load_before": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "commit": commit(),
        "is_dirty": is_dirty(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )


def _quota() -> str:
    """Return the limit that a control group (a container) sets on CPU time: quota and period in us."""
    try:
        return Path("/sys/fs/cgroup/cpu.max").read_text(encoding="utf-8").strip()
    except OSError:
        return "none"


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Return the commit, short; empty where there is no git."""
    return _git("rev-parse", "--short", "HEAD")


def is_dirty() -> bool:
    """Tell whether files differ from the commit."""
    return bool(_git("status", "--porcelain"))


def digest() -> str:
    """Return a digest of the Python files of all packages: what is the same runs the same."""
    whole = hashlib.sha256()
    for path in sorted(ROOT.glob("[!.]*/**/*.py")):
        whole.update(f"{path.relative_to(ROOT)}\n".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
