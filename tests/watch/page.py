"""A running ``lab watch``, what a program may ask of its page, and a headless Chromium to look at it.

The browser is driven by the DevTools protocol over a pipe: it needs no driver and no package."""

import base64
import fcntl
import http.client
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import psutil

from lab.bootstrap import ROOT
from lab.store.redis_store import connect
from tests.eventually import eventually

START_SECONDS = 60.0
END_SECONDS = 40.0
JSON = {"Content-Type": "application/json"}


class Watching:
    """The command, once its page is there."""

    def __init__(self, process: subprocess.Popen[str], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err
        eventually(lambda: "Ctrl-C ends everything" in self.err or process.poll() is not None, START_SECONDS)
        self.url = out.read_text().strip()
        assert self.url, self.err
        parts = urlsplit(self.url)
        self.host = parts.netloc
        self.token = parse_qs(parts.query)["token"][0]

    @property
    def err(self) -> str:
        """What it said so far."""
        return self._err.read_text(encoding="utf-8")

    @property
    def namespace(self) -> str:
        """The throw-away namespace, as its processes were told."""
        children = psutil.Process(self.process.pid).children()
        words = next(words for child in children if "--namespace" in (words := child.cmdline()))
        return words[words.index("--namespace") + 1]

    def ask(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Return status, headers and body of an answer; as the page asks, but for *headers* (empty: none)."""
        usual = {
            "Host": self.host,
            "Cookie": f"lab-watch-{self.host.rpartition(':')[2]}={self.token}",
            "Origin": f"http://{self.host}",
        } | JSON
        given = {**usual, **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection = http.client.HTTPConnection(self.host, timeout=60)
        try:
            sent = {name: value for name, value in given.items() if value}
            connection.putrequest(method, path, skip_host=True)
            for name, value in {**sent, "Content-Length": str(len(body))}.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def press(self, action: str, **fields: object) -> dict[str, Any]:
        """Do as a button does; return what it says, or the error."""
        status, _, body = self.ask("POST", f"/api/{action}", json.dumps(fields).encode())
        return {**json.loads(body), "status": status}

    def state(self) -> dict[str, Any]:
        """Return all that a page would show."""
        return dict(json.loads(self.ask("GET", "/api/state")[2]))

    def point(self) -> dict[str, Any]:
        """Return the newest point of the charts, empty before the first."""
        points = self.state()["points"]
        return dict(points[-1]) if points else {}

    def lines(self, kind: str) -> list[str]:
        """Return what was told of *kind*."""
        return [line["text"] for line in self.state()["lines"] if line["kind"] == kind]

    def nodes(self, name: str = "filter node", state: str = "serving") -> list[int]:
        """Return the process ids of the nodes in *state*."""
        rows = self.state()["rows"]
        return [row["pid"] for row in rows if row["name"] == name and row["state"] == state]

    def running(self) -> list[psutil.Process]:
        """Return the processes that it started, and theirs."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, how: signal.Signals = signal.SIGINT) -> int:
        """Press Ctrl-C; return the exit code."""
        self.process.send_signal(how)
        return self.process.wait(END_SECONDS)


def has_keys(redis_url: str, namespace: str) -> bool:
    """Tell whether the Redis at *redis_url* holds a key of *namespace*."""
    with connect(redis_url) as store:
        return any(True for _ in store.scan_iter(f"{namespace}:*"))


def still_running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Return those of *processes* that did not end; an ended one may wait to be reaped by another."""
    return [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def watching(*options: str, redis_url: str, amqp_url: str = "") -> Iterator[Watching]:
    """Run ``lab watch`` with *options* on these brokers, and end it."""
    given = {"LAB_REDIS_URL": redis_url, "LAB_AMQP_URL": amqp_url}
    environment = {**os.environ, **{name: url for name, url in given.items() if url}}
    command = [sys.executable, "-m", "lab", "watch", *options]
    with tempfile.TemporaryDirectory(prefix="lab-t-") as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        with out.open("w") as to_out, err.open("w") as to_err:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=to_out, stderr=to_err, text=True
            )
        try:
            yield Watching(process, out, err)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(END_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


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
