"""The page's server: the page, a stream of what happens, the buttons, and who may use them."""

import ipaddress
import json
import logging
import secrets
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lab.errors import Code, InternalError, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES
from lab.operations import new_operation_id
from watch.hub import Hub, Watched

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
        middleware=[Middleware(Guard, token=token, cookie=f"lab-watch-{port}", host=host)],
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
