"""Throw-away namespaces: made by a test or an experiment, deleted by whoever made them."""

import re
import secrets

import redis

from lab.errors import Unavailable

_THROWAWAY = re.compile(r"lab-[0-9a-f]{8}")
_KEYS_AT_ONCE = 1000


def throwaway_namespace() -> str:
    """Return the name of a namespace that nobody uses."""
    return f"lab-{secrets.token_hex(4)}"


def is_throwaway(namespace: str) -> bool:
    """Tell whether *namespace* is one that may be deleted without being asked."""
    return bool(_THROWAWAY.fullmatch(namespace))


def delete_namespace(url: str, namespace: str) -> int:
    """Delete every key of *namespace* in the Redis at *url*; return how many there were."""
    try:
        return _delete(url, namespace)
    except redis.RedisError as error:
        message = (
            f"{namespace} is not deleted, for Redis does not serve: {error}; `lab doctor --sweep` does it"
        )
        raise Unavailable(message) from error


def _delete(url: str, namespace: str) -> int:
    deleted = 0
    with redis.Redis.from_url(url) as client:
        keys: list[bytes] = []
        for key in client.scan_iter(match=f"{namespace}:*", count=_KEYS_AT_ONCE):
            keys.append(key)
            if len(keys) == _KEYS_AT_ONCE:
                deleted += int(client.unlink(*keys))
                keys = []
        if keys:
            deleted += int(client.unlink(*keys))
    return deleted


def throwaway_namespaces(url: str) -> set[str]:
    """Return the throw-away namespaces that have keys in the Redis at *url*."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        prefixes = {key.partition(":")[0] for key in client.scan_iter(match="lab-*", count=_KEYS_AT_ONCE)}
    return set(filter(is_throwaway, prefixes))
