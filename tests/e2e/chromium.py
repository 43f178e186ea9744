"""A headless Chromium, steered by its DevTools protocol, for what only a browser can say of a page."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import websocket  # websocket-client, which kubernetes' client needs as well

from tests.e2e import parts


class Tab:
    """One page."""

    def __init__(self, address: str) -> None:
        self._socket = websocket.create_connection(address, timeout=20, suppress_origin=True)
        self._numbers = itertools.count(1)

    def call(self, method: str, **parameters: object) -> dict[str, object]:
        """Call a DevTools method and return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, object] = message["result"]
                return result

    def run(self, script: str) -> object:
        """Evaluate JavaScript; its value, which must be JSON."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        result = found["result"]
        assert isinstance(result, dict)
        return result.get("value")

    def show(self, width: int, height: int, scheme: str) -> None:
        """Be a screen of this size that wants light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path: Path) -> None:
        """Write what is seen as PNG."""
        path.write_bytes(base64.b64decode(str(self.call("Page.captureScreenshot")["data"])))

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


@contextlib.contextmanager
def chromium(base: Path, url: str) -> Iterator[Tab]:
    """Open a page."""
    parts.need("chromium")
    profile = base / "profile"
    profile.mkdir(parents=True)
    command = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}", "--no-first-run", url]
    log = base / "chromium.log"
    with parts.started(command, log):
        port_file = profile / "DevToolsActivePort"
        parts.wait_for(lambda: port_file.exists() and port_file.read_text().count("\n") >= 1, log)
        port = port_file.read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=20) as answer:
            pages = [p for p in json.load(answer) if p["type"] == "page"]
        tab = Tab(pages[0]["webSocketDebuggerUrl"])
        try:
            yield tab
        finally:
            tab.close()
