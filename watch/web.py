"""The page: its pictures, tiles, charts and buttons as data; its server, and who may use it."""

import ipaddress
import json
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware as ServerMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.contract import Application
from lab.errors import Code, InternalError, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES
from lab.middleware import Middleware
from lab.operations import new_operation_id
from watch.hub import Hub, Watched
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
        "systems": [_picture("", "", "publisher", "Work_queue", is_direct=False, queued="waiting")],
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


SAFE = ("GET", "HEAD")
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """Lets pass what has the token, as a cookie or in the URL, and comes from our own page.

    *host*: the name under which the page is served. An address or ``localhost`` is always right: only a name
    can be pointed at this machine by somebody else (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, token: str, cookie: str, host: str) -> None:
        self._app = app
        self._token = token
        self._cookie = cookie
        self._names = {host.casefold(), "localhost"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        refusal = self._refusal(request)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if not refusal and "token" in request.query_params:
                    value = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
                    headers.append("Set-Cookie", value)
            await send(message)

        answer = PlainTextResponse(f"{refusal}\n", 403) if refusal else self._app
        await answer(scope, receive, send_with_headers)

    def _refusal(self, request: Request) -> str:
        """Return why the request is refused; empty: it is not."""
        host = request.headers.get("host", "")
        if not self._is_ours(host):
            return "This page has no such name: open the address that `lab watch` printed."
        origin = request.headers.get("origin")
        if request.method not in SAFE and origin is None:
            return "A change needs the header Origin, as a browser sends it."
        if origin is not None and origin != f"http://{host}":
            return "Another web site may not use this page."
        given = request.query_params.get("token") or request.cookies.get(self._cookie, "")
        if not secrets.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return "Open the address that `lab watch` printed, with its token."
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"http://{host}").hostname or ""
            if name in self._names:
                return True
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


log = logging.getLogger(__name__)

PAGE = Path(__file__).parent / "page"
STATUS = {
    Code.TOO_LARGE: 413,
    Code.UNKNOWN_OPERATION: 404,
    Code.NOT_FOUND: 404,
    Code.NO_INSULTS: 409,
    Code.OVERLOADED: 503,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
    Code.INTERNAL_ERROR: 500,
}
"""Of HTTP, for the lab's codes; 400 for the others."""


def application(watched: Watched, hub: Hub, token: str, host: str, port: int) -> Starlette:
    """Return the server of the page at *host* and *port*, for those who have the *token*."""
    web = _Web(watched, hub)
    return Starlette(
        routes=[
            Route("/", web.page),
            Route("/events", web.events),
            Route("/api/state", web.state),
            Route("/api/{action}", web.act, methods=["POST"]),
            Mount("/page", StaticFiles(directory=PAGE)),
        ],
        # Cookies do not tell ports apart: two pages at once need two names.
        middleware=[ServerMiddleware(Guard, token=token, cookie=f"lab-watch-{port}", host=host)],
    )


class _Web:
    def __init__(self, watched: Watched, hub: Hub) -> None:
        self._watched = watched
        self._hub = hub

    async def page(self, request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def state(self, request: Request) -> Response:
        return JSONResponse({**self._hub.since(0, 0), "description": self._description()})

    async def events(self, request: Request) -> Response:
        """Stream what happens: at first all that is kept, then what is new, as it comes."""

        async def stream() -> AsyncIterator[str]:
            number = line = 0
            try:
                news = self._hub.join()
            except LabError as error:
                yield _event("refused", {"code": error.code, "message": error.message})
                return
            try:
                yield _event("hello", self._description())
                while not self._hub.is_over:
                    news.clear()
                    new = self._hub.since(number, line)
                    number, line = new["number"], new["line"]
                    yield _event("news", new)
                    await news.wait()
                yield _event("end", {})
            finally:
                self._hub.leave(news)

        return StreamingResponse(stream(), media_type="text/event-stream")

    async def act(self, request: Request) -> Response:
        """Do what a button says, and tell what came of it."""
        try:
            fields = await _fields(request)
            action = self._watched.actions.get(request.path_params["action"])
            if action is None:
                there = ", ".join(sorted(self._watched.actions))
                raise InvalidRequest(Code.UNKNOWN_OPERATION, f"there is no such button here, only {there}")
            return JSONResponse(await anyio.to_thread.run_sync(partial(action, fields)))
        except LabError as error:
            return _refused(error)
        except ClientDisconnect:  # nobody reads the answer
            return Response(status_code=400)
        except Exception:
            failed = InternalError(new_operation_id())
            log.exception("a button failed, error %s", failed.error_id)
            return _refused(failed)

    def _description(self) -> dict[str, Any]:
        return {**self._watched.description, "actions": sorted(self._watched.actions)}


async def _fields(request: Request) -> dict[str, object]:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise InvalidRequest(Code.MALFORMED, "the fields must come as application/json")
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_REQUEST_BYTES:
            raise InvalidRequest(Code.TOO_LARGE, f"a request has at most {MAX_REQUEST_BYTES} bytes")
    try:
        fields = json.loads(body)
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, "the fields must be UTF-8") from error
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(Code.MALFORMED, "the fields must be a JSON object") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(Code.MALFORMED, "the fields must be a JSON object")
    return fields


def _refused(error: LabError) -> JSONResponse:
    return JSONResponse({"code": error.code, "message": error.message}, STATUS.get(error.code, 400))


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
