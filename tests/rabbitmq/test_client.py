"""A client works on if two threads answer a request at once, or if a request is interrupted."""

from concurrent.futures import Future

import pytest
from pika.spec import BasicProperties

from lab.contract import Target
from lab.errors import Unavailable
from rabbitmq.insult_filter import InsultFilterClient
from rabbitmq.tuned.client import Request
from rabbitmq.tuned.queues import delete_namespace
from rabbitmq.tuned.wire import Message
from tests.rabbitmq.rig import PrivateRabbit


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
