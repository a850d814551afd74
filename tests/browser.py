"""A real browser without a window, driven through a pipe by the DevTools protocol."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
PATIENCE = 90.0  # seconds for any answer: the machine may be busy


def find() -> str | None:
    """The program, None if there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page, what it said on its console, and what it asked of the network."""

    def __init__(self, requests: int, answers: int) -> None:
        self._requests, self._answers = requests, answers
        self._number, self._rest, self._session = 0, b"", ""
        self.said: list[str] = []
        self.fetched: list[str] = []
        self._loaded = False
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._requests, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser has ended"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, what: dict[str, Any]) -> None:
        if event == "Log.entryAdded":
            self.said.append(what["entry"]["text"])
        elif event == "Runtime.exceptionThrown":
            self.said.append(str(what["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled":
            self.said.append(str(what["args"]))
        elif event == "Network.requestWillBeSent" and not what["request"]["url"].startswith("data:"):
            self.fetched.append(what["request"]["url"])
        elif event == "Page.loadEventFired":
            self._loaded = True

    def go(self, page: Path, *, width: int = 1200, dark: bool = False, script: bool = True) -> None:
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        self._loaded = False
        self.call("Page.navigate", url=page.resolve().as_uri())
        while not self._loaded:
            self._receive()

    def ask(self, expression: str) -> Any:
        """The value of some JavaScript."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def mouse(self, kind: str, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)


@contextmanager
def opened(program: str, profile: Path) -> Iterator[Tab]:
    """A browser with one empty tab."""
    read_requests, requests = os.pipe()
    answers, write_answers = os.pipe()

    def wire() -> None:  # the protocol is spoken on descriptors 3 and 4
        from_us, to_us = os.dup(read_requests), os.dup(write_answers)
        os.dup2(from_us, 3)
        os.dup2(to_us, 4)

    process = subprocess.Popen(
        [program, "--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run",
         f"--user-data-dir={profile}"],
        preexec_fn=wire, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(read_requests)
    os.close(write_answers)
    try:
        yield Tab(requests, answers)
    finally:
        os.close(requests)
        process.kill()
        process.wait()
        os.close(answers)
