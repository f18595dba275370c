"""A connection that is lost, and the requests of a client that wait for it."""

import socket
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
from pika.spec import BasicProperties

from harness.faults.proxy import Harm, Proxy
from lab.contract import Target
from lab.errors import LabError, Unavailable
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.tuned.client import Request
from rabbitmq.tuned.connection import Connection
from rabbitmq.tuned.queues import delete_namespace
from rabbitmq.tuned.wire import Message
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


class Raced(Future[object]):
    """A future that another thread answers just after done() said False."""

    def done(self) -> bool:
        was_done = super().done()
        if not was_done:
            self.set_result(b"the other thread's")
        return was_done


def request() -> Request:
    return Request(Message("", b"", BasicProperties()), wants_reply=True)


def test_a_request_that_another_thread_answers_at_the_same_time_is_no_error() -> None:
    raced = request()
    raced.answer = Raced()
    raced.settle(Unavailable("the client is closed"))
    assert raced.answer.done()


def test_the_first_answer_stays() -> None:
    answered = request()
    answered.settle(b"first")
    answered.settle(Unavailable("too late"))
    assert answered.answer.result(0) == b"first"


def test_after_an_interrupt_while_a_request_is_handed_over_the_next_ones_are_sent(
    rabbit: PrivateRabbit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(work: object) -> bool:
        raise KeyboardInterrupt

    with InsultFilterClient(Target(rabbit.url, namespace="interrupted")) as client:
        with monkeypatch.context() as patched:
            patched.setattr(client._connection, "call", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.submit("tonto")
        assert client.submit("tonto")
    delete_namespace(rabbit.url, "interrupted")
