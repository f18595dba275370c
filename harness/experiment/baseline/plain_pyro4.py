"""A plain Pyro4 service: a daemon with its usual settings, and a proxy.

It does not promise: to serve more than 40 clients, to survive a silent one, to refuse large or compressed
messages, effects exactly once, or anything after it is killed. Clients are given its URI, not a name.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

import Pyro4

from harness.experiment.baseline import INSULTS


@Pyro4.expose
class Service:
    """Hands out insults."""

    def insult_me(self) -> str:
        """Return a random insult."""
        return random.choice(INSULTS)


def serve() -> None:
    """Serve ``insult_me`` until killed."""
    daemon = Pyro4.Daemon(host="127.0.0.1")
    print(json.dumps({"address": str(daemon.register(Service()))}), flush=True)
    daemon.requestLoop()


@contextmanager
def client(address: str) -> Iterator[Callable[[float], int]]:
    """Connect; yield what asks for insults until a deadline and returns how many came."""
    with Pyro4.Proxy(address) as proxy:

        def run(deadline: float) -> int:
            done = 0
            while perf_counter() < deadline:
                if proxy.insult_me() not in INSULTS:
                    raise ValueError("not one of the insults")
                done += 1
            return done

        yield run


if __name__ == "__main__":
    serve()
