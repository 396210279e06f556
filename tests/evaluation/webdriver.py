"""Chromium through chromedriver by the plain W3C WebDriver protocol; the standard library is enough."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib import request

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One headless browser; `close` ends it and its driver."""

    def __init__(self, *, width: int = 1280, height: int = 1000) -> None:
        assert CHROMIUM is not None
        assert DRIVER is not None
        # The driver picks a free port and names it.
        self._driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
        assert self._driver.stdout is not None
        port = next(
            found[1]
            for line in iter(self._driver.stdout.readline, "")
            if (found := re.search(r"successfully on port (\d+)", line))
        )
        self._root = f"http://127.0.0.1:{port}"
        # A container has neither a user namespace for the sandbox nor much shared memory.
        args = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        args += ["--hide-scrollbars", f"--window-size={width},{height}"]
        options = {"binary": CHROMIUM, "args": args}
        wanted = {
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._root += f"/session/{made['sessionId']}"

    def close(self) -> None:
        """End the session and the driver."""
        try:
            self._call("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(timeout=20)
            assert self._driver.stdout is not None
            self._driver.stdout.close()

    def open(self, url: str) -> None:
        """Load a page afresh, even where only the hash differs."""
        self._call("POST", "/url", {"url": "about:blank"})
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *args: Any) -> Any:
        """Run the body of a function in the page and return its value."""
        return self._call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def click(self, css: str) -> None:
        """Click the first element; it must be visible, and nothing may lie over it."""
        found = self._find(css)
        # The driver does not wait for a page that scrolls smoothly.
        script = "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})"
        self.run(script, {_ELEMENT: found})
        self._call("POST", f"/element/{found}/click", {})

    def write(self, css: str, text: str) -> None:
        """Type into an element."""
        self._call("POST", f"/element/{self._find(css)}/value", {"text": text})

    def choose(self, css: str, value: str) -> None:
        """Pick an option of a select."""
        self.click(f"{css} option[value={json.dumps(value)}]")

    def press(self, *keys: str) -> None:
        """Press and release keys one after the other, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def texts(self, css: str) -> list[str]:
        """Return the text of every element that matches."""
        found = self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", css)
        return [str(text) for text in found]

    def cdp(self, command: str, **parameters: Any) -> Any:
        """Send a command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def log(self, kind: str) -> list[dict[str, Any]]:
        """Return, and drop, what was logged: `browser` for the console, `performance` for events."""
        return list(self._call("POST", "/se/log", {"type": kind}))

    def requests(self) -> list[str]:
        """Return the addresses that were asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.log("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [str(parameters["request"]["url"]) for parameters in sent]

    def screenshot(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        whole = self.cdp("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(whole["data"]))

    def until(self, holds: Callable[[], bool], seconds: float = 5.0) -> None:
        """Wait for something that the page does a little later."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.05)

    def _find(self, css: str) -> str:
        return str(self._call("POST", "/element", {"using": "css selector", "value": css})[_ELEMENT])

    def _call(self, verb: str, path: str, body: dict[str, Any] | None = None) -> Any:
        content = None if body is None else json.dumps(body).encode("utf-8")
        asked = request.Request(self._root + path, content, {"Content-Type": "application/json"}, method=verb)
        # Whatever proxy the surroundings name, this talks to the same machine.
        opener = request.build_opener(request.ProxyHandler({}), _Told())
        with opener.open(asked, timeout=60) as answer:
            return json.loads(answer.read())["value"]


class _Told(request.HTTPErrorProcessor):
    """Turn an error of the driver into one that says what it said."""

    def http_response(self, request: Any, response: Any) -> Any:
        if response.status >= 400:
            said = json.loads(response.read())["value"]
            raise AssertionError(f"{said['error']}: {said['message'].splitlines()[0]}")
        return response
