"""A headless Chromium, driven by the DevTools protocol over a pipe: it needs no driver and no package."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from tests.eventually import eventually

NAMES = ("chromium", "chromium-browser", "google-chrome")
ANSWER_SECONDS = 60.0
PHONE = (390, 844)
DESKTOP = (1400, 1000)


def find_browser() -> str | None:
    """Return the path of a Chromium, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """A browser process with a profile of its own; a context manager."""

    def __init__(self, program: str) -> None:
        self._program = program
        self._folder = tempfile.TemporaryDirectory(prefix="lab-browser-", ignore_cleanup_errors=True)
        self._numbers = itertools.count(1)
        self._buffer = b""
        self._answers: dict[int, dict[str, Any]] = {}
        self.trouble: list[str] = []
        """What pages wrote to their consoles: errors, refused resources, exceptions."""

    def __enter__(self) -> Self:
        # The protocol has it that the browser reads from 3 and writes to 4.
        ours_in, theirs_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        theirs_in, ours_out = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in os.pipe())
        null = os.open(os.devnull, os.O_RDWR)
        switches = [
            *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--remote-debugging-pipe", f"--user-data-dir={self._folder.name}", "about:blank"),
        ]
        duplicates = [(null, 0), (null, 1), (null, 2), (theirs_in, 3), (theirs_out, 4)]
        actions = [(os.POSIX_SPAWN_DUP2, *pair) for pair in duplicates]
        environment = {**os.environ, "HOME": self._folder.name, "TMPDIR": self._folder.name}
        self._pid = os.posix_spawn(
            self._program, [self._program, *switches], environment, file_actions=actions, setsid=True
        )
        for end in (theirs_in, theirs_out, null):
            os.close(end)
        self._in, self._out = ours_in, ours_out
        return self

    def __exit__(self, *exception: object) -> None:
        os.killpg(self._pid, signal.SIGKILL)  # a group of its own
        os.waitpid(self._pid, 0)
        os.close(self._in)
        os.close(self._out)
        self._folder.cleanup()

    def open(self, url: str, size: tuple[int, int] = DESKTOP, *, is_dark: bool = False) -> "Tab":
        """Open *url* in a new tab."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session, target)
        for domain in ("Page", "Runtime", "Log"):
            tab.ask(f"{domain}.enable")
        tab.look(size, is_dark=is_dark)
        tab.ask("Page.navigate", url=url)
        return tab

    def ask(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """Return the answer to a command of the protocol."""
        number = next(self._numbers)
        command: dict[str, object] = {"id": number, "method": method, "params": parameters}
        if session:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        deadline = time.monotonic() + ANSWER_SECONDS
        while number not in self._answers:
            self._read(deadline)
        answer = self._answers.pop(number)
        assert "error" not in answer, f"{method}: {answer['error']}"
        return dict(answer["result"])

    def _read(self, deadline: float) -> None:
        ready, _, _ = select.select([self._in], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, "the browser does not answer"
        received = os.read(self._in, 1 << 20)
        assert received, "the browser ended"
        *messages, self._buffer = (self._buffer + received).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            elif message["method"] == "Runtime.exceptionThrown":
                self.trouble.append(json.dumps(message["params"]["exceptionDetails"]))
            elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
                self.trouble.append(message["params"]["entry"]["text"])


class Tab:
    """A page that is open."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self._browser = browser
        self._session = session
        self._target = target

    def ask(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the answer to a command for this page."""
        return self._browser.ask(method, self._session, **parameters)

    def look(self, size: tuple[int, int], *, is_dark: bool) -> None:
        """Let the page have this size, and the colours of the light or the dark."""
        width, height = size
        is_phone = size == PHONE
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=is_phone,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def run(self, script: str) -> Any:
        """Return the value of an expression of JavaScript."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, within: float = 30.0) -> None:
        """Wait until an expression is true."""
        eventually(lambda: bool(self.run(f"!!({script})")), within, every=0.1)

    def text(self, selector: str) -> str:
        """Return the text of an element."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).textContent"))

    def click(self, selector: str) -> None:
        """Press a button that can be seen."""
        found = json.dumps(selector)
        assert self.run(f"document.querySelector({found}).checkVisibility()"), selector
        self.run(f"document.querySelector({found}).click()")

    def fill(self, selector: str, value: str) -> None:
        """Write into a field, as if it was typed."""
        found = json.dumps(selector)
        self.run(
            f"(field => {{ field.value = {json.dumps(value)};"
            " field.dispatchEvent(new Event('input', {bubbles: true})) })"
            f"(document.querySelector({found}))"
        )

    def key(self, name: str, code: int) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)

    def screenshot(self, path: Path) -> None:
        """Write all of the page into a PNG file."""
        width, height = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        self._browser.ask("Target.closeTarget", targetId=self._target)
