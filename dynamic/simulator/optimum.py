"""The optimum: the cheapest schedule of workers for a run, found afterwards, knowing every arrival.

Cost is worker-seconds and a price for each start. A schedule decides at the same readings, and its
workers take as long to start. No schedule is cheaper than :func:`lower_bound`. It lets workers share one
event, and looks at what is due on a grid of GRID_SECONDS; in long runs it also allows parts of workers.
:func:`achievable` returns the cost of a good schedule, so that the two tell how tight the bound is:
docs/policies.md has the figures.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix

from dynamic.policies import Policy
from dynamic.policies.sample import LATE_SHARE, TARGET_SECONDS, Decision, Sample, State
from dynamic.simulator.queueing import Seconds, work_times
from dynamic.simulator.simulation import Setting, arrivals_of, simulate

GRID_SECONDS = 0.25
"""Distance of the times at which the bound looks at the work that is due."""
INFEASIBLE = 2
"""The solver's word for it."""
MOST_WHOLE_READINGS = 20
"""Runs of more readings are bounded with parts of workers, which is 0.3 to 1.5 % lower and a hundred times as
fast."""
SOLVER_SECONDS = 5.0
GAP = 0.002
"""How near to its best whole numbers the solver must come, as a share of the cost."""
MARGINS = (0.0, 0.1, 0.2, 0.4)
"""Seconds by which :func:`achievable` plans to be early."""
MOST_REPAIRS = 100

Whole = NDArray[np.int64]


def allowed_late(events: int) -> int:
    """Return how many of *events* the optimum may let be late."""
    return math.floor(LATE_SHARE * events)


def optimum(setting: Setting) -> float:
    """Return the lower bound of the cost, its starts paid at the setting's price.

    LATE_SHARE of the events may be late. If no schedule can reach that, because the run begins with too few
    workers, twice as many may be, and so on.
    """
    events = len(arrivals_of(setting))
    late = allowed_late(events)
    while math.isinf(bound := lower_bound(setting, late, setting.start_price)) and late < events:
        late = min(events, max(1, 2 * late))
    return bound


def scheduled(schedule: Sequence[int]) -> Policy:
    """Return a policy that wants what *schedule* says, reading by reading, and then what it said last."""
    left = iter(schedule)

    def policy(sample: Sample, state: State) -> Decision:
        last = sample.workers if state.wanted is None else state.wanted
        wanted = next(left, last)
        return Decision(wanted, state._replace(wanted=wanted), "scheduled")

    return policy


def _readings(setting: Setting) -> Seconds:
    """Return 0 and the times of the readings before the end."""
    first = setting.phase_seconds or setting.interval_seconds
    times = np.arange(first, setting.profile.duration_seconds - 1e-9, setting.interval_seconds)
    return np.concatenate([[0.0], times])


def started(before: int, wanted: Sequence[int]) -> int:
    """Return how many workers are started for *wanted*, of which *before* were there."""
    return int(np.maximum(np.diff(np.array([before, *wanted])), 0).sum())


def lower_bound(setting: Setting, late: int, price: float = 0.0) -> float:
    """Return a cost that no schedule with at most *late* late events is below.

    A mixed-integer program, solved to GAP or for SOLVER_SECONDS: what it returns is the solver's own bound.
    Infinite if the most workers are too few.
    """
    program = _Program(setting, late)
    return program.solve(price, whole=len(program.readings) <= MOST_WHOLE_READINGS)[0]


def achievable(setting: Setting, late: int, price: float = 0.0) -> float:
    """Return the cost of a good schedule with at most *late* late events; infinite if none was found.

    The schedule of the solver is simulated. Workers are added where events are late, then removed where they
    are not needed.
    """
    found = math.inf
    for margin in MARGINS:
        schedule = list(_Program(setting, late, margin).solve(price, whole=True)[1])
        if not schedule:  # the solver found none in its time
            continue
        for _ in range(MOST_REPAIRS):
            run = simulate(scheduled(schedule), setting, keep=False)
            if run.late_events <= late:
                break
            first = float(run.arrivals[run.response_seconds > TARGET_SECONDS][late])
            for number, time in enumerate(_readings(setting)[1:]):
                if abs(time - first) <= TARGET_SECONDS:
                    schedule[number] = min(setting.max_workers, schedule[number] + 1)
        found = min(found, _trimmed(setting, schedule, late, price))
    return found


def _trimmed(setting: Setting, schedule: list[int], late: int, price: float) -> float:
    """Return the cost of *schedule* without the workers that no event needs."""

    def cost(sizes: list[int]) -> float:
        run = simulate(scheduled(sizes), setting, keep=False)
        is_good = run.late_events <= late
        return run.worker_seconds + price * started(setting.min_workers, sizes) if is_good else math.inf

    least = cost(schedule)
    for number in range(len(schedule)):
        fewer = [*schedule]
        fewer[number] = max(setting.min_workers, fewer[number] - 1)
        if (found := cost(fewer)) < least:
            schedule, least = fewer, found
    return least


class _Program:
    """The mixed-integer program of :func:`lower_bound`.

    For each reading k: N workers, of which `both` were there before it (the others start, for a time); u
    started, r retired, y whether it goes up. For each slot of time: S, the work done by its end, and x, what
    retired workers do to finish what they had begun. Work is in seconds of a worker at the start of the run.
    """

    def __init__(self, setting: Setting, late: int, margin: float = 0.0) -> None:
        self.setting = setting
        arrivals = arrivals_of(setting)
        work = work_times(setting.work, setting.seed, len(arrivals))
        end, interval = setting.profile.duration_seconds, setting.interval_seconds
        self.readings = _readings(setting)
        spread = setting.start.spread
        start = setting.start.mean if spread in ("constant", "in turn") else 0.0
        self.start = min(start, interval)
        self.longest = float(work.max(initial=0.0))
        grid = np.arange(GRID_SECONDS, end + 1e-9, GRID_SECONDS)
        edges = np.concatenate(
            [grid, self.readings[1:], self.readings + self.start, [end, *self._drift_times()]]
        )
        self.times = np.unique(edges[(edges > 1e-9) & (edges <= end + 1e-9)].round(9))
        self.begins = np.concatenate([[0.0], self.times[:-1]])
        self.slot_reading = np.searchsorted(self.readings, self.begins + 1e-7, side="right") - 1
        self.is_starting = self.begins + 1e-7 < self.readings[self.slot_reading] + self.start
        done = np.concatenate([[0.0], work.cumsum()])
        allowed = float(np.sort(work)[::-1][:late].sum())
        self.possible = done[np.searchsorted(arrivals, self.times)]
        due = arrivals + TARGET_SECONDS - margin
        self.due = np.maximum(0.0, done[np.searchsorted(due, self.times - 1e-9)] - allowed)

    def _drift_times(self) -> tuple[float, ...]:
        at = self.setting.drift_at
        return () if at is None else (at, at + self.longest)

    def speeds(self) -> Seconds:
        """Return the work that one worker does in each slot."""
        spans: Seconds = self.times - self.begins
        at = self.setting.drift_at
        if at is None:
            return spans
        # What was begun before is not slowed down any more.
        is_slow = self.begins + 1e-7 >= at + (self.longest if self.setting.drift > 1 else 0.0)
        speeds: Seconds = spans / np.where(is_slow, self.setting.drift, 1.0)
        return speeds

    def solve(self, price: float, whole: bool) -> tuple[float, tuple[int, ...]]:
        """Return the lower bound of the cost, and the workers after each reading.

        *whole*: only whole workers; else the bound is lower, and the schedule is rounded up.
        """
        columns = self._columns()
        n, both, up, down, goes_up, total, extra = columns
        ends = np.append(self.readings[1:], self.setting.profile.duration_seconds)
        cost = np.zeros(sum(map(len, columns)))
        faster = 1.0 if self.setting.drift_at is None else min(1.0, self.setting.drift)
        cost[n], cost[up], cost[extra] = ends - self.readings, price, faster
        low, high = np.zeros_like(cost), np.full_like(cost, np.inf)
        low[n], high[n], high[goes_up] = self.setting.min_workers, self.setting.max_workers, 1
        high[n[0]] = self.setting.min_workers
        high[both[0]] = high[up[0]] = high[down[0]] = 0  # no decision starts the first workers
        low[total], high[total] = np.minimum(self.due, self.possible), self.possible
        integers = np.zeros(len(cost), int)
        integers[n], integers[goes_up] = whole, whole
        answer = milp(
            cost,
            integrality=integers,
            bounds=Bounds(low, high),
            constraints=self._rows(columns).constraint(),
            options={"time_limit": SOLVER_SECONDS, "mip_rel_gap": GAP} if whole else {},
        )
        if answer.x is None:
            return (math.inf if answer.status == INFEASIBLE else float(answer.mip_dual_bound or 0.0)), ()
        bound = float(answer.mip_dual_bound) if whole else float(answer.fun)
        return bound, tuple(np.ceil(answer.x[n[1:]] - 1e-6).astype(int).tolist())

    def _columns(self) -> list[Whole]:
        """Return the numbers of the variables: N, both, u, r, y of each reading; S and x of each slot."""
        readings, slots = len(self.readings), len(self.times)
        return np.split(np.arange(5 * readings + 2 * slots), np.cumsum([readings] * 5 + [slots]))

    def _rows(self, columns: list[Whole]) -> "_Rows":
        """Return what holds between the variables."""
        n, both, up, down, goes_up, total, extra = columns
        most, later, slot = float(self.setting.max_workers), np.arange(1, len(n)), np.arange(len(total))
        rows = _Rows(sum(map(len, columns)))
        rows.at_most(0.0, (both, 1.0), (n, -1.0))
        rows.at_most(0.0, (both[later], 1.0), (n[later - 1], -1.0))
        rows.equal(0.0, (n[later], 1.0), (n[later - 1], -1.0), (up[later], -1.0), (down[later], 1.0))
        rows.at_most(0.0, (up, 1.0), (goes_up, -most))
        rows.at_most(most, (down, 1.0), (goes_up, most))
        working = np.where(self.is_starting, both[self.slot_reading], n[self.slot_reading])
        before = np.where(slot > 0, total[slot - 1], total[0])
        had = np.where(slot > 0, -1.0, 0.0)
        rows.at_most(0.0, (total, 1.0), (before, had), (working, -self.speeds()), (extra, -1.0))
        rows.limit_sums(extra, self.slot_reading, down, self.longest)
        return rows


class _Rows:
    """Linear constraints, collected as triples."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._count = 0
        self._parts: list[tuple[Whole, Whole, Seconds]] = []
        self._low: list[Seconds] = []
        self._high: list[Seconds] = []

    def at_most(self, bound: float, *terms: tuple[Whole, float | Seconds]) -> None:
        """Add for each index: the sum of variables times factors is at most *bound*."""
        self._add(-math.inf, bound, terms)

    def equal(self, bound: float, *terms: tuple[Whole, float | Seconds]) -> None:
        """Add for each index: the sum of variables times factors is *bound*."""
        self._add(bound, bound, terms)

    def limit_sums(self, parts: Whole, groups: Whole, limits: Whole, factor: float) -> None:
        """Add for each group: the sum of its *parts* is at most *factor* times its variable of *limits*."""
        count = len(limits)
        rows = np.concatenate([groups, np.arange(count)]) + self._count
        values = np.concatenate([np.ones(len(parts)), np.full(count, -factor)])
        self._parts.append((rows, np.concatenate([parts, limits]), values))
        self._finish(count, -math.inf, 0.0)

    def constraint(self) -> LinearConstraint:
        rows, columns, values = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        matrix = csr_matrix((values, (rows, columns)), shape=(self._count, self._columns))
        return LinearConstraint(matrix, np.concatenate(self._low), np.concatenate(self._high))

    def _add(self, low: float, high: float, terms: Sequence[tuple[Whole, float | Seconds]]) -> None:
        count = len(terms[0][0])
        rows = np.arange(self._count, self._count + count)
        for variables, factors in terms:
            self._parts.append((rows, variables, np.broadcast_to(np.asarray(factors, float), count)))
        self._finish(count, low, high)

    def _finish(self, count: int, low: float, high: float) -> None:
        self._low.append(np.full(count, low))
        self._high.append(np.full(count, high))
        self._count += count
