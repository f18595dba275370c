"""Policies: how many workers a load needs. Pure functions from a Sample and a State to a Decision.

A new policy is one function, and its name is its name on every command line. Whatever it is told by the
user is a keyword with a default, so that ``--policy doubling:patience=5`` works too::

    @_policy
    def doubling(sample: Sample, state: State, *, patience: float = 10.0) -> Decision:
        wish = 2 * sample.workers if sample.backlog > patience * sample.workers else 1
        return _decision(sample, state, wish, f"backlog {sample.backlog}")

``_policy`` enters it into POLICIES and answers void readings with the last number. ``_decision`` keeps the
bounds. Policies neither read a clock nor keep anything outside of State: simulator and system call the same.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial, wraps
from inspect import signature
from types import MappingProxyType
from typing import Any, TypeAlias

from dynamic.adaptive import arrival_rate, needs, with_rate, with_service
from dynamic.decision import Decision, State
from dynamic.sample import TARGET_SECONDS, Sample, ceil, needed_workers
from dynamic.saturation import as_many_as_help, observe
from lab.errors import Code, InvalidRequest

Policy: TypeAlias = Callable[[Sample, State], Decision]

_policies: dict[str, Callable[..., Decision]] = {}
POLICIES: Mapping[str, Callable[..., Decision]] = MappingProxyType(_policies)
"""By name. All take a Sample and a State; keywords have defaults."""


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
        numbers[key] = _positive(f"{key} of policy {name}", value)
    return partial(policy, **numbers)


def _positive(what: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InvalidRequest(Code.MALFORMED, f"{what} must be a number above 0, got {text!r}")
    return number


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
    sample: Sample, state: State, *, capacity: float | None = None, target: float = TARGET_SECONDS
) -> Decision:
    """Return N = ceil((B + lambda Tr) / C).

    *capacity*: C in messages per worker **per Tr**, because B + lambda Tr are messages; none: as calibrated.
    1000 is the historical variant. *target*: Tr in seconds.
    """
    per_worker = sample.declared_rate * target if capacity is None else capacity
    rate = arrival_rate(sample)
    messages = sample.backlog + rate * target
    reason = f"({sample.backlog} + {rate:.4g}/s x {target:g} s) / {per_worker:.4g}"
    return _decision(sample, state, ceil(messages / per_worker), reason)


@_policy
def consistent(
    sample: Sample, state: State, *, capacity: float | None = None, target: float = TARGET_SECONDS
) -> Decision:
    """Return N = ceil(B / (C Tr) + lambda / C), with *capacity*, C, in messages per worker per second."""
    per_worker = sample.declared_rate if capacity is None else capacity
    rate = arrival_rate(sample)
    wish = ceil(sample.backlog / (per_worker * target) + rate / per_worker)
    reason = f"{sample.backlog} / ({per_worker:.4g}/s x {target:g} s) + {rate:.4g}/s / {per_worker:.4g}/s"
    return _decision(sample, state, wish, reason)


@_policy
def hpa(
    sample: Sample,
    state: State,
    *,
    messages: float = 20.0,
    sync: float = 15.0,
    stabilisation: float = 300.0,
    tolerance: float = 0.1,
) -> Decision:
    """Scale as Kubernetes' HPA does with KEDA's queue length: *messages* of backlog per worker.

    Every *sync* seconds the ratio of backlog to what the workers shall have is read; within *tolerance* of
    1 the number stays. It goes down to the highest wish of the last *stabilisation* seconds. Kubernetes'
    limit of how fast it goes up (twice or 4 more per 15 s) is left out: it comes out better than it is.
    https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#algorithm-details
    """
    is_early = state.decided_at is not None and sample.time - state.decided_at < sync - 1e-9
    if is_early:
        return _held(sample, state, "between two syncs")
    workers = sample.workers
    ratio = sample.backlog / (messages * workers) if workers else math.inf
    is_near = 1 - tolerance <= ratio <= 1 + tolerance
    wish = workers if is_near else ceil(sample.backlog / messages)
    wishes = _recent(state.wishes, sample.time, wish, stabilisation)
    reason = f"backlog {sample.backlog} / {messages:g}" + (", within tolerance" if is_near else "")
    state = state._replace(decided_at=sample.time, wishes=wishes)
    return _decision(sample, state, max(size for _, size in wishes), reason)


@_policy
def static(sample: Sample, state: State, *, workers: float = 10) -> Decision:
    """Return the same number of *workers* always."""
    return _decision(sample, state, ceil(workers), "static")


@_policy
def oracle(sample: Sample, state: State, *, target: float = TARGET_SECONDS) -> Decision:
    """Return the fewest workers that keep events in time, knowing the rates to come: what others cost more.

    It knows rates, not arrivals; see :func:`dynamic.sample.needed_workers`. What already waits is done
    within *target*.
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
    weight: float = 0.5,
    fading: float = 0.2,
    trust: float = 1.0,
    catch_up: float = 1.0,
    hold: float = 8.0,
    settle: float = 12.0,
    memory: float = 60.0,
    band: float = 0.1,
) -> Decision:
    """Return N = ceil(R + max(ln(1000) / (mu Tr), (W + max(0, lambda - workers mu) t_start) / (mu T_catch))).

    R = lambda / mu. lambda: an EWMA of *weight* that begins anew when the load changes by more than noise.
    mu: completions per busy second, see :func:`dynamic.adaptive.with_service` for *fading* and *trust*. W:
    messages that wait; *catch_up*: T_catch, seconds in which they shall be gone. Starting workers count.

    Up at once. Down to what the rate needed at most in the last *hold* seconds, times the turns of the load
    in the last *memory* seconds; never by less than the share *band*. Workers for a backlog go when it is
    gone, but stay *settle* seconds where the load has turned, or is new. No more workers once those added
    have not helped (:mod:`dynamic.saturation`). Why so: docs/decisions/0008.
    """
    state = with_service(sample, with_rate(sample, state, weight, memory), fading, trust)
    evidence = observe(sample, state.evidence)
    if evidence != state.evidence:
        state = state._replace(evidence=evidence)
    wish, lasting, reason = needs(sample, state, catch_up)
    if evidence.limit is not None and wish > evidence.limit:
        state = state._replace(wishes=(), peaks=())
    wish, reason = as_many_as_help(sample, evidence, wish, reason)
    state, seconds = _remembered(sample, state, wish, min(wish, lasting), hold, settle, memory)
    wanted = max(size for _, size in state.wishes + state.peaks)
    was = sample.workers if state.wanted is None else state.wanted
    if was > wanted >= (1 - band) * was:
        wanted = was
    if wanted > wish:
        reason += f"; {wish} are enough, but not yet for {seconds:g} s"
    return _decision(sample, state, wanted, reason)


def _remembered(
    sample: Sample, state: State, wish: int, lasting: int, hold: float, settle: float, memory: float
) -> tuple[State, float]:
    """Return the memory with the new wishes, and for how many seconds the lasting one is held."""
    now, turns = sample.time, len(state.turns)
    is_unsettled = turns > 0 or state.begun_at is None or now - state.begun_at < settle
    seconds = min(memory, hold * max(1, turns))
    wishes = _recent(state.wishes, now, lasting, seconds)
    peaks = _recent(state.peaks if is_unsettled else (), now, wish, settle)
    return state._replace(wishes=wishes, peaks=peaks), seconds


def _recent(
    wishes: tuple[tuple[float, int], ...], now: float, wish: int, seconds: float
) -> tuple[tuple[float, int], ...]:
    """Return the wishes younger than *seconds* and the new one, without those that it outlasts."""
    if len(wishes) == 1 and wishes[0][1] <= wish:
        return ((now, wish),)  # the usual case
    return (*[one for one in wishes if one[1] > wish and now - one[0] < seconds - 1e-9], (now, wish))


def _held(sample: Sample, state: State, reason: str) -> Decision:
    workers = sample.workers if state.wanted is None else state.wanted
    return _decision(sample, state, workers, reason)


def _decision(sample: Sample, state: State, wish: int, reason: str) -> Decision:
    wanted = sample.bounded(wish)
    if wanted != wish:
        reason += f"; {wish} is beyond the bound {wanted}"
    if wanted != state.wanted:
        state = state._replace(wanted=wanted)
    return Decision(wanted, state, reason)
