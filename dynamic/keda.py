"""Write what Kubernetes needs to scale workers: a ScaledObject of KEDA, from measured values."""

import math

from dynamic.sample import TARGET_SECONDS

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
