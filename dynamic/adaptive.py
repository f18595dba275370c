"""What `adaptive` believes of the load and of the workers: arrivals per second, turns, work per second."""

import math

from dynamic.decision import State
from dynamic.sample import Sample, ceil, margin

NOISE = 3.0
"""Two counts of Poisson arrivals that differ by more standard deviations than this are of different loads."""


def arrival_rate(sample: Sample) -> float:
    """Return arrivals per second of the last interval."""
    return (sample.arrivals or 0) / sample.interval_seconds


def with_rate(sample: Sample, state: State, weight: float, memory: float) -> State:
    """Return *state* with the new arrival rate: an EWMA, which begins anew when the load changes.

    A change against the last one's direction is a turn; those of the last *memory* seconds are kept. Less
    than one message in that time is none, or the EWMA of an idle queue would never end.
    """
    turns = tuple(turn for turn in state.turns if sample.time - turn < memory - 1e-9)
    now, smooth = arrival_rate(sample), state.smooth_rate
    if smooth is None:
        return state._replace(smooth_rate=now, begun_at=sample.time) if now else state
    change = (now - smooth) * sample.interval_seconds
    if abs(change) <= NOISE * math.sqrt((now + smooth) * sample.interval_seconds):
        rate = now if state.is_mixed else weight * now + (1 - weight) * smooth
        return state._replace(smooth_rate=rate if rate * memory >= 1 else 0.0, turns=turns, is_mixed=False)
    direction = 1 if change > 0 else -1
    if direction == -state.direction:
        turns = (*turns, sample.time)
    return state._replace(smooth_rate=now, direction=direction, turns=turns, is_mixed=True)


def with_service(sample: Sample, state: State, weight: float, trust: float) -> State:
    """Return *state* with the new completions and busy seconds: their ratio is mu.

    Old ones fade with *weight*, but to no less than *trust* busy seconds; the declared rate counts as so many
    at the start, and fades too.
    """
    completions, busy_seconds = state.completions, state.busy_seconds
    if not busy_seconds:
        completions, busy_seconds = trust * sample.declared_rate, trust
    elif not (sample.busy_seconds or sample.completions):
        return state
    unfinished = state.unfinished_seconds + sample.busy_seconds
    if sample.completions:  # until something comes out, new workers would look infinitely slow
        kept = max(1 - weight, min(1.0, trust / busy_seconds))  # a few messages are no measurement
        completions = kept * completions + sample.completions
        busy_seconds = kept * busy_seconds + unfinished
        unfinished = 0.0
    return state._replace(completions=completions, busy_seconds=busy_seconds, unfinished_seconds=unfinished)


def needs(sample: Sample, state: State, catch_up: float) -> tuple[int, int, str]:
    """Return the workers that rate and backlog need, those that the rate alone does, and both in words."""
    rate, service_rate = state.smooth_rate or 0.0, state.completions / state.busy_seconds
    waiting = max(0, sample.backlog - sample.ready)  # what workers are at is no reason for more of them
    missing = max(0.0, rate - sample.workers * service_rate) * sample.start_seconds
    extra = (waiting + missing) / (service_rate * catch_up)
    spare = margin(service_rate) if rate else 0.0
    load = rate / service_rate
    reason = f"{rate:.4g}/s at {service_rate:.4g}/s each, backlog {sample.backlog}"
    return ceil(load + max(spare, extra)), ceil(load + spare), reason
