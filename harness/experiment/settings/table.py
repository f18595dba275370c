"""The table of settings: one line each. One more setting is one more line."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from lab.errors import Code, InvalidRequest
from lab.middleware import MIDDLEWARES


@dataclass(frozen=True, slots=True)
class Setup:
    """How a system and its clients run. A setting changes one thing of it; the rest is as it comes."""

    in_flight: int = 0
    """Texts under way per client, or in a batch; 0: one call after the other."""
    text_bytes: int = 64
    node_arguments: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    """``LAB_*`` variables of nodes and clients."""
    appendfsync: str = ""
    """A private Redis with this; empty: the broker that there is."""
    variant: tuple[str, str] | None = None
    """What the lab does not offer, by setting and value (:mod:`harness.experiment.settings.variants`)."""

    @property
    def node(self) -> "Setup":
        """What of it concerns the node: where that is the same, one node serves."""
        return replace(self, in_flight=0, text_bytes=0)


Apply = Callable[[Setup, str], Setup]


def in_flight(setup: Setup, value: str) -> Setup:
    """Let each client have so many texts under way; "off": none but the one it waits for."""
    return replace(setup, in_flight=0 if value == "off" else int(value))


def payload(setup: Setup, value: str) -> Setup:
    """Send texts of that length, such as "16 B" or "64 KiB"."""
    number, unit = value.split()
    return replace(setup, text_bytes=int(number) * {"B": 1, "KiB": 1024}[unit])


def node_option(name: str) -> Apply:
    """Return what gives the node an option of its command line."""
    return lambda setup, value: replace(setup, node_arguments=(name, value))


def variable(name: str) -> Apply:
    """Return what sets a ``LAB_*`` variable of the node and of the clients."""
    return lambda setup, value: replace(setup, variables=((name, value),))


def private_redis(setup: Setup, value: str) -> Setup:
    """Let both sides have Redis servers of their own, which differ in what they write to the disk."""
    return replace(setup, appendfsync="no" if value == "off" else value)


def variant(setting: str) -> Apply:
    """Return what changes our own code, for this measurement only."""
    return lambda setup, value: replace(setup, variant=(setting, value))


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting, its usual value, the others, and how they are applied.

    *promises* says of a value what else it changes: a text that begins with "weaker guarantee" or "stronger
    guarantee".
    """

    middleware: str
    name: str
    default: str
    values: tuple[str, ...]
    apply: Apply
    promises: Mapping[str, str] = field(default_factory=dict)


DEFAULTS = {
    "xmlrpc": Setup(),
    "pyro4": Setup(variables=(("LAB_PYRO_SERIALIZER", "msgpack"),)),
    # 250 times 4 clients: as many as the largest prefetch and the largest batch.
    "redis_impl": Setup(in_flight=250),
    "rabbitmq": Setup(in_flight=250, variables=(("LAB_QUEUE_TYPE", "classic"),)),
}
"""Variables are given, so that those of the user's shell do not matter."""
_BATCHES = ("1", "10", "100")
_SIZES = ("16 B", "1 KiB", "64 KiB")
_EVERYSEC = "weaker guarantee: a crash may lose the last second"
_NO_FILE = "weaker guarantee: a kill loses everything"
_UNCONFIRMED = "weaker guarantee: nobody notices what the broker could not keep"
_TRANSIENT = "weaker guarantee: a broker that restarts loses what waits"
_QUORUM = "stronger guarantee: every message is on the disk, of each replica, before it is confirmed"
_MULTIPLEX = "weaker guarantee: a silent client stalls all others"

SETTINGS = (
    Setting("xmlrpc", "keep-alive", "on", ("off",), variant("keep-alive")),
    Setting("xmlrpc", "multicall", "off", _BATCHES, in_flight),
    Setting("xmlrpc", "payload", "64 B", _SIZES, payload),
    Setting("pyro4", "serializer", "msgpack", ("serpent",), variable("LAB_PYRO_SERIALIZER")),
    Setting(
        "pyro4",
        "server type",
        "thread",
        ("multiplex",),
        node_option("--server-type"),
        {"multiplex": _MULTIPLEX},
    ),
    Setting("pyro4", "batch", "off", _BATCHES, in_flight),
    Setting("pyro4", "payload", "64 B", _SIZES, payload),
    Setting("redis_impl", "batch", "500", _BATCHES, node_option("--batch")),
    Setting("redis_impl", "in flight", "250", ("1", "10", "1000"), in_flight),
    Setting(
        "redis_impl",
        "appendonly",
        "always",
        ("everysec", "off"),
        private_redis,
        {"everysec": _EVERYSEC, "off": _NO_FILE},
    ),
    Setting("redis_impl", "payload", "64 B", _SIZES, payload),
    Setting("rabbitmq", "prefetch", "200", ("1", "10", "100", "1000"), node_option("--prefetch")),
    Setting(
        "rabbitmq",
        "confirms",
        "asynchronous",
        ("none", "each"),
        variant("confirms"),
        {"none": _UNCONFIRMED},
    ),
    Setting(
        "rabbitmq", "messages", "persistent", ("transient",), variant("messages"), {"transient": _TRANSIENT}
    ),
    Setting(
        "rabbitmq", "queue type", "classic", ("quorum",), variable("LAB_QUEUE_TYPE"), {"quorum": _QUORUM}
    ),
    Setting("rabbitmq", "acknowledge", "multiple", ("each",), variant("acknowledge")),
    Setting("rabbitmq", "payload", "64 B", _SIZES, payload),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a setting, against the default."""

    setting: Setting
    value: str

    @property
    def sides(self) -> tuple[Setup, Setup]:
        """The default, and what differs from it."""
        usual = DEFAULTS[self.setting.middleware]
        changed = self.setting.apply(usual, self.value)
        # Two private brokers, or what is compared is also a broker that was found with one that was not.
        return (self.setting.apply(usual, self.setting.default) if changed.appendfsync else usual), changed


def changes(only: str = "") -> list[Change]:
    """Return the changes that *only* names; none: all. InvalidRequest if there is no such thing.

    It is a list such as ``xmlrpc,rabbitmq:prefetch,redis_impl:appendonly=off``.
    """
    every = [Change(setting, value) for setting in SETTINGS for value in setting.values]
    wanted = [_named(part.strip(), every) for part in only.split(",")] if only else [every]
    return [change for change in every if any(change in some for some in wanted)]


def _named(text: str, every: list[Change]) -> list[Change]:
    middleware, _, rest = text.partition(":")
    name, _, value = rest.partition("=")
    found = [one for one in every if one.setting.middleware == middleware]
    if not found:
        known = [one for one in MIDDLEWARES if one in DEFAULTS]
        raise InvalidRequest(Code.MALFORMED, f"no middleware {middleware!r}; there are {', '.join(known)}")
    if not rest:
        return found
    settings = {one.setting.name: one.setting for one in found}
    if name not in settings:
        message = f"{middleware} has no setting {name!r}; there are {', '.join(settings)}"
        raise InvalidRequest(Code.MALFORMED, message)
    if value and value not in settings[name].values:
        message = f"{middleware}:{name} has no value {value!r}; there are {', '.join(settings[name].values)}"
        raise InvalidRequest(Code.MALFORMED, message)
    return [one for one in found if one.setting.name == name and value in ("", one.value)]


def load_words(setup: Setup, clients: int) -> str:
    """Say under which load a default is measured."""
    depth = f"{setup.in_flight} in flight each" if setup.in_flight else "one call at a time"
    return f"{clients} clients, {depth}, texts of {setup.text_bytes} B, one node"
