"""The keys of a namespace in Redis, and throw-away namespaces.

A throw-away namespace is made by a test or an experiment, which deletes it. ``insults:insults`` is the set of
insults of the namespace ``insults``. All times are in Redis's seconds.

=====================  ============  =================================================================
key                    type          content
=====================  ============  =================================================================
insults                sorted set    the insults, all with score 0: sorted by their bytes
changes                stream        the last 10,000 additions (+) and removals (-), for nodes that follow
subscribers            sorted set    subscriber URIs, scored by when their lease ends
broadcast              string        1 while the broadcast is on
ticks                  string        the number of the last tick
ticks:at               string        when that was, a space, and its number again
broadcaster            sorted set    "epoch owner" of who holds the broadcast, scored by when its lease ends
epoch                  string        the last epoch given to who took a text or the broadcast
ticks:recent           stream        the last 100 ticks (Redis middleware), for subscribers that were away
waiting                list          petition ids of texts that wait, the oldest at the left
texts                  hash          the text of each petition that waits or is taken
taken                  sorted set    petition ids that a node took, scored by when its lease ends
holders                hash          of each text ever taken: epoch, how many leases of it ran out, owner
owned                  sorted set    "owner petition-id" of the texts that are taken, all with score 0
dead                   list          dead letters as JSON [petition id, text, failures], the newest left
fenced                 string        how many late results were refused
results                hash          the filtered text of each finished petition
results:bodies         hash          of those that came by a queue, the digest of the text
results:order          sorted set    petition ids of the result list, scored by when they finished
op:KIND:ID             string        the answer to the operation ID and the digest of its body, for 15
                                     minutes (LAB_ID_TTL)
op:resolve:ID          string        JSON: [petition id] it is bound to, then [petition id, text]; or []
=====================  ============  =================================================================

Beside each sorted set of leases are a hash ``:lengths``, how long each lease is, negative once it was spared,
and a string ``:heard``, when somebody last used the set; ``results:heard`` likewise.
"""

import re
import secrets

import redis

from lab.errors import Unavailable

_THROWAWAY = re.compile(r"lab-[0-9a-f]{8}")
_KEYS_AT_ONCE = 1000


def key(namespace: str, name: str) -> str:
    """Return the key called *name* of *namespace*."""
    return f"{namespace}:{name}"


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
            f"{namespace} is not deleted: Redis does not serve ({error}); `lab doctor --sweep` does it later"
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
