"""Who may talk to the page: only who was given its token, and no other web site on their behalf."""

import ipaddress
import secrets
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
