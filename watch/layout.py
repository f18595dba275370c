"""What the page is made of, for each thing it can show: tiles, charts and buttons, as data."""

from typing import Any

from lab.contract import Application
from watch.load import MOST_RATE, WINDOW_SECONDS

Layout = dict[str, Any]


def _tile(key: str, label: str, unit: str = "") -> Layout:
    return {"key": key, "label": label, "unit": unit}


def _chart(title: str, unit: str, **series: str) -> Layout:
    """Return a chart; *series* are keys of a point and what they are called, at most three."""
    return {
        "title": title,
        "unit": unit,
        "series": [{"key": key, "label": label} for key, label in series.items()],
    }


def system_layout(label: str, applications: list[Application], loaded: Application) -> Layout:
    """Return the page of a system over the middleware *label*."""
    names = {"service": "InsultService", "filter": "InsultFilter"}
    sends = "texts to filter" if loaded is Application.FILTER else "requests for an insult"
    return {
        "title": f"{label}: {' and '.join(names[application] for application in applications)}",
        "load": {"label": f"Load: {sends} per second", "most": MOST_RATE},
        "applications": applications,
        "rows": "Processes",
        "tiles": [
            _tile("achieved", "answered", "/s"),
            _tile("p50", "response time p50", "ms"),
            _tile("p99", "response time p99", "ms"),
            _tile("backlog", "backlog"),
            _tile("failed", "failed", "/s"),
            _tile("nodes", "nodes"),
        ],
        "charts": [
            _chart("Throughput", "requests/s", achieved="answered", offered="offered"),
            _chart(f"Response time, last {WINDOW_SECONDS:g} s", "ms", p99="p99", p50="p50"),
            _chart("Backlog: due and not answered", "requests", backlog="backlog"),
        ],
    }


def scaling_layout(policy: str, most_workers: int, most_rate: float) -> Layout:
    """Return the page of dynamic scaling."""
    return {
        "title": f"Dynamic scaling: {policy}, at most {most_workers} workers",
        "load": {"label": "Publisher: events per second", "most": most_rate},
        "applications": [],
        "rows": "Workers",
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
