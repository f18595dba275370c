"""What becomes of a delivery: worked on, answered with its error, tried again later or moved."""

import logging
from collections.abc import Callable
from uuid import uuid4

from lab.errors import InternalError, LabError, Overloaded, Unavailable, as_text

from ._delivery import Delivery, Handler, Watch
from ._suspects import Suspects
from ._wire import Message, reply_to

log = logging.getLogger(__name__)

STORE_BACK_OFF_SECONDS = 0.25


class Left(Exception):
    """The delivery is not to be acknowledged: the broker gives it to another node when this one leaves."""


class Treatment:
    """Lets *handler* work on deliveries.

    *suspects*, if given, decides on what was delivered before; *alone*: these are its suspects. *pause*
    waits so many seconds; False if the node stops meanwhile.
    """

    def __init__(
        self,
        handler: Handler,
        watch: Watch | None,
        suspects: Suspects | None,
        alone: bool,
        pause: Callable[[float], bool],
    ) -> None:
        self._handler = handler
        self._watch = watch
        self._suspects = suspects
        self._alone = alone
        self._pause = pause

    def __call__(self, delivery: Delivery) -> list[Message]:
        """Return what is to be published before *delivery* is acknowledged; raise Left if it must not be."""
        if self._suspects and (self._alone or delivery.redelivered):
            if delivery.redelivered:
                decide = self._suspects.after_death if self._alone else self._suspects.move
                return decide(delivery)
            if not self._suspects.wait(delivery, self._pause):
                return self._suspects.put_back(delivery)
        if self._watch is None:
            return self._handled(delivery)
        self._watch.begin(delivery.properties)
        try:
            return self._handled(delivery)
        finally:
            self._watch.end()

    def _handled(self, delivery: Delivery) -> list[Message]:
        while True:
            try:
                return self._handler(delivery)
            except (Overloaded, Unavailable) as error:  # the store refuses everybody
                if delivery.properties.reply_to:
                    return reply_to(delivery.properties, error)
                log.warning("waiting for the store: %s", error)
                if not self._pause(STORE_BACK_OFF_SECONDS):
                    raise Left from error
            except LabError as error:
                if self._suspects and isinstance(error, InternalError) and not delivery.properties.reply_to:
                    return self._suspects.after_failure(delivery, error)
                if not delivery.properties.reply_to:
                    log.info("refused a message that names no place to reply to: %s", as_text(error))
                return reply_to(delivery.properties, error)
            except Exception as error:
                error_id = uuid4().hex[:12]
                log.exception("a message failed, error id %s", error_id)
                if self._suspects and not delivery.properties.reply_to:
                    return self._suspects.after_failure(delivery, error)
                return reply_to(delivery.properties, InternalError(error_id))
