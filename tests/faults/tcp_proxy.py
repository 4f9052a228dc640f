"""A bad network between a client and a server: a TCP proxy that does to a connection what a Fault says.

    with Proxy(port) as proxy:                  # clients connect to proxy.port
        proxy.arm(Fault("cut", "down", 0))      # the next reply is lost, whichever connection brings it

A fault strikes once exactly `after` bytes have passed in its direction and one more arrives. So ("cut", "down", 0)
lets a request through whole and loses all of its reply, and ("cut", "up", 0) loses the request. What each kind does:

    delay       from there on, every chunk of that direction waits `seconds`
    drop        a black hole: both directions are swallowed, both sides stay connected until one of them closes
    half-close  the end of that direction is told, and the rest of it swallowed; the other direction goes on
    cut         both sides see the connection end
    reset       both sides get RST
    duplicate   from its first byte on, the server gets the whole connection twice: a second connection carries the
                same bytes, and what it is answered is thrown away. It is of a connection, so `arm` does not take it.

To a database a request is sent twice by its client, not by the network: ("reset", "down", 0) makes it do so. A
duplicated connection is more than that, another session that says the same.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple, Self, get_args

Kind = Literal["delay", "drop", "half-close", "cut", "reset", "duplicate"]
Toward = Literal["up", "down"]
KINDS: tuple[Kind, ...] = get_args(Kind)

CHUNK = 1 << 16
RST_AT_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger."""


class Fault(NamedTuple):
    """What happens to a connection, and when: see the module.

    Attributes:
        toward: the direction whose bytes are counted; up is to the server.
    """

    kind: Kind
    toward: Toward = "up"
    after: int = 0
    seconds: float = 0.02


Side = tuple[StreamReader, StreamWriter]
Plan = Callable[[int], Fault | None]
"""What happens to the n-th connection, counted from 0."""


def untouched(_number: int) -> Fault | None:
    return None


def drawn(seed: int, *, kinds: Sequence[Kind] = KINDS, within: int = 4096, one_in: int = 2) -> Plan:
    """A plan drawn from a seed, which it prints: the same seed does the same to the n-th connection.

    Args:
        within: the fault strikes within so many bytes.
        one_in: how many connections there are to one that is struck.
    """
    print(f"proxy seed {seed}")

    def plan(number: int) -> Fault | None:
        draw = random.Random(f"{seed}/{number}")
        if draw.randrange(one_in):
            return None
        return Fault(draw.choice(kinds), draw.choice(("up", "down")), draw.randrange(within))

    return plan


class _Fuse:
    """A fault that has not struck, and how many bytes may still pass."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self._left = fault.after

    def burn(self, toward: Toward, size: int) -> int | None:
        """How many of these bytes pass before it strikes; None if it does not strike now."""
        if toward != self.fault.toward:
            return None
        if size > self._left:
            return self._left
        self._left -= size
        return None


class Proxy:
    """Listens on a port of its own and passes every connection on, with the faults of a plan and those armed.

    Attributes:
        struck: how many faults of each kind have struck.
        passed: how many bytes have arrived, by direction.
    """

    def __init__(self, port: int, plan: Plan = untouched) -> None:
        self._upstream = port
        self._plan = plan
        self._armed: _Fuse | None = None
        self._connections: set[_Connection] = set()
        self._accepted = 0
        self.struck: Counter[Kind] = Counter()
        self.passed: Counter[Toward] = Counter()
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_raised: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def arm(self, fault: Fault) -> None:
        """Strikes one connection: the one that brings the byte after `after` of them, counted from now over all."""
        assert fault.kind != "duplicate", "a connection is duplicated from its first byte: give the proxy a plan"
        self._armed = _Fuse(fault)

    def disarm(self) -> None:
        self._armed = None

    def strike_all(self, kind: Kind) -> None:
        """Strikes every connection there is, at once."""
        self._loop.call_soon_threadsafe(self._strike_all, Fault(kind))

    def burn(self, toward: Toward, size: int) -> tuple[int, Fault] | None:
        """Burns the armed fuse: how many of these bytes pass, and what happens then."""
        fuse = self._armed
        left = fuse.burn(toward, size) if fuse else None
        if fuse is None or left is None:
            return None
        self._armed = None
        return left, fuse.fault

    def _strike_all(self, fault: Fault) -> None:
        for connection in list(self._connections):
            connection.strike(fault)

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=256)
        self.port: int = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._ended.wait()
        server.close()
        for connection in list(self._connections):
            connection.end()
        while self._connections:
            await asyncio.sleep(0.001)

    async def _accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        fault = self._plan(self._accepted)
        self._accepted += 1
        client = (reader, writer)
        twice = fault is not None and fault.kind == "duplicate"
        try:
            servers = [await asyncio.open_connection("127.0.0.1", self._upstream) for _ in range(2 if twice else 1)]
        except OSError:  # nobody listens there, and so nobody listens here
            _reset(writer)
            return
        connection = _Connection(self, client, servers, fault)
        self._connections.add(connection)
        try:
            await connection.pass_on()
        finally:
            connection.end()
            self._connections.discard(connection)


class _Connection:
    """One client's connection, and the server's end of it: two of those if it is duplicated."""

    def __init__(self, proxy: Proxy, client: Side, servers: Sequence[Side], fault: Fault | None) -> None:
        self._proxy = proxy
        self._client = client
        self._servers = servers
        self._fuse = _Fuse(fault) if fault and fault.kind != "duplicate" else None
        self._seconds: dict[Toward, float] = {}
        self._swallowed: set[Toward] = set()
        self._over = False
        if len(servers) > 1:
            proxy.struck["duplicate"] += 1

    async def pass_on(self) -> None:
        """Until both directions have ended."""
        [server, *others] = self._servers
        pumps = [self._pump("up", self._client[0]), self._pump("down", server[0])]
        await asyncio.gather(*pumps, *(_thrown_away(reader) for reader, _ in others))

    def strike(self, fault: Fault) -> None:
        self._proxy.struck[fault.kind] += 1
        match fault.kind:
            case "delay":
                self._seconds[fault.toward] = fault.seconds
            case "drop":
                self._swallowed = {"up", "down"}
            case "half-close":
                self._tell_end(fault.toward)
                self._swallowed.add(fault.toward)
            case "cut":
                self.end()
            case "reset":
                self._over = True
                for writer in self._writers():
                    _reset(writer)

    def end(self) -> None:
        self._over = True
        for writer in self._writers():
            writer.close()

    async def _pump(self, toward: Toward, reader: StreamReader) -> None:
        with suppress(ConnectionError):  # one of the sides has gone: so does the other
            while chunk := await reader.read(CHUNK):
                self._proxy.passed[toward] += len(chunk)
                if struck := self._burn(toward, len(chunk)):
                    left, fault = struck
                    await self._send(toward, chunk[:left])
                    self.strike(fault)
                    chunk = chunk[left:]
                await self._send(toward, chunk)
            if toward in self._swallowed:
                return self.end()
            return self._tell_end(toward)
        self.end()

    def _burn(self, toward: Toward, size: int) -> tuple[int, Fault] | None:
        """The connection's own fault comes before the one that is armed for all."""
        if self._fuse and (left := self._fuse.burn(toward, size)) is not None:
            fault, self._fuse = self._fuse.fault, None
            return left, fault
        return self._proxy.burn(toward, size)

    async def _send(self, toward: Toward, data: bytes) -> None:
        if toward in self._seconds:
            await asyncio.sleep(self._seconds[toward])
        if self._over or toward in self._swallowed:
            return
        for writer in self._writers(toward):
            writer.write(data)
            await writer.drain()

    def _tell_end(self, toward: Toward) -> None:
        for writer in self._writers(toward):
            with suppress(OSError, RuntimeError):  # it has gone, or was told
                writer.write_eof()

    def _writers(self, toward: Toward | None = None) -> list[StreamWriter]:
        up = [writer for _, writer in self._servers]
        return up if toward == "up" else [self._client[1]] if toward == "down" else [*up, self._client[1]]


async def _thrown_away(reader: StreamReader) -> None:
    with suppress(ConnectionError):
        while await reader.read(CHUNK):
            pass


def _reset(writer: StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_AT_CLOSE)
    writer.transport.abort()
