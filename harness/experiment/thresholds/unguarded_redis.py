"""Redis's filter with the guarantees of the plain reference: none. It compares like with like.

``python -m harness.experiment.thresholds.unguarded_redis --namespace N`` is a node. It pops petitions from
the list, so that what it took is gone if it dies, and pushes the replies. The lab offers no such node: this
one exists to show what its guarantees cost, and how fast the same code is without them.
"""

import sys

import redis_impl.insult_filter
from redis_impl.tuned.server import WAIT_SECONDS, Batch, Outcome, PetitionServer


def settle_and_take(server: PetitionServer, batch: Batch, outcome: Outcome) -> Batch:
    """Push the replies to a batch and pop the next, in one exchange; wait where there is none."""
    source = server._keys.entry if server._joined else server._membership.own
    with server._redis.pipeline(transaction=False) as pipe:
        for name, reply in zip(outcome.replies[::2], outcome.replies[1::2], strict=True):
            pipe.rpush(name, reply)
        pipe.lpop(source, server._batch)
        petitions = pipe.execute()[-1]
    if not petitions:
        waited = server._redis.blpop([source], timeout=WAIT_SECONDS)
        petitions = waited[1:] if waited else []
    return Batch(list(petitions))


def main(argv: list[str]) -> int:
    """Serve as ``redis_impl.insult_filter`` does, without safe lists."""
    PetitionServer._settle_and_take = settle_and_take  # type: ignore[method-assign,assignment]
    return redis_impl.insult_filter.main(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
