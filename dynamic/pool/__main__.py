"""``python -m dynamic.pool``: the process that owns the workers; a controller starts or finds it.

It answers one JSON object a line on its socket: ``{"do": "status"}``, ``{"do": "scale", "wanted": 3}``,
``{"do": "slow", "factor": 2}``, ``{"do": "dismiss"}``. Each answer is a PoolStatus. The client that scales is
its controller while it is connected; there is one. After ``--orphan-time`` without a controller it lets its
workers finish what they have, and ends.
"""

import contextlib
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from dataclasses import asdict
from pathlib import Path

from dynamic.pool.client import MOST_BYTES, add_pool_options, listening, locked, socket_path
from dynamic.pool.pool import Pool, WorkerOptions
from lab.applications.filter import Built, build_censor
from lab.applications.service import open_node_store
from lab.bootstrap import INTERRUPTED, WRONG_USAGE
from lab.brokers import locate_rabbitmq, locate_redis
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest, LabError, Overloaded
from lab.options import NodeOptions, node_options, process_parser
from lab.process.node import STOP_SIGNALS, die_with
from lab.settings import settings

log = logging.getLogger(__name__)

MOST_ASKED = 1e6
MOST_CONNECTIONS = 64
"""Beside the controller's; the one that was silent for longest makes room."""
TAKE_SECONDS = 0.5
"""For a client to read its answer. No other client is served meanwhile."""


class _Connection:
    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.buffer = b""


class PoolProcess:
    """Serves *pool* on a socket until it is dismissed, told to stop, or left alone for *orphan_seconds*."""

    def __init__(
        self, options: WorkerOptions, most: int, spares: int, path: Path, orphan_seconds: float
    ) -> None:
        self._pool = Pool(options, most, spares, self._in_child)
        self._orphan_seconds = orphan_seconds
        self._selector = selectors.DefaultSelector()
        self._connections: list[_Connection] = []
        """Who spoke last stands last."""
        self._controller: _Connection | None = None
        self._alone_since = time.monotonic()
        self._ending = False
        self._stopped_by = 0
        self._listener = listening(path)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._woken.fileno(), warn_on_full_buffer=False)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, self._signalled)

    def run(self) -> int:
        """Serve; return the exit code."""
        pause = 0.0
        while not (self._ending and self._pool.is_empty):
            for key, _ in self._selector.select(pause):
                self._serve(key.fileobj, key.data)
            self._end_if_need_be()
            pause = self._pool.tend()
        return INTERRUPTED if self._stopped_by == signal.SIGINT else 0

    def _end_if_need_be(self) -> None:
        if self._ending:
            return
        is_alone = self._controller is None and time.monotonic() - self._alone_since > self._orphan_seconds
        if is_alone:
            log.warning("no controller for %g s: the workers leave", self._orphan_seconds)
        if is_alone or self._stopped_by:
            self._end()

    def _serve(self, stream: object, connection: _Connection | None) -> None:
        if stream is self._listener:
            self._accept()
        elif connection is None:
            self._wake.recv(4096)
        elif connection in self._connections:  # not dropped meanwhile, to make room
            self._read(connection)

    def _accept(self) -> None:
        try:
            stream, _ = self._listener.accept()
        except OSError:  # the client has closed the connection
            return
        stream.settimeout(TAKE_SECONDS)
        connection = _Connection(stream)
        others = [one for one in self._connections if one is not self._controller]
        if len(others) >= MOST_CONNECTIONS:
            self._drop(others[0])
        self._connections.append(connection)
        self._selector.register(stream, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            received = connection.stream.recv(65536)
            *lines, connection.buffer = (connection.buffer + received).split(b"\n")
            for line in lines:
                connection.stream.sendall(json.dumps(self._answer(connection, line)).encode() + b"\n")
        except OSError:  # it has closed, or does not read its answers
            received = b""
        if not received or len(connection.buffer) > MOST_BYTES:
            self._drop(connection)
        else:
            self._connections.remove(connection)
            self._connections.append(connection)

    def _drop(self, connection: _Connection) -> None:
        self._selector.unregister(connection.stream)
        connection.stream.close()
        self._connections.remove(connection)
        if connection is self._controller:
            self._controller, self._alone_since = None, time.monotonic()

    def _answer(self, connection: _Connection, line: bytes) -> dict[str, object]:
        try:
            self._perform(connection, line)
        except LabError as error:
            return {"error": {"code": error.code, "message": error.message}}
        return asdict(self._pool.status())

    def _perform(self, connection: _Connection, line: bytes) -> None:
        try:
            request = json.loads(line)
            do = request["do"]
            number = float(request.get("wanted", request.get("factor", 0)))
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
            message = "a line must be a JSON object with 'do', and numbers must be numbers"
            raise InvalidRequest(Code.MALFORMED, message) from error
        if do == "control":
            self._take_control(connection)
        elif do == "scale" and 0 <= number < MOST_ASKED:
            self._take_control(connection)
            self._pool.scale(int(number))
        elif do == "slow" and 0 < number < MOST_ASKED:
            self._pool.slow_down(number)
        elif do == "dismiss":
            self._take_control(connection)
            self._end()
        elif do != "status":
            message = f"there are control, status, dismiss, scale and slow, with numbers below {MOST_ASKED:g}"
            raise InvalidRequest(Code.UNKNOWN_OPERATION, message)

    def _take_control(self, connection: _Connection) -> None:
        if self._controller not in (None, connection):
            raise Overloaded("another controller scales the workers of this namespace; use its terminal")
        self._controller = connection

    def _end(self) -> None:
        self._ending = True
        self._pool.dismiss()

    def _signalled(self, number: int, frame: object) -> None:
        if number in STOP_SIGNALS:  # noted only: this may come in the middle of a fork
            self._stopped_by = number

    def _in_child(self) -> None:
        """Leave to the pool what is the pool's."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool, which then lets us drain
        for number in (signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        streams = [connection.stream for connection in self._connections]
        for stream in (self._listener, self._wake, self._woken, *streams):
            stream.close()


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("dynamic.pool", "Fork and keep workers for a controller.")
    add_pool_options(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=settings().log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for number in STOP_SIGNALS:  # until the pool sets its own handlers
        signal.signal(number, lambda number, _: sys.exit(INTERRUPTED if number == signal.SIGINT else 0))
    die_with(settings().parent)
    try:
        node = node_options(arguments)
        path = socket_path(locate_rabbitmq(), arguments.namespace)
        with locked(path):
            options = WorkerOptions(node, _warm_up(node), arguments.prefetch, arguments.queue_type)
            process = PoolProcess(options, arguments.max, arguments.spares, path, arguments.orphan_time)
            ready = {"ready": True, "role": "pool", "address": str(path), "pid": os.getpid()}
            print(json.dumps(ready), flush=True)
            return process.run()
    except LabError as error:
        print(f"pool: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, InvalidRequest | Overloaded) else 1


def _warm_up(options: NodeOptions) -> Built:
    """Do once, before forking, what each worker would do: find brokers, read insults, import modules."""
    os.environ["LAB_AMQP_URL"] = locate_rabbitmq()
    if options.architecture is Architecture.N_NODE:
        os.environ["LAB_REDIS_URL"] = locate_redis()
    settings.cache_clear()
    "localhost".encode("idna")  # loads what the first connection would
    with contextlib.closing(open_node_store(options)) as store:  # a worker opens its connections anew
        return build_censor(options, store)


if __name__ == "__main__":
    raise SystemExit(main())
