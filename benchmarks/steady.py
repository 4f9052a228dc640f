"""A load that does not wait: decisions come at a steady rate, however long the ones before them take.

Each wait counts from the instant the decision was due, so a stall of the server shows in everything it delayed.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import Counter

from msgspec import Struct, field, json

CONNECTIONS = 64
BODY = (
    b'{"entity_id": "%d", "entity_type": "order", "action_name": "NOTE", "actor_id": "ops-agent",'
    b' "parameters": {"amount": 49.0, "reason": "customer request"}}'
)


class Told(Struct):
    """What came back.

    Args:
        waits: milliseconds of each answer, sorted.
        errors: what went wrong, and how often.
        receipts: those that were acknowledged.
    """

    waits: array[float] = field(default_factory=lambda: array("f"))
    errors: Counter[str] = field(default_factory=Counter)
    receipts: list[str] = field(default_factory=list)

    def at(self, share: float) -> float:
        return self.waits[min(len(self.waits) - 1, int(len(self.waits) * share))]


class _Answer(Struct):
    outcome: str = ""
    code: str = ""
    receipt_id: str = ""


def steadily(port: int, key: str, rate: float, seconds: float, entities: int) -> Told:
    """Asks for so many decisions a second, of entities in turn, and waits for the last answer."""
    return asyncio.run(_steadily(port, key, rate, seconds, entities))


async def _steadily(port: int, key: str, rate: float, seconds: float, entities: int) -> Told:
    told = Told()
    due: asyncio.Queue[tuple[float, int] | None] = asyncio.Queue()
    connections = [asyncio.create_task(_connection(port, key, due, told)) for _ in range(CONNECTIONS)]
    started = time.perf_counter()
    for number in range(int(rate * seconds)):
        at = started + number / rate
        wait = at - time.perf_counter()
        if wait > 0:
            await asyncio.sleep(wait)
        due.put_nowait((at, number % entities))
    for _ in connections:
        due.put_nowait(None)
    await asyncio.gather(*connections)
    told.waits = array("f", sorted(told.waits))
    return told


async def _connection(port: int, key: str, due: asyncio.Queue[tuple[float, int] | None], told: Told) -> None:
    """Sends what is due, one after the other; a connection that breaks is an error, and is made again."""
    line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while (next_ := await due.get()) is not None:
        at, entity = next_
        try:
            line = line or await asyncio.open_connection("127.0.0.1", port)
            status, answer = await _asked(*line, _request(key, BODY % entity))
        except (OSError, EOFError, ValueError) as error:
            told.errors[type(error).__name__] += 1
            if line is not None:
                line[1].close()
            line = None
            continue
        told.waits.append((time.perf_counter() - at) * 1e3)
        if status == 200 and answer.outcome == "allowed":
            told.receipts.append(answer.receipt_id)
        else:
            told.errors[f"{status} {answer.code or answer.outcome}"] += 1
    if line is not None:
        line[1].close()
        await line[1].wait_closed()


async def _asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> tuple[int, _Answer]:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    _, _, rest = head.partition(b"\r\ncontent-length:")
    body = await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
    return int(head[9:12]), json.decode(body, type=_Answer)


def _request(key: str, body: bytes) -> bytes:
    lines = "POST /v1/proposals/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{lines}Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
