"""Send a load to systems that scale by different policies, each the same events at the same time."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from dynamic.simulator.simulation import Setting
from harness.experiment.scaling_system import Observed, ScalingSystem, Text
from lab.errors import Unavailable
from lab.load.plans import Plan
from lab.process.system import BrokerUrls

LEAD_SECONDS = 2.0
"""For each system, from the start of its controller to that of the load: it must be there first."""
LEADS = 4.0
"""The same in multiples of what starting its pool took: a busy machine needs longer."""
GRACE_SECONDS = 60.0
"""After the end of the load, for what is not finished."""


def observe(
    brokers: BrokerUrls,
    policies: Sequence[str],
    setting: Setting,
    work: tuple[str, str],
    plan: Plan,
    texts: Sequence[Text],
    folder: Path,
) -> list[Observed]:
    """Let each of *policies* scale a system of its own; return when all is answered, or it is too late."""
    with ExitStack() as stack:
        systems = [stack.enter_context(ScalingSystem(brokers, setting, work)) for _ in policies]
        lead = sum(max(LEAD_SECONDS, LEADS * system.start_seconds) for system in systems)
        begin_ns = time.monotonic_ns() + round(lead * 1e9)
        seen = [
            system.observe(policy, begin_ns, texts, folder)
            for system, policy in zip(systems, policies, strict=True)
        ]
        if time.monotonic_ns() > begin_ns:
            raise Unavailable("controller and load were not ready in time; is the machine very busy?")
        pairs = list(zip(systems, seen, strict=True))
        for number, offset_ns in enumerate(plan.due_ns.tolist()):
            due_ns = begin_ns + offset_ns
            while (left_ns := due_ns - time.monotonic_ns()) > 0:
                time.sleep(left_ns / 1e9)
            for system, one in pairs:  # one that is late is sent at once, and its plan stays
                system.send(number, due_ns, one)
        end = begin_ns / 1e9 + plan.duration_seconds
        time.sleep(max(0.0, end - time.monotonic()))  # what policies do with a silent end counts
        for system, one in pairs:
            system.settle(one, end + GRACE_SECONDS)
    return seen
