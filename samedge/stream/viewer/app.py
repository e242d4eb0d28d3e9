"""The web application: its pages, its one WebSocket, and nothing without admission."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from samedge.stream.viewer.admission import Admission
from samedge.stream.viewer.hub import Hub
from samedge.stream.viewer.pages import HEADERS, Page

STREAM = "/stream"

_REFUSALS = {
    "host": "The viewer does not know this name: open the address that samedge printed, "
    "or start it with viewer://...?name=NAME.",
    "origin": "Another site asked for this.",
    "token": "The viewer needs its token: open the whole address that samedge printed.",
}


def application(hub: Hub, admission: Admission, pages: Mapping[str, Page]) -> ASGIApp:
    """Serves `pages`, and `hub` under `STREAM`.

    Args:
        hub: of the stream.
        admission: says who may come in.
        pages: path -> file.
    """

    async def stream(socket: WebSocket) -> None:
        await hub.serve(socket)

    inner = Starlette(
        routes=[WebSocketRoute(STREAM, stream), *(Route(p, _sender(f)) for p, f in pages.items())]
    )
    inner.router.redirect_slashes = False
    return _Door(inner, admission, pages, hub.count)


def _sender(page: Page) -> Callable[[Request], Response]:
    def send(_: Request) -> Response:
        return Response(page.content, media_type=page.media_type, headers=dict(HEADERS))

    return send


class _Door:
    """In front of everything: nobody unknown reaches a route."""

    def __init__(
        self,
        inner: ASGIApp,
        admission: Admission,
        pages: Mapping[str, Page],
        count: Callable[[str], None],
    ) -> None:
        self._inner, self._admission, self._pages = inner, admission, pages
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = self._pages.get(scope["path"])
        needs_token = page is None or not page.is_open
        refusal = self._admission.refusal(
            Headers(scope=scope), scope["query_string"], needs_token=needs_token
        )
        if refusal is None:
            await self._inner(scope, receive, send)
            return
        self._count(refusal)
        if scope["type"] == "websocket":
            await receive()  # the request to connect
            await send({"type": "websocket.close", "code": 1008})  # HTTP 403
            return
        answer = PlainTextResponse(_REFUSALS[refusal], 403, headers=dict(HEADERS))
        await answer(scope, receive, send)
