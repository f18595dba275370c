"""What a killed run left behind: throw-away namespaces and temporary folders that nobody uses any more."""

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import psutil
import redis

from lab.store.namespace import is_throwaway

FOLDERS = ("lab-redis-*", "lab-rabbitmq-*", "lab-logs-*")
_KEYS_AT_ONCE = 1000


def idle_namespaces(url: str, idle_seconds: float) -> list[str]:
    """Return the throw-away namespaces in the Redis at *url* of which no key was used for *idle_seconds*."""
    idle: dict[str, float] = {}
    idle_numbers: dict[str, float] = {}
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter(match="lab-????????:*", count=_KEYS_AT_ONCE):
            name = key.partition(":")[0]
            with suppress(redis.ResponseError):  # gone since; or a policy that keeps no time of use
                # Redis keeps small numbers once, for all keys: their time of use may be another key's.
                known = idle_numbers if client.object("encoding", key) == "int" else idle
                seconds = client.object("idletime", key)
                if is_throwaway(name) and seconds is not None:
                    known[name] = min(known.get(name, seconds), seconds)
    return sorted(name for name, seconds in (idle_numbers | idle).items() if seconds >= idle_seconds)


def idle_folders(idle_seconds: float) -> list[Path]:
    """Return our temporary folders, older than *idle_seconds*, in which no process has a file open."""
    used = _open_paths()
    oldest = time.time() - idle_seconds
    return [
        folder
        for pattern in FOLDERS
        for folder in sorted(Path(tempfile.gettempdir()).glob(pattern))
        if folder.stat().st_uid == os.getuid()
        and folder.stat().st_mtime <= oldest
        and not any(path.is_relative_to(folder) for path in used)
    ]


def _open_paths() -> list[Path]:
    paths = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or is somebody else's
            paths += [Path(file.path) for file in process.open_files()]
    return paths
