"""Traces: files that say how many requests a real system was sent in each interval."""

import csv
import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from lab.errors import Code, InvalidRequest

HEADER = ["timestamp", "value"]


class Trace(NamedTuple):
    """How many requests came in intervals of one length that begin at *starts*, seconds from the first."""

    starts: list[float]
    requests: list[float]
    interval_seconds: float


def read_trace(path: Path) -> Trace:
    """Read a CSV file of lines such as ``2014-04-10 00:04:00,94.0`` under ``timestamp,value``.

    The commonest distance of two lines is the length of an interval. InvalidRequest, with the line, if
    the file cannot be read, is something else, or has fewer than two lines of numbers.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, csv.reader(file)))
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"{path}: not UTF-8; convert it, as with iconv") from error
    except csv.Error as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: not CSV: {error}") from error
    if len(rows) < 2:
        raise InvalidRequest(Code.MALFORMED, f"{path}: a trace needs at least two lines of numbers")
    first = rows[0][0]
    starts = [(when - first).total_seconds() for when, _ in rows]
    gaps = Counter(then - now for now, then in pairwise(starts))
    return Trace(starts, [requests for _, requests in rows], gaps.most_common(1)[0][0])


def _rows(path: Path, lines: Iterator[list[str]]) -> Iterator[tuple[datetime, float]]:
    """Yield the times, ascending, and values of *lines*; blank ones are left out."""
    if next(lines, None) != HEADER:
        raise InvalidRequest(Code.MALFORMED, f"{path}: the first line must be {','.join(HEADER)}")
    last: datetime | None = None
    for number, line in enumerate(lines, 2):
        if not line:
            continue
        try:
            text, value = line
            when, requests = datetime.fromisoformat(text), float(value)
            is_good = math.isfinite(requests) and requests >= 0 and (last is None or when > last)
        except (ValueError, TypeError):  # TypeError: only one of the two times has a time zone
            is_good = False
        if not is_good:
            message = (
                f"{path}: line {number} must be a time later than the one before, and a number from 0 on"
            )
            raise InvalidRequest(Code.MALFORMED, f"{message}; got {','.join(line)[:80]!r}")
        last = when
        yield when, requests
