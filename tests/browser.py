"""Headless Chromium, driven over its DevTools protocol: pages are opened, clicked and looked at.

with Browser.start(tmp_path) as browser:
    page = browser.open("http://127.0.0.1:8000/", 1280, 800)
    page.click(400, 300)
    page.wait("document.title === 'done'")
    picture = page.screenshot()  # uint8 [H, W, 3]
    assert not page.errors
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)
_ANSWER_S = 20.0
MODIFIERS = {"alt": 1, "ctrl": 2, "meta": 4, "shift": 8}
_KEY_CODES = {"Enter": 13, "Escape": 27, " ": 32, "ArrowLeft": 37, "ArrowUp": 38, "Delete": 46}
_KEY_CODES |= {"ArrowRight": 39, "ArrowDown": 40}


def chromium() -> str:
    """The program; the test is skipped where there is none."""
    for name in PROGRAMS:
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")


class Browser:
    """One Chromium with a profile of its own."""

    def __init__(self, socket: ClientConnection, parts: ExitStack) -> None:
        self._socket, self._parts = socket, parts
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._answers: dict[int, queue.Queue[dict[str, Any]]] = {}
        self._pages: dict[str, Page] = {}
        self._reader = threading.Thread(target=self._read, name="browser", daemon=True)
        self._reader.start()

    @classmethod
    def start(cls, folder: Path) -> Browser:
        """Start one; its profile goes into `folder`."""
        profile = folder / "profile"
        command = [chromium(), *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that all its processes can be ended together
        )
        parts = ExitStack()
        parts.callback(_end, process)
        try:
            port, path = _debugger(process, profile / "DevToolsActivePort")
            address = f"ws://127.0.0.1:{port}{path}"
            opening = connect(address, max_size=None, compression=None, proxy=None)
            return cls(parts.enter_context(opening), parts)
        except BaseException:
            parts.close()
            raise

    def open(
        self, url: str, width: int = 1280, height: int = 800, touch: bool = False, scale: float = 1
    ) -> Page:
        """A page in a window of its own, in CSS px; with `touch` it is a phone's or a tablet's."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call(
            "Target.createTarget",
            {"url": "about:blank", "browserContextId": context, "width": width, "height": height},
        )["targetId"]
        session = self.call("Target.attachToTarget", {"targetId": target, "flatten": True})
        page = Page(self, target, session["sessionId"])
        self._pages[session["sessionId"]] = page
        for domain in ("Page", "Runtime", "Log"):
            page.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": touch}
        page.call("Emulation.setDeviceMetricsOverride", size)
        if touch:
            page.call("Emulation.setTouchEmulationEnabled", {"enabled": True})
        page.go(url)
        return page

    def call(
        self, method: str, params: dict[str, Any] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """A command of the protocol and its result."""
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params or {}}
        if session is not None:
            message["sessionId"] = session
        waiting: queue.Queue[dict[str, Any]] = queue.Queue()
        with self._lock:
            self._answers[number] = waiting
            self._socket.send(json.dumps(message))
        try:
            answer = waiting.get(timeout=_ANSWER_S)
        except queue.Empty:
            raise TimeoutError(f"the browser does not answer to {method}") from None
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def stop(self) -> None:
        self._parts.close()
        self._reader.join(5)

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _read(self) -> None:
        with suppress(ConnectionClosed, OSError):
            for text in self._socket:
                message = json.loads(text)
                if "id" in message:
                    self._answers.pop(message["id"]).put(message)
                elif message.get("sessionId") in self._pages:
                    self._pages[message["sessionId"]].hear(message["method"], message["params"])


class Page:
    """A page that is open.

    Attributes:
        errors: uncaught exceptions, console errors, and what the browser refused (its content
            security policy, say).
        lost: requests that failed, which may be on purpose.
    """

    def __init__(self, browser: Browser, target: str, session: str) -> None:
        self._browser, self._target, self._session = browser, target, session
        self.errors: list[str] = []
        self.lost: list[str] = []

    def call(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._browser.call(method, params, self._session)

    def go(self, url: str) -> None:
        """Navigate, and wait until the page is loaded."""
        result = self.call("Page.navigate", {"url": url})
        if "errorText" in result:
            raise RuntimeError(f"{url}: {result['errorText']}")
        self.wait("document.readyState === 'complete'")

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression, as JSON; promises are awaited."""
        params = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", params)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {_words(answer['exceptionDetails'])}")
        return answer["result"].get("value")

    def wait(self, condition: str, timeout_s: float = 10.0) -> None:
        """Until a JavaScript expression is true."""
        end = time.monotonic() + timeout_s
        while not self.evaluate(f"Boolean({condition})"):
            if time.monotonic() > end:
                raise TimeoutError(f"after {timeout_s} s this is still not so: {condition}")
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """What stands in an element."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in CSS px of the window."""
        script = f"document.querySelector({json.dumps(selector)}).getBoundingClientRect()"
        found = self.evaluate(f"(({{x, y, width, height}}) => [x, y, width, height])({script})")
        return (float(found[0]), float(found[1]), float(found[2]), float(found[3]))

    def press(self, selector: str) -> None:
        """Click in the middle of an element."""
        left, top, width, height = self.box(selector)
        self.click(left + width / 2, top + height / 2)

    def click(
        self, x: float, y: float, button: str = "left", modifiers: tuple[str, ...] = ()
    ) -> None:
        self._mouse("mouseMoved", x, y, "none", modifiers)
        self._mouse("mousePressed", x, y, button, modifiers)
        self._mouse("mouseReleased", x, y, button, modifiers)

    def drag(self, x0: float, y0: float, x1: float, y1: float, release: bool = True) -> None:
        self._mouse("mouseMoved", x0, y0, "none")
        self._mouse("mousePressed", x0, y0, "left")
        for share in (0.3, 0.7, 1.0):
            x, y = x0 + (x1 - x0) * share, y0 + (y1 - y0) * share
            self._mouse("mouseMoved", x, y, "left", held=1)
        if release:
            self._mouse("mouseReleased", x1, y1, "left")

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """`kind`: "touchStart", "touchMove", "touchEnd" (without points)."""
        at = [{"x": x, "y": y} for x, y in points]
        self.call("Input.dispatchTouchEvent", {"type": kind, "touchPoints": at})

    def key(self, key: str, *modifiers: str) -> None:
        """One stroke: "a", " ", "Enter", "ArrowLeft", ..."""
        code = _KEY_CODES.get(key) or ord(key.upper()[0])
        event: dict[str, Any] = {
            "key": key,
            "modifiers": sum(MODIFIERS[m] for m in modifiers),
            "windowsVirtualKeyCode": code,
        }
        if len(key) == 1:
            event["text"] = key
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **event})
        event.pop("text", None)
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **event})

    def type(self, text: str) -> None:
        self.call("Input.insertText", {"text": text})

    def png(self) -> bytes:
        wanted = {"format": "png", "optimizeForSpeed": True}
        return base64.b64decode(self.call("Page.captureScreenshot", wanted)["data"])

    def screenshot(self) -> NDArray[np.uint8]:
        """What the window shows: uint8 `[H, W, 3]`, RGB."""
        decoded = cv2.imdecode(np.frombuffer(self.png(), np.uint8), cv2.IMREAD_COLOR)
        return np.ascontiguousarray(np.asarray(decoded, np.uint8)[..., ::-1])

    def close(self) -> None:
        self._browser.call("Target.closeTarget", {"targetId": self._target})

    def hear(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(_words(params["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            values = [str(a.get("value", a.get("description"))) for a in params["args"]]
            self.errors.append(" ".join(values))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            where = self.lost if entry["source"] == "network" else self.errors
            where.append(f"{entry['source']}: {entry['text']}")

    def _mouse(
        self,
        kind: str,
        x: float,
        y: float,
        button: str,
        modifiers: tuple[str, ...] = (),
        held: int = 0,
    ) -> None:
        params = {"type": kind, "x": x, "y": y, "button": button, "buttons": held, "clickCount": 1}
        params["modifiers"] = sum(MODIFIERS[m] for m in modifiers)
        self.call("Input.dispatchMouseEvent", params)


def _words(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return f"{details.get('text', '')} {exception.get('description', '')}".strip()


def _debugger(process: subprocess.Popen[bytes], file: Path) -> tuple[int, str]:
    """Port and path of the DevTools, which the browser writes into its profile."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"Chromium ended at once, with code {process.returncode}")
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) == 2:
            return int(lines[0]), lines[1]
        time.sleep(0.02)
    raise TimeoutError("Chromium did not say within 30 s where it listens")


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
