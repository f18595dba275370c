"""The settings that hold for every process of a run, from ``LAB_*`` environment variables."""

import importlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from urllib.parse import urlsplit


class SettingsError(ValueError):
    """A ``LAB_*`` variable is unknown or has a value that cannot be used."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One frozen object; the field ``redis_url`` is the variable ``LAB_REDIS_URL``, and so on."""

    redis_url: str = ""
    """Use this Redis, or fail. Empty: find or start one."""
    amqp_url: str = ""
    """Use this RabbitMQ, or fail. Empty: find or start one."""
    namespace: str = "insults"
    """Prefix of every key, queue and exchange."""
    id_ttl: int = 900
    """Seconds for which operation ids are remembered."""
    install: str = "ask"
    """Whether to install a missing broker: ask, yes, or never. As root without a terminal, ask means yes."""
    require_brokers: bool = False
    """Fail where a missing broker would otherwise mean a skip (CI)."""
    queue_type: str = "classic"
    """Kind of RabbitMQ's queues, classic or quorum; nodes and clients must agree."""
    pyro_key: str = field(default="", repr=False)
    """Secret that signs every message over Pyro4; messages without it are refused. Empty: none is signed."""
    pyro_serializer: str = "msgpack"
    """How Pyro4's clients write their calls, msgpack or serpent; nodes read both."""
    middlewares: str = ""
    """Packages of more middlewares, comma-separated, such as contrib.sockets (docs/add-a-middleware.md)."""
    log_level: str = "INFO"
    poison: str = ""
    """For tests of faults: a word that ends a filter node which works on a text with it. Empty: none."""
    worked: str = ""
    """For tests of faults: a file in which filter nodes note each text they work on. Empty: none."""
    live: str = ""
    """A folder in which nodes count requests and read their work time. Empty: none. Set by `lab watch`."""
    parent: int = 0
    """Process id of the launcher this process must not outlive; 0: none. Set by the launcher."""

    @property
    def packages(self) -> list[str]:
        """The packages that :attr:`middlewares` names."""
        return [name.strip() for name in self.middlewares.split(",") if name.strip()]


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read every ``LAB_*`` variable of *environment*; an unknown one is an error."""
    known = {f"LAB_{field.name.upper()}": field for field in fields(Settings)}
    values: dict[str, object] = {}
    for name, raw in environment.items():
        if not name.startswith("LAB_"):
            continue
        if name not in known:
            raise SettingsError(f"{name} is not a setting; there are {', '.join(known)}")
        default = known[name].default
        values[known[name].name] = _parse(name, raw, type(default))
    found = Settings(**values)  # type: ignore[arg-type]  # checked by _parse
    for package in found.packages:
        _check_middleware(package)
    return found


MIN_KEY_CHARACTERS = 16
_NAMESPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SCHEMES = {"LAB_REDIS_URL": ("redis", "rediss", "unix"), "LAB_AMQP_URL": ("amqp", "amqps")}
_CHOICES = {
    "LAB_INSTALL": ("ask", "yes", "never"),
    "LAB_QUEUE_TYPE": ("classic", "quorum"),
    "LAB_PYRO_SERIALIZER": ("msgpack", "serpent"),
    "LAB_LOG_LEVEL": ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
}


@cache
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return read_settings(os.environ)


def namespace(text: str) -> str:
    """Return *text* if it can be a namespace: a sign in it must not stand for what belongs to another."""
    if not _NAMESPACE.fullmatch(text):
        raise SettingsError(f"{text!r} is not a namespace: 1 to 64 letters, digits, - and _")
    return text


def _parse(name: str, raw: str, kind: type) -> object:
    if kind is bool:
        if raw.lower() not in ("", "0", "1", "false", "true", "no", "yes"):
            raise SettingsError(f"{name}={raw!r} must be 0 or 1")
        return raw.lower() in ("1", "true", "yes")
    if kind is int:
        if not raw.isdecimal():
            raise SettingsError(f"{name}={raw!r} must be a whole number, 0 or more")
        if len(raw) > 9:  # Redis takes no time to live of that length
            raise SettingsError(f"{name}={raw!r} must be less than a billion")
        if name == "LAB_ID_TTL" and not int(raw):
            raise SettingsError("LAB_ID_TTL must be 1 second or more: a repeated request is known by its id")
        return int(raw)
    if name == "LAB_PYRO_KEY" and 0 < len(raw) < MIN_KEY_CHARACTERS:  # the key itself is never shown
        raise SettingsError(f"LAB_PYRO_KEY must have {MIN_KEY_CHARACTERS} characters or more")
    if name == "LAB_NAMESPACE":
        return namespace(raw)
    if raw and name in _SCHEMES:
        _check_url(name, raw)
    if raw not in _CHOICES.get(name, (raw,)):
        raise SettingsError(f"{name}={raw!r} must be one of {', '.join(_CHOICES[name])}")
    return raw


def _check_url(name: str, url: str) -> None:
    """Raise SettingsError unless *url* is one of a broker; it is not shown, since it may hold a password."""
    schemes = _SCHEMES[name]
    try:
        is_one = urlsplit(url).scheme in schemes and urlsplit(url).port != 0
    except ValueError:
        is_one = False
    if not is_one:
        raise SettingsError(f"{name} is not a URL like {schemes[0]}://HOST:PORT")


def _check_middleware(package: str) -> None:
    try:
        declared = hasattr(importlib.import_module(package), "MIDDLEWARE")
    except (Exception, SystemExit) as error:  # the package is the user's: whatever it raises
        raise SettingsError(f"LAB_MIDDLEWARES: cannot load the package {package!r}: {error}") from error
    if not declared:
        message = f"LAB_MIDDLEWARES: {package!r} declares no MIDDLEWARE; docs/add-a-middleware.md tells how"
        raise SettingsError(message)
