"""What the page is made of, for each thing it can show: pictures, tiles, charts and buttons, as data."""

from collections.abc import Sequence
from typing import Any

from lab.contract import Application
from lab.middleware import Middleware
from watch.load import MOST_RATE, WINDOW_SECONDS

Layout = dict[str, Any]
MOST_WORK_MILLISECONDS = 2_000.0
PLACES = {"redis": "list", "rabbitmq": "queue"}
"""Where the requests of an indirect middleware wait."""


def side_suffix(place: int) -> str:
    """Return what the keys of a point end with that belong to the system at *place*, from 0."""
    return f"_{place + 1}" if place else ""


def _tile(key: str, label: str, unit: str = "") -> Layout:
    return {"key": key, "label": label, "unit": unit}


def _chart(title: str, unit: str, **series: str) -> Layout:
    """Return a chart; *series* are keys of a point and what they are called, at most three."""
    return {
        "title": title,
        "unit": unit,
        "series": [{"key": key, "label": label} for key, label in series.items()],
    }


def _picture(label: str, suffix: str, client: str, middle: str, *, is_direct: bool, queued: str) -> Layout:
    """Return a live picture, from the client over *middle* to the nodes, and the tiles below it."""
    return {
        "label": label,
        "suffix": suffix,
        "client": client,
        "middle": middle,
        "is_direct": is_direct,
        "queued": queued,
    }


def system_layout(
    middlewares: Sequence[Middleware], applications: list[Application], loaded: Application
) -> Layout:
    """Return the page of one system, or of two side by side."""
    names = {"service": "InsultService", "filter": "InsultFilter"}
    sends = "texts to filter" if loaded is Application.FILTER else "requests for an insult"
    labels = [one.label for one in middlewares]
    title = f"{' and '.join(labels)}: {' and '.join(names[application] for application in applications)}"
    each = " to each system" if len(labels) > 1 else ""
    return {
        "title": title,
        "load": {"label": f"Load: {sends} per second{each}", "most": MOST_RATE},
        "work": {"label": "How long a node works on each text, in ms", "most": MOST_WORK_MILLISECONDS},
        "applications": applications,
        "nodes": loaded,
        "rows": "Processes",
        "columns": [*(["system"] if each else []), "name", "pid", "state", "rate", "served", "cpu", "up"],
        "systems": [
            _picture(
                one.label,
                side_suffix(place),
                "clients",
                "master" if one.is_direct else PLACES.get(one.broker, "queue"),
                is_direct=one.is_direct,
                queued="under way",
            )
            for place, one in enumerate(middlewares)
        ],
        "tiles": [
            _tile("achieved", "answered", "/s"),
            _tile("p50", "response time p50", "ms"),
            _tile("p99", "response time p99", "ms"),
            _tile("backlog", "backlog"),
            _tile("failed", "failed", "/s"),
            _tile("nodes", "nodes serving"),
        ],
        "charts": _charts(labels),
    }


def _charts(labels: Sequence[str]) -> list[Layout]:
    response, backlog = f"last {WINDOW_SECONDS:g} s", "Backlog: due and not answered"
    if len(labels) == 1:
        return [
            _chart("Throughput", "requests/s", achieved="answered", offered="offered"),
            _chart(f"Response time, {response}", "ms", p99="p99", p50="p50"),
            _chart(backlog, "requests", backlog="backlog"),
        ]

    def both(key: str) -> dict[str, str]:
        return {f"{key}{side_suffix(place)}": label for place, label in enumerate(labels)}

    return [
        _chart("Answered", "requests/s", **both("achieved"), offered="offered"),
        _chart(f"Response time p99, {response}", "ms", **both("p99")),
        _chart(backlog, "requests", **both("backlog")),
    ]


def scaling_layout(most_workers: int, policies: Sequence[str]) -> Layout:
    """Return the page of dynamic scaling."""
    return {
        "title": f"Dynamic scaling: at most {most_workers} workers",
        "load": {"label": "Publisher: events per second", "most": MOST_RATE},
        "work": {"label": "How long a worker works on each event, in ms", "most": MOST_WORK_MILLISECONDS},
        "policies": policies,
        "applications": [],
        "nodes": "worker",
        "rows": "Workers",
        "columns": ["name", "pid", "state", "rate", "served"],
        "systems": [
            _picture("", "", "publisher", "Work_queue", is_direct=False, queued="waiting"),
        ],
        "tiles": [
            _tile("arrived", "arriving", "/s"),
            _tile("finished", "finished", "/s"),
            _tile("backlog", "backlog"),
            _tile("p99", "response time p99", "s"),
            _tile("wanted", "workers wanted"),
            _tile("ready", "workers ready"),
        ],
        "charts": [
            _chart("Events", "events/s", finished="finished", arrived="arriving", offered="published"),
            _chart("Backlog", "events", backlog="backlog"),
            _chart("Workers", "", ready="ready", wanted="wanted", starting="starting"),
            _chart("Response time, p99", "s", p99="p99"),
        ],
    }
