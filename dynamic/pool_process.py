"""``python -m dynamic.pool_process``: the process that owns the workers; a controller starts or finds it.

It answers one JSON object a line on its socket: ``{"do": "status"}``, ``{"do": "scale", "wanted": 3}``,
``{"do": "slow", "factor": 2}``, ``{"do": "dismiss"}``. Who scales is its controller while connected; there is
one. Without any for ORPHAN_SECONDS it lets its workers finish what they have and ends.
"""

import contextlib
import fcntl
import json
import logging
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dynamic.options import add_pool_options
from dynamic.pool import Pool
from dynamic.pool_socket import MOST_BYTES, socket_path
from dynamic.worker import WorkerOptions
from lab.applications.state import open_node_store
from lab.brokers.locate import locate_rabbitmq, locate_redis
from lab.contract import Architecture
from lab.errors import Code, InvalidRequest, LabError, Overloaded
from lab.lifeline import die_with
from lab.node import INTERRUPTED, STOP_SIGNALS, WRONG_USAGE
from lab.options import NodeOptions, node_options, process_parser
from lab.settings import settings

log = logging.getLogger(__name__)

ORPHAN_SECONDS = 60.0


class _Connection:
    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.buffer = b""


class PoolProcess:
    """Serves *pool* on a socket until it is dismissed, told to stop, or left alone."""

    def __init__(self, options: WorkerOptions, most: int, spares: int, path: Path) -> None:
        self._pool = Pool(options, most, spares, self._in_child)
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._connections: list[_Connection] = []
        self._controller: _Connection | None = None
        self._alone_since = time.monotonic()
        self._ending = False
        self._interrupted = False
        self._listener = _listen(path)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, woken = socket.socketpair()
        self._woken = woken
        for end in (self._wake, woken):
            end.setblocking(False)
        self._selector.register(self._wake, selectors.EVENT_READ)
        signal.set_wakeup_fd(woken.fileno())
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, self._signalled)

    def run(self) -> int:
        """Serve; return the exit code."""
        pause = 0.0
        while not (self._ending and self._pool.is_empty):
            for key, _ in self._selector.select(pause):
                self._serve(key.fileobj, key.data)
            is_alone = self._controller is None and time.monotonic() - self._alone_since > ORPHAN_SECONDS
            if is_alone and not self._ending:
                log.warning("no controller for %g s: the workers leave", ORPHAN_SECONDS)
                self._end()
            pause = self._pool.tend()
        self._path.unlink(missing_ok=True)
        return INTERRUPTED if self._interrupted else 0

    def _serve(self, stream: object, connection: _Connection | None) -> None:
        if stream is self._listener:
            self._accept()
        elif connection is not None:
            self._read(connection)
        else:
            self._wake.recv(4096)

    def _accept(self) -> None:
        stream, _ = self._listener.accept()
        stream.settimeout(1.0)
        connection = _Connection(stream)
        self._connections.append(connection)
        self._selector.register(stream, selectors.EVENT_READ, connection)

    def _read(self, connection: _Connection) -> None:
        try:
            received = connection.stream.recv(65536)
            connection.buffer += received
            *lines, connection.buffer = connection.buffer.split(b"\n")
            for line in lines:
                connection.stream.sendall(json.dumps(self._answer(connection, line)).encode() + b"\n")
        except OSError:
            received = b""
        if not received or len(connection.buffer) > MOST_BYTES:
            self._drop(connection)

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
        return self._pool.status()

    def _perform(self, connection: _Connection, line: bytes) -> None:
        try:
            request = json.loads(line)
            do = request["do"]
            number = float(request.get("wanted", request.get("factor", 0)))
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise InvalidRequest(Code.MALFORMED, "a line must be a JSON object with 'do'") from error
        if do == "control":
            self._take_control(connection)
        elif do == "scale" and number >= 0:
            self._take_control(connection)
            self._pool.scale(int(number))
        elif do == "slow" and number > 0:
            self._pool.slow_down(number)
        elif do == "dismiss":
            self._end()
        elif do != "status":
            raise InvalidRequest(Code.UNKNOWN_OPERATION, "there are control, status, scale, slow and dismiss")

    def _take_control(self, connection: _Connection) -> None:
        if self._controller not in (None, connection):
            raise Overloaded("another controller scales the workers of this namespace; use its terminal")
        self._controller = connection

    def _end(self) -> None:
        self._ending = True
        self._pool.dismiss()

    def _signalled(self, number: int, frame: object) -> None:
        if number in STOP_SIGNALS:
            self._interrupted = number == signal.SIGINT
            self._end()

    def _in_child(self) -> None:
        """Leave to the pool what is the pool's."""
        signal.set_wakeup_fd(-1)
        for number in (*STOP_SIGNALS, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        streams = [connection.stream for connection in self._connections]
        for stream in (self._listener, self._wake, self._woken, *streams):
            stream.close()


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    path.unlink(missing_ok=True)  # of a pool that was killed: we hold the lock
    listener.bind(str(path))
    listener.listen()
    return listener


def main(argv: list[str] | None = None) -> int:
    parser = process_parser("dynamic.pool_process", "Fork and keep workers for a controller.")
    add_pool_options(parser)
    arguments = parser.parse_args(argv)
    logging.basicConfig(
        level=settings().log_level,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )
    die_with(settings().parent)
    try:
        options = WorkerOptions(node_options(arguments), arguments.prefetch, arguments.queue_type)
        path = socket_path(locate_rabbitmq(), arguments.namespace)
        with _locked(path.with_suffix(".lock")):
            _warm_up(options.node)
            process = PoolProcess(options, arguments.max, arguments.spares, path)
            ready = {"ready": True, "role": "pool", "address": str(path), "pid": os.getpid()}
            print(json.dumps(ready), flush=True)
            return process.run()
    except LabError as error:
        print(f"pool: {error.code}: {error}", file=sys.stderr)
        return WRONG_USAGE if isinstance(error, InvalidRequest) else 1


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock at *path*, which no other pool of the namespace holds; remove it afterwards."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_gone = not path.exists() or path.stat().st_ino != os.fstat(lock.fileno()).st_ino
        except OSError:
            is_gone = True
        if is_gone:
            raise Overloaded("a pool of workers serves this namespace already, or is just ending")
        yield
        path.unlink(missing_ok=True)


def _warm_up(options: NodeOptions) -> None:
    """Do once, before forking, what every worker would do anew: search brokers, import what is used late."""
    os.environ["LAB_AMQP_URL"] = locate_rabbitmq()
    if options.architecture is Architecture.N_NODE:
        os.environ["LAB_REDIS_URL"] = locate_redis()
    settings.cache_clear()
    with contextlib.closing(open_node_store(options)) as store:
        store.ping()
    "localhost".encode("idna")  # loads what the first connection would


if __name__ == "__main__":
    raise SystemExit(main())
