"""A real headless Chromium, driven over its DevTools protocol: just what measuring and testing our pages needs."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from websockets.sync.client import ClientConnection, connect

HAND_SECONDS = 0.3  # that a person takes to the next key; the page's own state follows what is typed meanwhile
WAIT_SECONDS = 20.0
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-port=0",
    "--window-size=1280,900",
)
_KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, ""), " ": (32, " ")}


def where() -> str | None:
    """The browser's program, if there is one."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


@dataclass
class Tab:
    """One page, and what it said."""

    socket: ClientConnection
    said: list[str] = field(default_factory=list)  # errors on its console, the policy's refusals among them
    asked: list[str] = field(default_factory=list)  # every address that it fetched
    dialogs: list[str] = field(default_factory=list)  # what it asked by a dialog; each is answered with yes
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def order(self, method: str, **given: Any) -> dict[str, Any]:
        """Send one order and wait for its answer."""
        number = next(self._numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": given}))
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until:
            message = json.loads(self.socket.recv(timeout=WAIT_SECONDS))
            if message.get("id") == number:
                if "error" in message:
                    raise AssertionError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result
            self._hear(message)
        raise AssertionError(f"{method}: no answer")

    def _hear(self, message: dict[str, Any]) -> None:
        given = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            self.said.append(details.get("exception", {}).get("description") or details["text"])
        elif message.get("method") == "Log.entryAdded" and given["entry"]["level"] == "error":
            self.said.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif message.get("method") == "Network.requestWillBeSent":
            self.asked.append(given["request"]["url"])
        elif message.get("method") == "Page.javascriptDialogOpening":
            self.dialogs.append(given["message"])
            yes = {"id": next(self._numbers), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            self.socket.send(json.dumps(yes))

    def open(self, url: str) -> None:
        """Go there."""
        self.order("Page.navigate", url=url)

    def first_run(self, script: str) -> None:
        """Have every page from now on run this before anything of its own."""
        self.order("Page.addScriptToEvaluateOnNewDocument", source=script)

    def run(self, script: str) -> Any:
        """What an expression of JavaScript comes to."""
        told = self.order("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise AssertionError(f"{script}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def until(self, script: str, seconds: float = WAIT_SECONDS) -> Any:
        """Wait until the expression is true, and return it."""
        end = time.monotonic() + seconds
        while True:
            found = self.run(
                f"(() => {{ try {{ const v = {script}; return v instanceof Node || v }} catch {{ return null }} }})()"
            )
            if found:
                return found
            if time.monotonic() > end:
                raise AssertionError(f"never true: {script}\n{self.text()[:2000]}\n{self.said}")
            time.sleep(0.03)

    def shows(self, text: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until this text can be read on the page."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})", seconds)

    def text(self) -> str:
        """What can be read on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def click(self, selector: str) -> None:
        """Click what this selector finds first, once it is there."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.until(found + " !== null")
        self.run(found + ".click()")

    def type(self, selector: str, text: str) -> None:
        """Write into a field, as a person does."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.until(found + " !== null")
        self.run(f"{found}.focus(); {found}.select && {found}.select(); true")
        self.order("Input.insertText", text=text)
        time.sleep(HAND_SECONDS)

    def press(self, key: str) -> None:
        """Press one key of the keyboard."""
        code, text = _KEYS[key]
        given = {"key": key, "code": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.order("Input.dispatchKeyEvent", type="keyDown", **given)
        self.order("Input.dispatchKeyEvent", type="keyUp", key=key, code=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int) -> None:
        """Have a screen of this size."""
        self.order(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def prefer(self, scheme: str) -> None:
        """Have a system that is light or dark."""
        self.order(
            "Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}], media="screen"
        )

    def shot(self, path: Path, *, is_whole: bool = False) -> None:
        """Keep a picture of what is seen, or of the whole page."""
        told = self.order("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(told["data"]))


@contextmanager
def tab(program: str) -> Iterator[Tab]:
    """A browser that has never been anywhere, with one page; both are gone at the end."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with connect(_address(Path(folder), process), max_size=2**26) as socket:
                page = Tab(socket)
                for domain in ("Page", "Runtime", "Log", "Network"):
                    page.order(f"{domain}.enable")
                yield page
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """The page's socket, from the port that the browser writes down when it is up."""
    until = time.monotonic() + WAIT_SECONDS
    told = folder / "DevToolsActivePort"
    while time.monotonic() < until and process.poll() is None:
        if told.is_file() and "\n" in told.read_text():
            port = told.read_text().split()[0]
            pages = httpx.get(f"http://127.0.0.1:{port}/json/list", timeout=5).json()
            found = [page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page"]
            if found:
                return str(found[0])
        time.sleep(0.05)
    raise AssertionError("Chromium did not come up")
