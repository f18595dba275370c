"""Measure C: how many messages a second one worker does that is never idle; and write it for Kubernetes."""

import math
import time
from collections.abc import Iterable
from itertools import count, takewhile
from uuid import uuid4

from dynamic.events import EventNames
from dynamic.policies.sample import TARGET_SECONDS
from dynamic.pool.client import PoolClient
from dynamic.publisher import EventSender
from lab.errors import Unavailable

LOOK_SECONDS = 0.005
MOST_SENT = 20_000
FIRST_SECONDS = 20.0
"""For the worker to start, and to finish its first message."""


def calibrated_rate(
    pool: PoolClient, url: str, names: EventNames, texts: Iterable[str], seconds: float
) -> float:
    """Return messages per second of one worker of *pool* that has always one more waiting.

    It is watched from one finished message to another, for about *seconds*. Unavailable if it finishes none.
    """
    run = uuid4().hex[:12]
    feed = iter(texts)
    with EventSender(url, names) as sender:
        numbers = count()

        def feed_to(wanted: int) -> None:
            for number in takewhile(lambda number: number < wanted, numbers):
                sender.send(next(feed), f"{run}-{number}", time.monotonic_ns())

        feed_to(100)
        pool.scale(1)
        begin, done_before = _next_finished(pool, 0, FIRST_SECONDS)
        now, done = begin, done_before
        while now - begin < seconds and done < MOST_SENT:
            feed_to(min(MOST_SENT, 100 + done + (done - done_before)))  # the worker is never idle
            now, done = _next_finished(pool, done, FIRST_SECONDS + seconds)
    return (done - done_before) / (now - begin)


def _next_finished(pool: PoolClient, done: int, timeout_seconds: float) -> tuple[float, int]:
    """Return when more than *done* messages were finished, and how many."""
    deadline = time.monotonic() + timeout_seconds
    while (now := time.monotonic()) < deadline:
        finished = pool.status().finished
        if finished > done:
            return now, finished
        time.sleep(LOOK_SECONDS)
    raise Unavailable("the worker finishes nothing; is its work longer than this takes?")


USE = 0.8
"""The share of a worker's rate that is planned with: HPA acts seconds later, and on a mean."""
POLLING_SECONDS = 2
LEAST_STABILISATION_SECONDS = 30
"""Down only after this time: a pod takes seconds to start, a worker here takes milliseconds."""
STARTS_PER_STABILISATION = 20

TEMPLATE = """\
# Measured by `lab dynamic --export keda`, not guessed:
#   one worker that is never idle does {rate:.4g} messages per second;
#   a worker takes messages {start_seconds:.3g} s after the wish for it, without the start of its pod;
#   the objective is a response within {target:g} s.
# The rate's value is {use:g} of what a worker does. The queue length is what a worker does in half of the
# time that the objective leaves beside a start. Scale on both: see docs/policies.md.
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  name: insult-filter
spec:
  scaleTargetRef:
    name: insult-filter
  pollingInterval: {polling}
  cooldownPeriod: {stabilisation}
  minReplicaCount: {least}
  maxReplicaCount: {most}
  advanced:
    horizontalPodAutoscalerConfig:
      behavior:
        scaleUp:
          stabilizationWindowSeconds: 0
        scaleDown:
          stabilizationWindowSeconds: {stabilisation}
  triggers:
    - type: rabbitmq
      metadata:
        protocol: http
        mode: MessageRate
        queueName: insults.Work_queue
        hostFromEnv: RABBITMQ_MANAGEMENT_URL
        value: "{per_second}"
    - type: rabbitmq
      metadata:
        protocol: amqp
        mode: QueueLength
        queueName: insults.Work_queue
        hostFromEnv: RABBITMQ_URL
        value: "{waiting}"
"""


def scaled_object(rate: float, start_seconds: float, least: int, most: int) -> str:
    """Return a ScaledObject as YAML, and in comments the values that it rests on.

    *rate*: messages per second of one busy worker. *start_seconds*: from the wish for a worker until it takes
    messages. Two triggers, of which HPA takes the larger wish: the rate of arrivals, which needs no backlog
    to act, and the queue length, which works off what waits.
    """
    waiting = max(1, math.floor(rate * max(0.1, TARGET_SECONDS - 1 / rate - start_seconds) / 2))
    stabilisation = max(LEAST_STABILISATION_SECONDS, math.ceil(STARTS_PER_STABILISATION * start_seconds))
    return TEMPLATE.format(
        rate=rate,
        start_seconds=start_seconds,
        target=TARGET_SECONDS,
        use=USE,
        per_second=max(1, math.floor(USE * rate)),
        waiting=waiting,
        stabilisation=stabilisation,
        polling=POLLING_SECONDS,
        least=least,
        most=most,
    )
