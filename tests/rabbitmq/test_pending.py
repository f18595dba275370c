"""Two threads may answer one request at the same time: one answer counts, and neither thread fails."""

from concurrent.futures import Future

from pika.spec import BasicProperties

from lab.errors import Unavailable
from rabbitmq.tuned.client import Request
from rabbitmq.tuned.wire import Message


class Raced(Future[object]):
    """A future that another thread answers just after somebody saw that it has no answer."""

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
