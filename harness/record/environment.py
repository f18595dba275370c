"""What a result depends on: the code of the lab, the machine, the interpreter, libraries, brokers."""

import importlib.metadata
import os
import platform
from pathlib import Path

import psutil

from lab import __version__
from lab.process.launcher import usable_cores
from machines.code_version import commit, is_dirty

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
        "lab": __version__,
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
