"""``lab down``: end what ``lab up`` started."""

import shutil

from lab.brokers import redacted
from lab.brokers.locate import located
from lab.brokers.state import FOLDER, changing, write_state
from lab.cli.brokers import say
from lab.middleware import MIDDLEWARES
from lab.options import Parser
from lab.settings import Settings, settings
from lab.store.namespace import delete_namespace


def main(argv: list[str]) -> int:
    """End the brokers of ``lab up``, by process id; with --purge delete what they stored."""
    parser = Parser(prog="python3 -m lab down", description="End what `lab up` started.")
    parser.add_argument(
        "--purge", action="store_true", help="also delete what is stored: theirs, and our namespace elsewhere"
    )
    arguments = parser.parse_args(argv)
    if not FOLDER.exists() and not arguments.purge:
        say("nothing is up")
        return 0
    with changing() as up:
        lasting = {kind: broker for kind, broker in up.items() if broker.lasting}
        others = {kind: broker for kind, broker in up.items() if not broker.lasting}  # of a `lab serve`
        for kind, broker in lasting.items():
            broker.stop()
            say(f"{kind} ended")
        if not lasting:
            say("nothing is up")
        write_state(others)
        if arguments.purge:
            for folder in (FOLDER / "redis", FOLDER / "rabbitmq") if others else (FOLDER,):
                shutil.rmtree(folder, ignore_errors=True)
            _purge(settings(), {broker.url for broker in lasting.values()})
    return 0


def _purge(known: Settings, ended: set[str]) -> None:
    """Delete our namespace, and nothing else, from the brokers that still run: they are the user's.

    The settings may name one that has just *ended*, as `lab up` proposes.
    """
    redis, rabbitmq = located("redis", known), located("rabbitmq", known)
    if redis and redis[0] not in ended:
        count = delete_namespace(redis[0], known.namespace)
        say(f"{count} keys of {known.namespace!r} deleted from the Redis at {redacted(redis[0])}")
    if rabbitmq and rabbitmq[0] not in ended:
        MIDDLEWARES["rabbitmq"].delete_queues(rabbitmq[0], known.namespace)
        say(f"the queues of {known.namespace!r} deleted from the RabbitMQ at {redacted(rabbitmq[0])}")
    say("what the brokers of `lab up` stored is deleted")
