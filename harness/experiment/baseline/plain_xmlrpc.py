"""A plain XML-RPC service: the standard library's server as it comes, and its ServerProxy.

It does not promise: a limit on body size or time; an answer to anybody while one client is silent; effects
exactly once (a repeated call is another one); anything at all after it is killed. It speaks HTTP/1.0,
as it comes: a call is a connection.
"""

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from harness.experiment.baseline import INSULTS
from xmlrpc.client import ServerProxy
from xmlrpc.server import SimpleXMLRPCServer


def serve() -> None:
    """Serve ``insult_me`` until killed."""
    server = SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
    server.register_function(lambda: random.choice(INSULTS), "insult_me")
    print(json.dumps({"address": f"http://127.0.0.1:{server.server_address[1]}/"}), flush=True)
    server.serve_forever()


@contextmanager
def client(address: str) -> Iterator[Callable[[float], int]]:
    """Connect; yield what asks for insults until a deadline and returns how many came."""
    with ServerProxy(address) as proxy:

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
