"""A store in Redis, shared by n nodes, and the scripts that Redis runs: each is a ``.lua`` file."""

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from functools import cache, wraps
from itertools import chain, islice
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast
from uuid import uuid4

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    ClusterDownError,
    ExecAbortError,
    MasterDownError,
    NoPermissionError,
    TryAgainError,
)
from redis.retry import Retry

from lab.background import GroupCommit
from lab.contract import Result, ResultPage
from lab.errors import Code, InternalError, InvalidRequest, LabError, Overloaded, Unavailable
from lab.limits import MAX_REPLY_BYTES, MAX_RESULTS, RESULT_TTL_SECONDS, SUBSCRIPTION_LEASE_SECONDS
from lab.settings import settings
from lab.store.protocol import (
    FAILURES_AT_MOST,
    Changes,
    DeadLetter,
    Finished,
    Hold,
    IdReused,
    Store,
    UnderWay,
    WaitingText,
    dead_letter,
    digest,
    result_page,
)
from lab.validation import clean_address

SHARED = Path(__file__).parent
_NEEDS = re.compile(r"^-- needs: (.*)$", re.MULTILINE)


@cache
def load(name: str, folder: Path = SHARED) -> str:
    """Return the script *name* of *folder*, behind the files that its head names (``-- needs: clock``).

    They are looked for in *folder* first, then in ``lab/store``. Each comes once, before what needs it:
    Redis has no modules, so a script is one text. Name only what is used: each function costs time at every
    call.
    """
    return "\n".join(source.read_text(encoding="utf-8") for source in _in_order(name, folder, []))


def _in_order(name: str, folder: Path, found: list[Path]) -> list[Path]:
    path = folder / f"{name}.lua"
    path = path if path.exists() else SHARED / f"{name}.lua"
    for line in _NEEDS.findall(path.read_text(encoding="utf-8")):
        for needed in line.split():
            if not any(source.stem == needed for source in found):
                _in_order(needed, folder, found)
    found.append(path)
    return found


P = ParamSpec("P")
T = TypeVar("T")

_BULK = 5_000
_FIRST_CHANGE = "0-0"
_KEPT_CHANGES = 10_000
_REFUSING_ALL = (
    redis.BusyLoadingError,
    NoPermissionError,
    ClusterDownError,
    MasterDownError,
    ExecAbortError,
    TryAgainError,
)
# Those that redis-py has no class for, and those that a script met, as 6.2 tells them.
_REFUSES_WRITES = re.compile(r"\b(OOM|MISCONF|NOREPLICAS|READONLY)\b")
_REFUSES_ALL = re.compile(r"\b(BUSY|TRYAGAIN|UNBLOCKED|LOADING|NOPERM|CLUSTERDOWN|MASTERDOWN)\b")

log = logging.getLogger(__name__)


def connect(url: str, timeout_seconds: float = 5.0) -> "redis.Redis":
    """Return a client of the Redis at *url*, thread-safe, texts decoded.

    Its own retries are off: they repeat pushes and lose pops. Callers retry, by operation id.
    """
    clean_address(url, "redis", "rediss", "unix")
    try:
        client = redis.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,  # reading the version of its package takes longer than all the rest
        )
        client.connection_pool.make_connection()  # options of the URL are looked at only here
        return client
    except (ValueError, TypeError) as error:  # not shown: it may hold a password
        raise InvalidRequest(Code.MALFORMED, f"not a Redis URL like redis://HOST:PORT: {error}") from error


def as_lab_error(error: redis.RedisError) -> LabError:
    """Say what an error of Redis means to the caller: Overloaded, Unavailable or InternalError.

    The first two are of Redis as a whole: it takes no writes, is away, or does not let us in. They are not
    the fault of the request, so it may be repeated. InternalError: Redis works, and refused just this.
    """
    if _takes_no_writes(error):
        return Overloaded(f"Redis takes no writes now: {error}; try again later")
    if isinstance(error, redis.AuthenticationError | NoPermissionError):
        return Unavailable(f"Redis does not let us in: {error}")
    if isinstance(error, redis.ResponseError) and not is_refusing_all(error):
        error_id = uuid4().hex[:12]
        log.error("Redis refused a command, error id %s: %s", error_id, error)
        return InternalError(error_id, f"Redis refused it: {error}; the node's log has it under {error_id}")
    return Unavailable(f"Redis does not serve: {error}; is it running?")


def _takes_no_writes(error: redis.RedisError) -> bool:
    """Tell whether Redis is full, read-only, or cannot keep what is written. It says so before any write."""
    is_known = isinstance(error, redis.OutOfMemoryError | redis.ReadOnlyError)
    return is_known or bool(_REFUSES_WRITES.search(str(error)))


def is_refusing_all(error: redis.RedisError) -> bool:
    """Tell whether Redis answered, but serves no such command of anybody now: it did nothing."""
    is_known = isinstance(error, _REFUSING_ALL) or bool(_REFUSES_ALL.search(str(error)))
    return is_known or _takes_no_writes(error)


def translated(method: Callable[P, T]) -> Callable[P, T]:
    """Let *method*, of an object with a client ``_redis``, raise a LabError where Redis cannot serve."""

    @wraps(method)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except redis.RedisError as error:
            raise as_lab_error(error) from error
        except Exception:
            raise
        except BaseException:  # an interrupt: an answer may come that nobody reads
            cast(Any, args[0])._redis.connection_pool.disconnect(inuse_connections=False)
            raise

    return call


class RedisStore(Store):
    """The store of n nodes; see :mod:`lab.store.namespace`. Safe to call from any thread."""

    def __init__(self, url: str, namespace: str, timeout_seconds: float = 5.0) -> None:
        self._redis = connect(url, timeout_seconds)
        self._ns = f"{namespace}:"
        self._ttl = settings().id_ttl
        self._script = cache(lambda name: self._redis.register_script(load(name)))
        self._submits = GroupCommit(self._submit_all)

    def add_insult(self, insult: str, operation_id: str = "") -> bool:
        return bool(self._run_once("change_insult", "+", insult, operation_id, self._ttl))

    @translated
    def add_insults(self, insults: Iterable[str]) -> int:
        new, rest = 0, iter(insults)
        while chunk := list(islice(rest, _BULK)):
            new += int(self._redis.zadd(f"{self._ns}insults", dict.fromkeys(chunk, 0)) or 0)
        if new:  # too many for the stream of changes: nodes that follow read everything again
            self._redis.xadd(f"{self._ns}changes", {"*": ""})
        return new

    def remove_insult(self, insult: str, operation_id: str = "") -> bool:
        return bool(self._run_once("change_insult", "-", insult, operation_id, self._ttl))

    @translated
    def get_insults(self, after: str, limit: int) -> list[str]:
        low = f"({after}" if after else "-"
        return cast(list[str], self._redis.zrangebylex(f"{self._ns}insults", low, "+", 0, limit))

    @translated
    def random_insult(self) -> str | None:
        return cast("str | None", self._redis.zrandmember(f"{self._ns}insults"))

    @translated
    def count_insults(self) -> int:
        return int(self._redis.zcard(f"{self._ns}insults"))

    @translated
    def version(self) -> str:
        newest = cast(list[tuple[str, Any]], self._redis.xrevrange(f"{self._ns}changes", count=1))
        return newest[0][0] if newest else _FIRST_CHANGE

    @translated
    def changes(self, since: str) -> Changes:
        entries = cast(list[tuple[str, dict[str, str]]], self._redis.xrange(f"{self._ns}changes", since))
        if since == _FIRST_CHANGE:  # nothing had ever changed: complete unless already trimmed
            knows_since = len(entries) < _KEPT_CHANGES
        else:  # the entry is gone when it was trimmed, or the server lost its data
            knows_since = bool(entries) and entries[0][0] == since
        news = entries[1:] if entries and entries[0][0] == since else entries
        pairs = [(sign, insult) for _, fields in news for sign, insult in fields.items()]
        complete = knows_since and all(sign != "*" for sign, _ in pairs)
        return Changes(
            news[-1][0] if news else since, [(sign == "+", insult) for sign, insult in pairs], complete
        )

    def add_subscriber(self, uri: str, lease_seconds: float) -> bool:
        return bool(self._run("subscribe", uri, lease_seconds))

    def remove_subscriber(self, uri: str) -> bool:
        return bool(self._run("unsubscribe", uri))

    def subscribers(self) -> list[str]:
        return cast(list[str], self._run("subscribers", SUBSCRIPTION_LEASE_SECONDS))

    def set_broadcast(self, on: bool, operation_id: str = "") -> bool:
        return bool(self._run("set_broadcast", int(on), operation_id, self._ttl))

    @translated
    def broadcast_on(self) -> bool:
        return self._redis.get(f"{self._ns}broadcast") == "1"

    def hold_broadcast(self, owner: str, lease_seconds: float) -> Hold | None:
        held = cast("list[str] | None", self._run("hold_broadcast", owner, lease_seconds))
        return Hold(int(held[0]), float(held[1]) if held[1] else None) if held else None

    def leave_broadcast(self, owner: str) -> None:
        self._run("leave_broadcast", owner)

    def next_tick(self, epoch: int = 0) -> int:
        return cast(int, self._run("next_tick", epoch))

    def submit(self, petition_id: str, text: str) -> None:
        if self._submits((petition_id, text)) < 0:
            raise IdReused()

    def _submit_all(self, texts: Sequence[tuple[str, str]]) -> list[int]:
        return cast(list[int], self._run("submit", self._ttl, *chain.from_iterable(texts)))

    def take(self, lease_seconds: float, owner: str = "") -> WaitingText | None:
        _, taken = self.settle_and_take((), 1, lease_seconds, owner)
        return taken[0] if taken else None

    def settle_and_take(
        self, finished: Sequence[Finished], most: int, lease_seconds: float, owner: str = ""
    ) -> tuple[list[bool], list[WaitingText]]:
        limits = (FAILURES_AT_MOST, self._ttl, MAX_RESULTS, RESULT_TTL_SECONDS)
        results = [part for each, text in finished for part in (each.petition_id, text, each.epoch)]
        answer = self._run("settle_and_take", most, lease_seconds, owner, *limits, *results)
        kept, taken = cast(tuple[list[int], list[Any]], answer)
        return [each > 0 for each in kept], [WaitingText(*each) for each in taken]

    def take_for(
        self, operation_id: str, lease_seconds: float, owner: str = ""
    ) -> WaitingText | Result | UnderWay | None:
        limits = (self._ttl, RESULT_TTL_SECONDS)
        answer = self._run("take_for", lease_seconds, owner, FAILURES_AT_MOST, operation_id, *limits)
        if not answer:
            return None
        petition_id, text, epoch = cast(tuple[str, str, int], answer)
        if epoch < 0:
            return UnderWay(petition_id)
        return WaitingText(petition_id, text, epoch) if epoch else Result(petition_id, text)

    def renew(self, petition_id: str, epoch: int, lease_seconds: float) -> bool:
        return bool(self._run("renew", petition_id, epoch, lease_seconds))

    def release(self, owner: str) -> int:
        return cast(int, self._run("release", owner, FAILURES_AT_MOST))

    def complete(
        self, petition_id: str, text: str, operation_id: str = "", epoch: int = 0, body: str = ""
    ) -> bool:
        limits = (self._ttl, MAX_RESULTS, RESULT_TTL_SECONDS)
        of_body = digest(body) if body else ""
        return bool(self._run_once("complete", petition_id, text, operation_id, *limits, epoch, of_body))

    @translated
    def fenced(self) -> int:
        return int(self._redis.get(f"{self._ns}fenced") or 0)

    @translated
    def dead_letters(self, limit: int) -> list[DeadLetter]:
        letters = cast(list[str], self._redis.lrange(f"{self._ns}dead", 0, limit - 1))
        return [dead_letter(*json.loads(letter)) for letter in letters]

    @translated
    def result(self, petition_id: str) -> str | None:
        # Most clients ask too early. One plain read tells that, at a tenth of what the script costs.
        if not self._redis.hexists(f"{self._ns}results", petition_id):
            return None
        return cast("str | None", self._run("result", petition_id, RESULT_TTL_SECONDS))

    def get_results(self, limit: int) -> ResultPage:
        bounds = (limit + 1, RESULT_TTL_SECONDS, MAX_REPLY_BYTES)
        parts = iter(cast(list[str], self._run("newest_results", *bounds)))
        return result_page(map(Result, parts, parts), limit)

    @translated
    def resolved(self, operation_id: str) -> Result | None:
        recorded = cast("str | None", self._redis.get(f"{self._ns}op:resolve:{operation_id}"))
        known = json.loads(recorded) if recorded else []
        return Result(*known) if len(known) == len(Result._fields) else None

    @translated
    def waiting(self) -> int:
        return int(self._redis.llen(f"{self._ns}waiting"))

    @translated
    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()

    def _run_once(self, name: str, *arguments: object) -> int:
        """Run a script that knows operation ids; raise IdReused if the id is that of another body."""
        answer = cast(int, self._run(name, *arguments))
        if answer < 0:
            raise IdReused()
        return answer

    @translated
    def _run(self, name: str, *arguments: Any) -> object:
        return self._script(name)(keys=[self._ns], args=list(arguments))
