"""The page's server: the page, a stream of what happens, and the buttons."""

import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from lab.errors import Code, InternalError, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES
from lab.operations import new_operation_id
from watch.guard import Guard
from watch.hub import Hub, Watched

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
