"""A connection that is closed early ends quietly. A silent one is replaced."""

import socket
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest

from harness.faults.proxy import Harm, Proxy
from lab.contract import Target
from lab.errors import LabError
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.tuned.connection import Connection
from tests.eventually import eventually
from tests.rabbitmq.rig import PrivateRabbit, Worker


def test_a_connection_that_is_closed_while_it_connects_ends_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", said.append)
    monkeypatch.setattr("rabbitmq.tuned.connection.CONNECT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        connection = Connection(url, lambda _: None, lambda: None)

        def start() -> None:
            with suppress(LabError):
                connection.start()

        starting = threading.Thread(target=start, daemon=True)
        starting.start()
        stream, _ = silent.accept()
        with stream:
            assert stream.recv(8) == b"AMQP\x00\x00\x09\x01"
            connection.close()
            eventually(lambda: not any(thread.name == "amqp" for thread in threading.enumerate()))
        starting.join()
    assert said == []


def test_a_connection_over_which_nothing_arrives_is_replaced_before_the_deadline(
    rabbit: PrivateRabbit,
) -> None:
    url = urlsplit(rabbit.url)
    with Proxy(1, {Harm.BLACK_HOLE: 1.0}) as proxy:
        port = proxy.listen("127.0.0.1", 0, str(url.hostname), url.port or 0)
        target = Target(rabbit.url.replace(f":{url.port}/", f":{port}/"), namespace="swallowed")
        with InsultFilterClient(target) as client:
            client.submit("tonto")
            proxy.is_armed = True
            asking = Worker(lambda: client.submit("tonto"))
            eventually(lambda: proxy.done[Harm.BLACK_HOLE] > 0)
            proxy.is_armed = False
            asking.finish()
