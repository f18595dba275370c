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

    def fetch(self, queue: str) -> Delivery | None:
        """Get the oldest waiting message of *queue*, or None if none waits. To be called by the handler."""
        future: Future[Delivery | None] = Future()

        def got(channel: Channel, method: Basic.GetOk, properties: BasicProperties, body: bytes) -> None:
            self._fetched.append(method.delivery_tag)
            future.set_result(Delivery(channel, method.delivery_tag, properties, body, method.redelivered))

        def empty(_: object) -> None:
            if not future.done():  # it stays registered when a message came instead
                future.set_result(None)

        def get() -> None:
            if self._channel is None or not self._channel.is_open:
                future.set_exception(Unavailable("the connection to RabbitMQ is lost"))
                return
            self._channel.add_callback(empty, [Basic.GetEmpty], one_shot=True)
            self._channel.basic_get(queue, got)

        if not self._link().call(get):
            raise Unavailable("the connection to RabbitMQ is lost")
        try:
            return future.result(FETCH_SECONDS)
        except TimeoutError as error:
            raise Unavailable("RabbitMQ did not hand out a message in time") from error

    def put_back(self) -> None:
        """Return to its queue what was fetched since the last message was finished."""
        channel, (*tags,) = self._channel, self._fetched
        self._fetched.clear()

        def nack() -> None:
            if channel is self._channel and channel and channel.is_open:
                for tag in tags:
                    channel.basic_nack(tag, requeue=True)

        self._link().call(nack)
