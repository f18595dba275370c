"""A lane whose handler gets messages of other queues by itself, when it is asked to."""

from concurrent.futures import Future

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from lab.errors import Unavailable

from ._delivery import Delivery
from ._lane import Lane

FETCH_SECONDS = 10.0


class FetchingLane(Lane):
    """A lane with prefetch 1: what its handler fetched is acknowledged with the message that it works on, and
    no third one can stand between their tags."""

    _asked: Future[Delivery | None] | None = None
    """What waits for the answer to a request for a message."""

    def fetch(self, queue: str) -> Delivery | None:
        """Get the oldest waiting message of *queue*, or None if none waits. To be called by the handler."""
        future: Future[Delivery | None] = Future()
        if not self._link().call(lambda: self._get(queue, future)):
            raise Unavailable("the connection to RabbitMQ is lost")
        try:
            return future.result(FETCH_SECONDS)
        except TimeoutError as error:
            if not future.cancel():  # it came just now
                return future.result()
            raise Unavailable("RabbitMQ did not hand out a message in time") from error

    # In the I/O thread.

    def open(self, channel: Channel, own_queue: str = "") -> None:
        channel.add_callback(lambda _: self._hand_out(None), [Basic.GetEmpty], one_shot=False)
        super().open(channel, own_queue)

    def lost(self) -> None:
        super().lost()
        if self._asked:
            _refuse(self._asked, "the connection to RabbitMQ is lost")
        self._asked = None

    def _get(self, queue: str, future: Future[Delivery | None]) -> None:
        channel = self._channel
        if channel is None or not channel.is_open:
            _refuse(future, "the connection to RabbitMQ is lost")
        elif self._asked:  # one at a time: the answer does not say what it is the answer to
            _refuse(future, "RabbitMQ has not answered the last request for a message yet")
        else:
            self._asked = future
            # A node that only fetches has no consumer there: nobody tells it that the queue was deleted.
            self.declare(channel, lambda: channel.basic_get(queue, self._got))

    def _got(self, channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
        tag = method.delivery_tag
        if self._hand_out(Delivery(channel, tag, properties, body, method.redelivered)):
            return
        # Its handler waits no longer. With the fetched tags it would count as done without being so.
        channel.basic_nack(tag, requeue=True)

    def _hand_out(self, delivery: Delivery | None) -> bool:
        """Give the handler what it asked for; False if it waits no longer."""
        asked, self._asked = self._asked, None
        if asked is None or not asked.set_running_or_notify_cancel():
            return False
        if delivery:
            self._fetched.append(delivery.tag)
        asked.set_result(delivery)
        return True

    # In other threads.

    def put_back(self) -> None:
        """Return to its queue what was fetched since the last message was finished."""
        channel, (*tags,) = self._channel, self._fetched
        self._fetched.clear()

        def nack() -> None:
            if channel is self._channel and channel and channel.is_open:
                for tag in tags:
                    channel.basic_nack(tag, requeue=True)

        self._link().call(nack)


def _refuse(future: Future[Delivery | None], why: str) -> None:
    if future.set_running_or_notify_cancel():
        future.set_exception(Unavailable(why))
