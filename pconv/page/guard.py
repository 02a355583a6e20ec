"""Turns away what other web sites send to the page, and tells browsers to load nothing foreign.

A page on this machine can be reached by every web site that its user visits: under a name of the
site's own that resolves to 127.0.0.1 (DNS rebinding), or by a form sent across origins. Neither
comes with the right ``Host`` and ``Origin``.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL = "localhost"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Lets an application answer only requests for this host, sent by its own pages or no page.

    Args:
        app: The application.
        host: The name that it listens on. Besides it ``localhost`` and bare addresses are right:
            a site that rebinds a name can't do it without a name. (Starlette's
            ``TrustedHostMiddleware`` knows fixed names only, and answers in plain text.)
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._names = {_LOCAL, host.lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        reason = self._refusal(scope["method"], Headers(scope=scope))
        answer = self._app if reason is None else JSONResponse({"error": reason}, 403)
        await answer(scope, receive, with_headers)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        """Return why a request is not answered, if it isn't."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return f"requests for {host or 'no host'} are not answered here"
        origin = headers.get("origin")
        if method not in ("GET", "HEAD") and origin not in (None, f"http://{host}"):
            return f"requests from pages of {origin} are not answered"
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname
            return name in self._names or bool(name and ipaddress.ip_address(name))
        except ValueError:
            return False
