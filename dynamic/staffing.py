"""How many workers a known rate needs at least: what `oracle` has, and what scores compare with."""

import math

TARGET_SECONDS = 2.0
"""Tr: the response time that is aimed at, and the objective by which an event is late."""
LATE_SHARE = 0.001
"""Of the events, what may be late with the fewest workers that do."""


def needed_workers(rate: float, service_rate: float, target: float = TARGET_SECONDS) -> int:
    """Return the fewest workers with which at most LATE_SHARE of Poisson arrivals is late; 0 for none."""
    return ceil(rate / service_rate + margin(service_rate, target)) if rate else 0


def margin(service_rate: float, target: float = TARGET_SECONDS) -> float:
    """Return what is needed beyond the load R = lambda / mu.

    Waiting times of M/M/N have a tail of at most exp(-(N mu - lambda) t), so N = R + ln(1000) / (mu Tr).
    """
    return -math.log(LATE_SHARE) / (service_rate * target)


def ceil(number: float) -> int:
    """Return the next whole number, rounding errors aside."""
    return math.ceil(round(number, 9))  # 3 * 0.1 is 0.30000000000000004
