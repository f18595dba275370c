"""A connection that is closed at any moment ends quietly."""

import socket
import threading
from contextlib import suppress
from typing import Any

import pytest

from lab.errors import LabError
from rabbitmq._link import Link
from tests.eventually import eventually


def test_a_link_that_is_closed_while_it_connects_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    monkeypatch.setattr("rabbitmq._link.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        link = Link(url, lambda _: None, lambda: None)

        def start() -> None:
            with suppress(LabError):
                link.start()

        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        stream, _ = silent.accept()
        with stream:
            assert stream.recv(8) == b"AMQP\x00\x00\x09\x01"
            link.close()
            eventually(lambda: not any(thread.name == "amqp" for thread in threading.enumerate()))
        starting.join()
    assert said == []
