"""A headless Chromium driven by its DevTools protocol: what a page requests, logs and shows."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_S = 60


class Page:
    """One open page. requests: addresses it requested. complaints: console errors, exceptions and policy violations."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.requests: list[str] = []
        self.complaints: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def call(self, method: str, **arguments: Any) -> dict[str, Any]:
        """Run one command of the protocol; events that arrive meanwhile are recorded."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": arguments}))
        while True:
            message = json.loads(self._socket.recv(timeout=START_S))
            if message.get("id") == self._number:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            self._note(message.get("method"), message.get("params", {}))

    def open(self, path: Path, *, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Load a file and wait until its figures are drawn."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=path.as_uri())
        self.wait("document.readyState === 'complete' && document.querySelector('figure svg') !== null")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + START_S
        while not self.value(condition):
            assert time.monotonic() < end, f"never true: {condition}; complaints: {self.complaints}"
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """The value of an expression in the page."""
        # Two frames: by then, charts that have become wider or narrower are redrawn.
        frames = "await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));"
        result = self.call(
            "Runtime.evaluate",
            expression=f"(async () => {{ {frames} return ({expression}); }})()",
            awaitPromise=True,
            returnByValue=True,
        )
        assert "exceptionDetails" not in result, f"{expression}: {result['exceptionDetails']}"
        return result["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key on the focused element."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def screenshot(self, path: Path) -> None:
        """A screenshot of the whole page, to its end."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(picture["data"]))

    def pdf(self, path: Path) -> bytes:
        """The page as it prints on A4."""
        printed = self.call(
            "Page.printToPDF",
            printBackground=True,
            preferCSSPageSize=True,
            paperWidth=8.27,
            paperHeight=11.69,
        )
        path.write_bytes(base64.b64decode(printed["data"]))
        return path.read_bytes()

    def _note(self, method: str | None, about: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(f"console.{about['type']}: {about['args']}")
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(about["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(about["entry"]["text"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A page in a new Chromium that closes with the block. folder: for its profile."""
    assert CHROMIUM is not None
    arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--no-first-run",
        "--remote-debugging-port=0",
    ]
    process = subprocess.Popen(
        [CHROMIUM, *arguments, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        with connect(_address(folder, process), max_size=None) as socket:
            yield Page(socket)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    from urllib.request import urlopen

    port, end = folder / "DevToolsActivePort", time.monotonic() + START_S
    while not (port.exists() and port.read_text().count("\n")):
        assert process.poll() is None, f"Chromium ended with {process.returncode}"
        assert time.monotonic() < end, "Chromium did not open its port"
        time.sleep(0.05)
    with urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
        targets = json.loads(answer.read())
    return next(str(t["webSocketDebuggerUrl"]) for t in targets if t["type"] == "page")
