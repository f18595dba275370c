"""``lab up``: brokers that stay, for nodes in other terminals."""

from lab.brokers import Broker
from lab.brokers.provide import private_rabbitmq, private_redis
from lab.brokers.server import redacted
from lab.brokers.state import FOLDER, Running, changing, running, write_state
from lab.cli.brokers import say
from lab.options import LOOPBACK, Parser


def main(argv: list[str]) -> int:
    """Start a Redis and a RabbitMQ of our own, unless they are up; print how to find them."""
    parser = Parser(
        prog="python3 -m lab up", description="Start brokers that stay until `lab down`. Nodes find them."
    )
    parser.add_argument("--yes", action="store_true", help="install what is missing without asking")
    parser.add_argument(
        "--host",
        default=LOOPBACK,
        help="address at which they listen (default 127.0.0.1); see docs/cluster.md",
    )
    arguments = parser.parse_args(argv)
    with changing() as up:
        for kind, start in {"redis": private_redis, "rabbitmq": private_rabbitmq}.items():
            if kind in up and up[kind].lasting:
                say(f"{kind} is up already, at {redacted(up[kind].url)}")
                continue
            up[kind] = _started(start(FOLDER / kind, may_install=arguments.yes, host=arguments.host))
            write_state(up)  # at once: the next one may fail
            say(f"{kind} is up")
        print(f"export LAB_REDIS_URL='{up['redis'].url}'")
        print(f"export LAB_AMQP_URL='{up['rabbitmq'].url}'")
    say("nodes started in this folder find both by themselves; `python3 -m lab down` ends them")
    return 0


def _started(broker: Broker) -> Running:
    if broker.server is None:
        raise TypeError("a private broker has a server")
    broker.server.release()
    return running(broker.kind, broker.url, broker.server.pids)
