"""What an experiment expects: the ratio of the rates of its sides, and which sides those are."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.experiment.factors import FACTORS, checked
from harness.experiment.side import Side
from lab.errors import Code, InvalidRequest

Factors = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Expectation:
    """That the rate of the sides *over* is so many times, or less, that of the sides *under*."""

    bar: float
    is_least: bool = True
    over: Factors = ()
    """Factors of the side; none: the last side."""
    under: Factors = ()
    """None: the first side."""

    def pairs(self, sides: Sequence[Side]) -> Iterator[tuple[Side, Side]]:
        """Yield each of *sides* that is *over*, with those *under* that are else like it."""
        if not self.over and not self.under:
            yield from [(sides[-1], sides[0])] if len(sides) > 1 else []
            return
        named = {"side", *dict(self.over), *dict(self.under)}
        for over, under in itertools.permutations(sides, 2):
            if (
                _has(over, self.over)
                and _has(under, self.under)
                and _rest(over, named) == _rest(under, named)
            ):
                yield over, under

    def check(self, parts: Sequence[Sequence[Side]]) -> None:
        """Raise InvalidRequest if no pair of it is measured together; *parts* are the sides that are."""
        sides = [side for part in parts for side in part]
        if not sides or any(any(self.pairs(part)) for part in parts):
            return
        for name, factors in (("of", self.over), ("to", self.under)):
            for factor, value in factors:
                if not any(_has(side, ((factor, value),)) for side in sides):
                    raise _wrong(
                        f"{name}: {factor} {value}: no side has it; possible is {_possible(factor, sides)}"
                    )
            if not any(_has(side, factors) for side in sides):
                raise _wrong(f"{name}: no side has all of {', '.join(map(' '.join, factors))}")
        if len(parts) > 1:
            raise _wrong(
                "different middlewares or architectures of `over` are measured one after the other; "
                "`compare` measures them in pairs"
            )
        raise _wrong("of and to: there are no two sides that differ in this alone")


def _has(side: Side, factors: Factors) -> bool:
    told = dict(side.factors)
    return all(told.get(name) == value or _is_field(side, name, value) for name, value in factors)


def _is_field(side: Side, name: str, value: str) -> bool:
    """Tell whether *side* has that *value* from what all sides share, or in another spelling."""
    if name not in FACTORS:
        return False
    field, read = FACTORS[name]
    try:
        return bool(getattr(side, field) == checked(name, value, read))
    except InvalidRequest:
        return False


def _rest(side: Side, named: set[str]) -> dict[str, str]:
    return {name: value for name, value in side.factors if name not in named}


def _possible(factor: str, sides: Sequence[Side]) -> str:
    """Return the values of *factor*; if no side has any, all factors that can be named."""
    names = dict.fromkeys(name for side in sides for name, _ in side.factors)
    values = {name: dict.fromkeys(dict(side.factors).get(name, "") for side in sides) for name in names}
    if factor in FACTORS and factor not in values:
        values[factor] = dict.fromkeys(str(getattr(side, FACTORS[factor][0]) or "") for side in sides)
    said = {name: f"{name} {', '.join(filter(None, found))}" for name, found in values.items() if any(found)}
    return said.get(factor) or "; ".join(said.values()) or "only what `over` or `compare` varies"


def _wrong(said: str) -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, f"expect: {said}")
