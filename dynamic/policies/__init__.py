"""Policies: how many workers a load needs. Pure functions from a Sample and a State to a Decision.

A new policy is one function. Its name is its name on every command line. A setting of the user is a keyword
with a default, so that ``--policy doubling:messages=5`` works too::

    @_policy
    def doubling(sample: Sample, state: State, *, messages: float = 10.0) -> Decision:
        wish = 2 * sample.workers if sample.backlog > messages * sample.workers else 1
        return _decision(sample, state, wish, f"backlog {sample.backlog}")

``_policy`` enters it into POLICIES and answers void readings with the last number. ``_decision`` keeps the
bounds. Policies neither read a clock nor keep anything outside of State: simulator and system call the same.
"""

import math
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeAlias

from dynamic.policies.adaptive import after_calm, as_many_as_help, estimate, observe, with_service
from dynamic.policies.sample import (
    START_PRICE,
    TARGET_SECONDS,
    Decision,
    Sample,
    State,
    arrival_rate,
    ceil,
    needed_workers,
)
from lab.errors import Code, InvalidRequest
from lab.options import positive

Policy: TypeAlias = Callable[[Sample, State], Decision]

_policies: dict[str, Callable[..., Decision]] = {}
POLICIES: Mapping[str, Callable[..., Decision]] = MappingProxyType(_policies)
"""By name. All take a Sample and a State; keywords have defaults."""


def add_price_option(parser: ArgumentParser) -> None:
    """Add the price of a start."""
    parser.add_argument(
        "--start-price",
        type=positive("a price", zero=True),
        default=START_PRICE,
        metavar="SECONDS",
        help=f"worker-seconds that a start costs, in scores and for adaptive (default {START_PRICE:g})",
    )


def chosen(text: str) -> Policy:
    """Return the policy that *text* names, such as ``adaptive`` or ``assignment:capacity=1000``.

    InvalidRequest for a name or keyword that is not known, or a number that is not above 0.
    """
    name, *settings = text.split(":")
    if name not in POLICIES:
        raise InvalidRequest(Code.MALFORMED, f"no policy {name!r}; there are {', '.join(POLICIES)}")
    policy = POLICIES[name]
    known = [key for key, how in signature(policy).parameters.items() if how.kind is how.KEYWORD_ONLY]
    numbers: dict[str, float] = {}
    for setting in settings:
        key, _, value = setting.partition("=")
        if key not in known:
            offer = f"it takes {', '.join(known)}" if known else "it takes none"
            raise InvalidRequest(Code.MALFORMED, f"policy {name} has no setting {key!r}; {offer}")
        try:
            numbers[key] = positive(f"{key} of policy {name}")(value)
        except ArgumentTypeError as error:
            raise InvalidRequest(Code.MALFORMED, str(error)) from error
    return partial(policy, **numbers)


def _policy(decide: Callable[..., Decision]) -> Callable[..., Decision]:
    """Enter *decide* into POLICIES; a void reading holds the last number and changes no memory."""

    @wraps(decide)
    def policy(sample: Sample, state: State, **settings: Any) -> Decision:
        if sample.arrivals is None:
            return _held(sample, state, "void reading, holding")
        return decide(sample, state, **settings)

    _policies[decide.__name__] = policy
    return policy


@_policy
def assignment(
    sample: Sample,
    state: State,
    *,
    capacity: float | None = None,
    target: float = TARGET_SECONDS,
    hold: float = 0.0,
) -> Decision:
    """Return N = ceil((B + lambda Tr) / C), but go down only to the largest wish of the last *hold* seconds.

    *capacity*: C in messages per worker **per Tr**, because B + lambda Tr are messages; none: as calibrated.
    1000 is the historical variant. *target*: Tr in seconds.
    """
    per_worker = sample.declared_rate * target if capacity is None else capacity
    rate = arrival_rate(sample)
    wish = ceil((sample.backlog + rate * target) / per_worker)
    reason = f"{sample.backlog} wait and {rate:.4g}/s come; a worker does {per_worker:.4g} in {target:g} s"
    return _after_hold(sample, state, wish, hold, reason)


@_policy
def rate(
    sample: Sample, state: State, *, capacity: float | None = None, use: float = 0.8, hold: float = 0.0
) -> Decision:
    """Return N = ceil(lambda / (*use* x *capacity*)), as rate-based autoscalers of stream processors do.

    *capacity*: messages per worker per second; none: as calibrated. *use*: the share of it that is planned
    with. *hold*: see `assignment`.
    """
    per_worker = sample.declared_rate if capacity is None else capacity
    arrivals = arrival_rate(sample)
    wish = ceil(arrivals / (use * per_worker))
    reason = f"{arrivals:.4g}/s come; a worker does {per_worker:.4g}/s and is planned at {use:.0%}"
    return _after_hold(sample, state, wish, hold, reason)


@_policy
def hpa(
    sample: Sample,
    state: State,
    *,
    messages: float = 20.0,
    per_second: float | None = None,
    faster: float = 1.0,
    sync: float = 15.0,
    stabilisation: float = 300.0,
    tolerance: float = 0.1,
) -> Decision:
    """Scale as Kubernetes' HPA does with KEDA's queue length: *messages* of backlog per worker.

    *per_second*: KEDA's second trigger, messages per second per worker; the larger wish counts. *faster*:
    divide all times by this, for a load that is over in minutes. Every *sync* seconds the ratio of what is
    to what the workers shall have is read; within *tolerance* of 1 the number stays. It goes down to the
    highest wish of the last *stabilisation* seconds. Kubernetes' limit of how fast it goes up (twice or 4
    more per 15 s) is left out: it comes out better than it is.
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
    """
    is_early = state.decided_at is not None and sample.time - state.decided_at < sync / faster - 1e-9
    if is_early:
        return _held(sample, state, "between two syncs")
    workers = sample.workers
    need, reason = sample.backlog / messages, f"{sample.backlog} wait, a worker for each {messages:g}"
    if per_second is not None:
        arrivals = arrival_rate(sample)
        need = max(need, arrivals / per_second)
        reason += f"; {arrivals:.4g}/s come, a worker for each {per_second:g}/s"
    ratio = need / workers if workers else math.inf
    is_near = 1 - tolerance <= ratio <= 1 + tolerance
    wish = workers if is_near else ceil(need)
    wishes = _recent(state.wishes, sample.time, wish, stabilisation / faster)
    reason += ", within tolerance" if is_near else ""
    state = state._replace(decided_at=sample.time, wishes=wishes)
    return _decision(sample, state, max(size for _, size in wishes), reason)


@_policy
def static(sample: Sample, state: State, *, workers: float = 10) -> Decision:
    """Return the same number of *workers* always."""
    return _decision(sample, state, ceil(workers), "always so many")


@_policy
def reference(sample: Sample, state: State, *, target: float = TARGET_SECONDS) -> Decision:
    """Return the fewest workers that keep events in time, knowing the rates to come, and start them in time.

    It knows rates, not arrivals; see :func:`.sample.needed_workers`. What already waits is done within
    *target*. It is a rule, not the optimum.
    """
    if sample.coming_rate is None or sample.coming_service_rate is None:
        return _held(sample, state, "the future is not known")
    waiting = max(0, sample.backlog - sample.ready)
    rate = sample.coming_rate + waiting / target
    wish = needed_workers(rate, sample.coming_service_rate, target)
    return _decision(sample, state, wish, f"{sample.coming_rate:.4g}/s to come")


@_policy
def adaptive(
    sample: Sample,
    state: State,
    *,
    tolerated: float = 0.5,
    rise: float = 0.3,
    fall: float = 0.25,
    trend: float = 0.3,
    surplus: float = 0.6,
    fading: float = 0.2,
    trust: float = 1.0,
) -> Decision:
    """Keep the workers that there are, as long as they are enough for the objective and not too many.

    An event may wait: beside its work and a start, the objective leaves some time. More workers come when the
    backlog predicted for the next reading would wait longer than the share *tolerated* of that time; then as
    many as leave a wait of the share *rise*, or, if events are about to be late, as many as clear the
    backlog. Fewer are enough when a wait of 0 needs fewer. Then all but those that leave a wait of *fall*
    stop, after some calm: *surplus*, see :func:`.adaptive.after_calm`. *trend*: :func:`.adaptive.estimate`.
    *fading* and *trust*: :func:`.adaptive.with_service`. No more workers come where they do not help:
    :func:`.adaptive.as_many_as_help`.
    """
    evidence = observe(sample, state.evidence)
    if evidence != state.evidence:
        state = state._replace(evidence=evidence)
    load, state = estimate(sample, with_service(sample, state, fading, trust), trend)
    was = sample.workers if state.wanted is None else state.wanted
    wish, reason = was, load.words()
    if was < load.needed(tolerated):
        wish = max(load.needed(rise), load.to_clear() if load.is_behind else 0)
    elif was > load.needed(0.0):
        wish = min(was, load.needed(fall))
    wish, reason = as_many_as_help(sample, evidence, wish, reason)
    if wish >= was:
        return _decision(sample, state._replace(calm=(), surplus=0.0), wish, reason)
    if evidence.limit is None:
        wish, state, why = after_calm(sample, state, was, wish, surplus)
        reason += f"; {why}" if why else ""
    return _decision(sample, state, wish, reason)


def _after_hold(sample: Sample, state: State, wish: int, hold: float, reason: str) -> Decision:
    """Decide for the largest wish of the last *hold* seconds."""
    wishes = _recent(state.wishes, sample.time, wish, hold)
    wanted = max(size for _, size in wishes)
    if wanted > wish:
        reason += f"; {wish} are enough, but none is stopped before {hold:g} s of calm"
    return _decision(sample, state._replace(wishes=wishes), wanted, reason)


def _recent(
    wishes: tuple[tuple[float, int], ...], now: float, wish: int, seconds: float
) -> tuple[tuple[float, int], ...]:
    """Return the wishes younger than *seconds* and the new one, without those that it makes needless."""
    if len(wishes) == 1 and wishes[0][1] <= wish:
        return ((now, wish),)  # the usual case
    return (*[one for one in wishes if one[1] > wish and now - one[0] < seconds - 1e-9], (now, wish))


def _held(sample: Sample, state: State, reason: str) -> Decision:
    workers = sample.workers if state.wanted is None else state.wanted
    return _decision(sample, state, workers, reason)


def _decision(sample: Sample, state: State, wish: int, reason: str) -> Decision:
    wanted = sample.bounded(wish)
    bound = ""
    if wanted < wish:
        bound = f", the maximum; {wish} would be needed"
    elif wanted > wish:
        bound = f", the minimum; {wish} would be enough"
    if wanted != state.wanted:
        state = state._replace(wanted=wanted)
    return Decision(wanted, state, f"{wanted} workers{bound}: {reason}")
