"""A client's connection: one call at a time, a time limit for each, errors translated."""

import socket
import time
from collections.abc import Sequence
from typing import cast

from lab.client.retry import PROBE_SECONDS
from lab.errors import DeadlineExceeded, InternalError, InvalidRequest, LabError, Unavailable

from ._wire import MAX_ANSWER_BYTES, read_answer, read_body, read_length, receive, split_uri, write_frame


class Connection:
    """To the server at *address*, ``tcp://HOST:PORT``; opened when first needed."""

    def __init__(self, address: str) -> None:
        self.address = address
        _, self._host, after = split_uri(address)
        self._port = int(after[1:])
        self._socket: socket.socket | None = None

    def call(
        self, operation: str, arguments: Sequence[object], timeout_seconds: float, operation_id: str = ""
    ) -> object:
        """Return the answer of *operation*; raise the LabError it is, Unavailable or DeadlineExceeded."""
        request = {"op": operation, "args": list(arguments), "id": operation_id}
        return read_answer(self._exchange(request, timeout_seconds))

    def call_many(self, operation: str, arguments: Sequence[object], timeout_seconds: float) -> list[object]:
        """Return the answers of *operation* with each of *arguments*, sent together."""
        requests = [{"op": operation, "args": [argument]} for argument in arguments]
        answers = self._exchange(requests, timeout_seconds)
        if isinstance(answers, dict):  # an error of the whole batch
            read_answer(answers)
        return [read_answer(answer) for answer in cast(list[object], answers)]

    def close(self) -> None:
        """Close the connection; the next call opens a new one."""
        if self._socket:
            self._socket.close()
            self._socket = None

    def _exchange(self, request: object, timeout_seconds: float) -> object:
        was_open = self._socket is not None
        deadline = time.monotonic() + timeout_seconds
        try:
            return self._once(request, deadline)
        except Unavailable:
            if not was_open:
                raise
            return self._once(request, deadline)  # the server was started again; the id is the same

    def _once(self, request: object, deadline: float) -> object:
        try:
            connection = self._connected(deadline)
            connection.settimeout(_left(deadline))
            connection.sendall(write_frame(request))
            return read_body(receive(connection, read_length(receive(connection, 4), MAX_ANSWER_BYTES)))
        except TimeoutError as error:
            self.close()  # its answer may still come, and would be taken for that of the next call
            raise DeadlineExceeded(f"{self.address} did not answer in time") from error
        except OSError as error:
            self.close()
            raise Unavailable(f"{self.address} cannot be reached: {error}; is its server running?") from error
        except InvalidRequest as error:
            self.close()
            raise InternalError("reply", f"{self.address} does not speak our wire: {error}") from error

    def _connected(self, deadline: float) -> socket.socket:
        if self._socket is None:
            self._socket = socket.create_connection((self._host, self._port), _left(deadline))
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._socket


def answers(address: str) -> bool:
    """Tell whether the server at *address* answers a simple question on a new connection."""
    connection = Connection(address)
    try:
        return bool(connection.call("ping", [], PROBE_SECONDS))
    except LabError:
        return False
    finally:
        connection.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
