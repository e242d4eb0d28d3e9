"""A live stream as a web page: `ViewerSink` serves it, browsers show it and send back clicks.

    LiveFrame -> message -> hub -> one client per browser -> page

`message` puts a frame, its masks and its state into one WebSocket message, so that they cannot
part. `hub` knows the clients and belongs to the server's own thread, in which everything of
asyncio lives (`server`, `protocols`); `client` is one browser, with an outbox of one frame.
`address` is where the page is, `admission` says who may come in, `pages` what they get, `app` puts
these together. `sink` is what the stream sees. The page itself is in `static`: plain ES modules,
served from memory, with nothing from elsewhere.
"""

from __future__ import annotations

from samedge._optional import importing

with (
    importing("starlette", extra="stream", what="the viewer"),
    importing("uvicorn", extra="stream", what="the viewer"),
    importing("websockets", extra="stream", what="the viewer"),
):
    from samedge.stream.viewer.sink import ViewerSink

__all__ = ["ViewerSink"]
