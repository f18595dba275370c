"""A forecast: the rates to come, as only an experiment knows them, in a file of JSON."""

import bisect
import json
import math
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Self

from lab.errors import Code, InvalidRequest


@dataclass(frozen=True, slots=True)
class Forecast:
    """Rates (messages per second) from *begin*, a time of the monotonic clock, on.

    *starts*: seconds after it at which each of *rates* begins; the last one ends at *seconds*.
    *service_rates*: pairs of seconds after it, and messages per second of a busy worker from then on.
    """

    begin: float
    starts: tuple[float, ...]
    rates: tuple[float, ...]
    seconds: float
    service_rates: tuple[tuple[float, float], ...]

    def rate_between(self, first: float, last: float) -> float:
        """Return the highest rate between two times of the monotonic clock."""
        first, last = first - self.begin, last - self.begin
        if first >= self.seconds or last < 0:
            return 0.0
        low, high = bisect.bisect_right(self.starts, first), bisect.bisect_right(self.starts, last)
        return max(self.rates[max(0, low - 1) : high], default=0.0)

    def service_rate_at(self, time: float) -> float:
        """Return messages per second of a busy worker."""
        rates = [rate for since, rate in self.service_rates if since <= time - self.begin]
        return rates[-1] if rates else self.service_rates[0][1]

    def write(self, path: Path) -> None:
        """Write what :meth:`read` reads."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; InvalidRequest if it is not such a one."""
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            forecast = cls(
                float(fields["begin"]),
                tuple(map(float, fields["starts"])),
                tuple(map(float, fields["rates"])),
                float(fields["seconds"]),
                tuple((float(since), float(rate)) for since, rate in fields["service_rates"]),
            )
        except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InvalidRequest(Code.MALFORMED, f"{path}: not a forecast: {error!r}") from error
        if not forecast.is_whole:
            message = "as many starts as rates, in order, and numbers that are not negative"
            raise InvalidRequest(Code.MALFORMED, f"{path}: not a forecast: {message}")
        return forecast

    @property
    def is_whole(self) -> bool:
        """Whether it says for each time what comes then."""
        numbers = (self.begin, self.seconds, *self.starts, *self.rates, *chain(*self.service_rates))
        return (
            all(0 <= number < math.inf for number in numbers)
            and all(rate > 0 for _, rate in self.service_rates)
            and 0 < len(self.starts) == len(self.rates)
            and list(self.starts) == sorted(self.starts)
            and len(self.service_rates) > 0
        )
