"""A program that spends three parts of its CPU time in one function and one in another.

One of its threads only waits.
"""

import hashlib
import socket
import threading
import time

DATA = bytes(100_000)


def three_parts() -> None:
    """Compute in Python for 30 ms of CPU time."""
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        sum(range(500))


def one_part() -> None:
    """Compute in C, outside the interpreter's lock, for 10 ms of CPU time."""
    end = time.thread_time() + 0.01
    while time.thread_time() < end:
        hashlib.sha256(DATA)


def waits(stream: socket.socket) -> None:
    """Wait for what never comes."""
    stream.recv(1)


if __name__ == "__main__":
    ends = socket.socketpair()
    threading.Thread(target=waits, args=(ends[0],), daemon=True).start()
    print("{}", flush=True)
    while True:
        three_parts()
        one_part()
        time.sleep(0.005)
