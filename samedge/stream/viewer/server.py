"""The web server in a thread of its own, with an event loop of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import uvicorn

from samedge.errors import OutputError
from samedge.files.limits import BROWSER_BYTES, BROWSER_CONNECTIONS
from samedge.stream.live.sink import About
from samedge.stream.viewer.address import Address, listening_socket
from samedge.stream.viewer.admission import Admission
from samedge.stream.viewer.app import application
from samedge.stream.viewer.hub import Hub
from samedge.stream.viewer.pages import load_pages
from samedge.stream.viewer.protocols import PageProtocol, SocketProtocol

_START_S = 10.0
_FAREWELL_S = 1.0
_STOP_S = 5.0


class ViewerServer:
    """Serves the page of one stream.

    Attributes:
        address: where it is, with the port that was taken.
        hub: of its clients; in the server's loop only, see `call`.
    """

    def __init__(self, where: Address, about: About) -> None:
        """Listen and start to serve.

        Raises:
            OutputError: the port is in use, or the server did not start.
        """
        self._socket = listening_socket(where)
        port = int(self._socket.getsockname()[1])
        self.address = replace(where, port=port)
        self.hub = Hub(about)
        app = application(self.hub, Admission(self.address), load_pages())
        self._server = uvicorn.Server(_config(app))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="samedge viewer", daemon=True)
        self._thread.start()
        self._wait_for_start()

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function in the server's loop, soon.

        Raises:
            OutputError: the server has ended by itself.
        """
        self.check()
        assert self._loop is not None
        self._loop.call_soon_threadsafe(function, *arguments)

    def check(self) -> None:
        """Make sure that the server runs.

        Raises:
            OutputError: it has ended by itself.
        """
        if self._loop is None or not self._thread.is_alive():
            raise OutputError(f"the viewer's server ended: {self._error}") from self._error

    def stop(self, why: str, failed: bool) -> None:
        """Tell the pages that the stream is over, and end. Waits for a bounded time.

        Raises:
            OutputError: the server did not end.
        """
        loop = self._loop
        if loop is not None and self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._farewell(why, failed), loop)
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            raise OutputError(f"the viewer's server did not end within {_STOP_S:.0f} s")

    async def _farewell(self, why: str, failed: bool) -> None:
        self.hub.end(why, failed)
        await self.hub.all_gone(_FAREWELL_S)
        self._server.should_exit = True

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # said by whoever calls next
            self._error = error
        finally:
            self._socket.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])

    def _wait_for_start(self) -> None:
        end = time.monotonic() + _START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > end:
                self._server.should_exit = True
                raise OutputError(f"the viewer's server did not start: {self._error}")
            time.sleep(0.005)


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        loop="asyncio",
        http=PageProtocol,
        ws=SocketProtocol,
        ws_max_size=BROWSER_BYTES.most,
        ws_per_message_deflate=False,  # pictures are compressed already
        ws_ping_interval=5.0,
        ws_ping_timeout=10.0,
        lifespan="off",
        # The address of a page has its token in it: no line is written for a request.
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=BROWSER_CONNECTIONS.most,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=2,
        backlog=64,
    )
