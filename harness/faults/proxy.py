"""A TCP proxy that does to replies what networks do; seeded. It runs in a thread of its own.

It knows no protocol: what a server sends is passed on piece by piece as it comes; a harm befalls a piece.
Whatever happens to a reply, the request before it was executed.
"""

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from types import TracebackType
from typing import Self

PIECE = 64 * 1024
DELAY_SECONDS = 0.2
TRICKLE_SECONDS = 0.0005
TRICKLED_AT_MOST = 2_000
"""Bytes of a piece that come one by one; the rest of it follows at once."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: close with a reset."""


class Harm(StrEnum):
    """What is done to a reply."""

    DELAY = "delay"
    DROP = "drop"
    """The reply is thrown away, and then the connection is closed."""
    RESET = "reset"
    """The connection is reset in place of the reply."""
    HALF_CLOSE = "half-close"
    """Half of the reply, then the server says no more; the client may."""
    BLACK_HOLE = "black hole"
    """Nothing comes any more, in either direction; the connection stays open."""
    TRICKLE = "trickle"
    """One byte at a time."""


class Proxy:
    """Passes connections on; a context manager. *harms* are the shares of replies that each befalls."""

    def __init__(self, seed: int, harms: Mapping[Harm, float]) -> None:
        self._chance = random.Random(seed)
        self._harms = harms
        self.done: Counter[Harm] = Counter()
        self.replies = 0
        self.is_armed = False
        """Until then every reply is passed on: a system must be able to start."""
        self._connections: set[asyncio.Task[None]] = set()  # the loop itself holds tasks only weakly
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:  # refuse who comes from now on
            self._loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_cancel_all(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def listen(self, host: str, port: int, to_host: str, to_port: int) -> int:
        """Pass on what comes to *host*:*port* (0: a free one); return the port."""

        async def serve() -> int:
            async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                task = asyncio.create_task(self._pass_on(reader, writer, to_host, to_port))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

            server = await asyncio.start_server(connected, host, port)
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])

        return asyncio.run_coroutine_threadsafe(serve(), self._loop).result(5.0)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int
    ) -> None:
        try:
            upstream_reader, upstream_writer = await asyncio.open_connection(host, port)
        except OSError:
            _reset(writer)
            return
        requests = asyncio.create_task(_copy(reader, upstream_writer))
        try:
            await self._replies(upstream_reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # one of the two went away
        finally:
            requests.cancel()
            upstream_writer.close()
            writer.close()

    async def _replies(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE):
            harm = self._drawn()
            if harm is None:
                writer.write(piece)
            elif not await self._harmed(harm, piece, writer):
                return
            await writer.drain()

    def _drawn(self) -> Harm | None:
        if not self.is_armed:
            return None
        self.replies += 1
        luck = self._chance.random()
        for harm, share in self._harms.items():
            luck -= share
            if luck < 0:
                self.done[harm] += 1
                return harm
        return None

    async def _harmed(self, harm: Harm, piece: bytes, writer: asyncio.StreamWriter) -> bool:
        """Do *harm* to a reply; tell whether the connection goes on."""
        if harm is Harm.DELAY:
            await asyncio.sleep(DELAY_SECONDS)
            writer.write(piece)
        elif harm is Harm.TRICKLE:
            for place in range(min(len(piece), TRICKLED_AT_MOST)):
                writer.write(piece[place : place + 1])
                await writer.drain()
                await asyncio.sleep(TRICKLE_SECONDS)
            writer.write(piece[TRICKLED_AT_MOST:])
        elif harm is Harm.BLACK_HOLE:
            await asyncio.sleep(3600)
        elif harm is Harm.HALF_CLOSE:
            writer.write(piece[: len(piece) // 2])
            writer.write_eof()
            await asyncio.sleep(3600)
        elif harm is Harm.RESET:
            _reset(writer)
        return harm in (Harm.DELAY, Harm.TRICKLE)


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()


async def _cancel_all() -> None:
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
