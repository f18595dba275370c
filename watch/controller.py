"""``python -m dynamic --json`` as a process of ours, and what it says."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from lab.errors import Unavailable
from lab.process.launcher import READY_SECONDS, ROOT
from watch.hub import Hub

_PREFIX = re.compile(r"(?:[\d-]+ [\d:,]+ )?[A-Z]+ [\w.]+: ")
"""What a logger puts before its words: the page has a clock and colours."""
END_SECONDS = 20.0
"""Its workers finish what they have first."""


class Controller:
    """The controller; start it in the main thread. *environment* tells it where the brokers are."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], hub: Hub) -> None:
        self._hub = hub
        self._ready = threading.Event()
        self._last_words = ""
        self.reading: dict[str, Any] = {}
        """What it said last; empty before its first decision."""
        self.address = ""
        """Of the socket of its pool; empty: it never got ready."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "dynamic", "--json", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment, "LAB_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we then let it end
        )
        self._readers = [
            threading.Thread(target=read, name=f"controller {name}", daemon=True)
            for name, read in (("says", self._read), ("warns", self._read_log))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> None:
        """Wait until it controls a pool; Unavailable, with its last words, if it does not come to that."""
        self._ready.wait(READY_SECONDS)
        if not self.address:
            if not self.is_running:
                self._readers[1].join(1.0)
            raise Unavailable(f"the controller did not start: {self._last_words or 'it said nothing'}")

    def close(self) -> None:
        """Let it end with its workers; kill it if that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for reader in self._readers:
            reader.join(1.0)

    def _read(self) -> None:
        for line in self._process.stdout or ():
            said = json.loads(line)
            if "ready" in said:
                self.address = said["address"]
                self._ready.set()
            else:
                self._tell_trouble(said)
                self.reading = said
        self._ready.set()  # or never
        code = self._process.wait()
        if code > 0 or code < -15:
            self._hub.say("fault", f"the controller ended, exit code {code}")

    def _tell_trouble(self, reading: Mapping[str, Any]) -> None:
        if reading["trouble"] and reading["trouble"] != self.reading.get("trouble"):
            self._hub.say("fault", reading["trouble"])
        wanted = reading["decision"]["wanted"]
        before = self.reading.get("decision", {}).get("wanted")
        if wanted != before:
            self._hub.say("node", f"{wanted} workers wanted: {reading['decision']['reason']}")

    def _read_log(self) -> None:
        for line in self._process.stderr or ():
            self._last_words = _PREFIX.sub("", line.strip(), count=1)
            self._hub.say("fault", self._last_words)
