"""A running ``lab watch``, and what a program may ask of its page."""

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil

from lab.bootstrap import ROOT
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
