"""Node and client of the InsultFilter over Redis."""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from typing import cast

from lab.applications.filter import build_filter
from lab.brokers import locate_redis
from lab.client.calls import FilterCalls
from lab.contract import Application, Target
from lab.errors import LabError
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import new_operation_id
from lab.options import NodeOptions, add_filter_options, node_options, process_parser
from lab.process.node import run
from lab.store import open_store

from .tuned.client import FilterPetitionClient
from .tuned.connection import Replies
from .tuned.server import PetitionServer, add_batch_option
from .tuned.wire import write_petition

BATCH = 500


class InsultFilterNode:
    """Serves the InsultFilter: its work list is the list of petitions."""

    def __init__(self, options: NodeOptions, batch: int | None = None) -> None:
        self._store = open_store(locate_redis(), options.namespace)
        self._parts = build_filter(options, self._store, has_work_list=False)
        application = self._parts.application
        # A node that is occupied by each text takes one at a time, and leaves the others to its peers.
        usual = BATCH if application.is_non_blocking else 1
        self._server = PetitionServer(
            application, Application.FILTER, options, batch=batch or usual, on_demand=options.on_demand
        )
        self._address = options.namespace

    def start(self) -> str:
        self._server.start()
        self._parts.start()
        return f"{self._address}:{Application.FILTER}"

    def canary(self) -> None:
        self._server.canary(lambda reply_to: write_petition("X1", "canary", "canary", reply_to=reply_to))

    def join(self) -> None:
        self._server.join()

    def drain(self, timeout_seconds: float) -> None:
        self._server.drain(timeout_seconds)
        self._parts.stop(timeout_seconds)
        self._store.close()


class InsultFilterClient(FilterPetitionClient, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        super().__init__(target, deadline_seconds)

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        # With a reply list of its own: the caller may make other calls before it has read all answers.
        replies = Replies(self._target, Application.FILTER, self.deadline_seconds)
        under_way: deque[str] = deque()
        try:
            while self._fill(replies, under_way, texts, in_flight) or under_way:
                # Half of them, then refill: petitions travel in batches, and the nodes never run dry.
                for _ in range(max(1, len(under_way) - in_flight // 2)):
                    deadline = time.monotonic() + self.deadline_seconds
                    yield cast(str, replies.reply(under_way.popleft(), deadline))
        finally:
            with suppress(LabError):  # Redis is away: the list expires
                replies.close()

    def _fill(self, replies: Replies, under_way: deque[str], texts: Iterator[str], in_flight: int) -> int:
        """Push texts until *in_flight* are under way; return how many were pushed."""
        petitions = {}
        while len(under_way) < in_flight and (text := next(texts, None)) is not None:
            operation_id = new_operation_id()
            petitions[operation_id] = write_petition("X1", text, operation_id, reply_to=replies.reply_to)
            under_way.append(operation_id)
        replies.push(petitions, time.monotonic() + self.deadline_seconds)
        return len(petitions)


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("redis_impl.insult_filter", "Serve the InsultFilter over Redis.")
    add_filter_options(parser)
    add_batch_option(parser, BATCH)
    arguments = parser.parse_args(argv)
    return run("node", lambda: InsultFilterNode(node_options(arguments), arguments.batch))


if __name__ == "__main__":
    raise SystemExit(main())
