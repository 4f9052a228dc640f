"""Operations as calls of MCP tools: one session for each server, in one event loop of its own thread.

A server is started, or connected to, by the first call, and again when it is gone. Before a call its tools are listed:
that shows whether it is there and has the tool, while nothing was sent yet. Then the call is sent once, whatever
happens to it.

    it cannot be reached, or has no such tool       failed: nothing was sent
    the request was refused (method, parameters)    failed: no tool ran
    a result                                        succeeded, with it as the output; or the outcome that it spells out
    `isError`                                       unknown, unless the operator says what this server's errors mean
    anything else                                   unknown: it may have happened
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from kiff.protocol.instant import rfc3339
from kiff.runtime.executors import OUTPUT_BYTES, Operation
from kiff.server.https_executor import traceparent
from kiff.server.outcome import Outcome, failed, unknown
from kiff.server.remote_settings import McpServer

if TYPE_CHECKING:
    from mcp import ClientSession
    from mcp.types import CallToolResult, RequestParamsMeta

ANSWER_BYTES = 1_048_576
"""What is read of one HTTP answer of a server. A server that is a program here is not bounded so."""
CLOSING_SECONDS = 10.0
_PAGES = 100
_REFUSED = frozenset({-32601, -32602})
"""JSON-RPC: no such method, wrong parameters."""
_REPORT = frozenset({"status", "message", "output", "events"})


class McpServers:
    """The servers that the operator named. Usable from any thread.

    Args:
        servers: name -> how it is reached.
    """

    def __init__(self, servers: Mapping[str, McpServer]) -> None:
        self._servers = {name: _Server(name, how) for name, how in servers.items()}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def run(self, name: str, tool: str, operation: Operation, seconds: float) -> Outcome:
        """Has an operation done by a tool, within so many seconds."""
        calling = self._servers[name].call(tool, operation, time.monotonic() + seconds)
        running = asyncio.run_coroutine_threadsafe(calling, self._running())
        try:
            return running.result()
        except CancelledError:
            return unknown("KIFF is closing: it may have happened", reached=True)

    def close(self) -> None:
        """Ends the sessions, and the programs that were started for them."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join(CLOSING_SECONDS)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="kiff-mcp", daemon=True)
                self._thread.start()
            return self._loop


class _Server:
    """One server and its session. Everything here runs in the loop.

    Attributes:
        calls: how many are in work on the session.
        ending: sessions that are being closed.
    """

    def __init__(self, name: str, how: McpServer) -> None:
        self._name = name
        self._how = how
        self._turn = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._session: ClientSession | None = None
        self._calls = 0
        self._ending: set[asyncio.Task[None]] = set()

    async def call(self, tool: str, operation: Operation, deadline: float) -> Outcome:
        self._calls += 1
        try:
            session, why = await self._ready(tool, deadline)
            if session is None:
                return failed(f"nothing was sent to `{self._name}`: {why}", reached="no tool" in why)
            return await self._called(session, tool, operation, deadline)
        finally:
            self._calls -= 1

    async def _ready(self, tool: str, deadline: float) -> tuple[ClientSession | None, str]:
        """A session that has the tool; or None, and why there is none."""
        why = ""
        for _ in range(2):  # a session that is gone is noticed here, and a second one opened
            try:
                async with asyncio.timeout_at(_at(deadline)):
                    async with self._turn:
                        session = self._session or await self._opened()
                    if await _has(session, tool):
                        return session, ""
                    return None, f"it has no tool `{tool}`"
            except TimeoutError:
                await self._drop(only_idle=True)
                return None, "it did not answer in time"
            except Exception as error:  # noqa: BLE001  whatever a transport raises, no tool was called
                await self._drop()
                why = f"it cannot be reached ({type(error).__name__})"
        return None, why

    async def _called(self, session: ClientSession, tool: str, operation: Operation, deadline: float) -> Outcome:
        from mcp.shared.exceptions import MCPError

        try:
            async with asyncio.timeout_at(_at(deadline)):
                result = await session.call_tool(tool, dict(operation.parameters), meta=_meta(operation))
        except MCPError as error:
            if error.code in _REFUSED:
                return failed(f"`{self._name}` did not take the call (code {error.code})")
            await self._drop(only_idle=True)
            return unknown(f"`{self._name}` answered with code {error.code}: it may have happened", reached=False)
        except TimeoutError:
            await self._drop(only_idle=True)
            return unknown(f"`{self._name}` did not answer in time: it may have happened", reached=False)
        except Exception as error:  # noqa: BLE001  whatever a transport raises, the tool may have run
            await self._drop(only_idle=True)
            return unknown(f"`{self._name}`: {type(error).__name__}, and it may have happened", reached=False)
        return _read(result, self._how)

    async def _opened(self) -> ClientSession:
        """Starts the task that holds a session: it has to be closed by the task that opened it."""
        ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(ready))
        try:
            return await ready
        except asyncio.CancelledError:
            self._keeper.cancel()
            raise

    async def _keep(self, ready: asyncio.Future[ClientSession]) -> None:
        from mcp import Client

        mine: ClientSession | None = None
        try:
            async with Client(_transport(self._how), cache=None) as client:
                mine = self._session = client.session
                if not ready.done():
                    ready.set_result(mine)
                await asyncio.Event().wait()
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error if isinstance(error, Exception) else ConnectionError("it was called off"))
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            if self._session is mine:
                self._session = None

    async def _drop(self, *, only_idle: bool = False) -> None:
        """Ends the session, so that the next call opens one; not while others wait for it, if it may still work."""
        if self._keeper is not None and not (only_idle and self._calls > 1):
            keeper, self._keeper, self._session = self._keeper, None, None
            self._ending.add(keeper)
            keeper.add_done_callback(self._ending.discard)
            keeper.cancel()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Runs a loop until it is stopped, and lets everything in it end."""
    try:
        loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            if not task.cancelling():  # a second time would break into the closing of a session
                task.cancel()
        loop.run_until_complete(_ended(tasks))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _ended(tasks: set[asyncio.Task[Any]]) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSING_SECONDS)


def _at(deadline: float) -> float:
    """A deadline of this process's monotonic clock, by the loop's."""
    return asyncio.get_running_loop().time() + max(0.0, deadline - time.monotonic())


async def _has(session: ClientSession, tool: str) -> bool:
    """Whether the server lists a tool of that name. The listing also tells the session what the tool returns."""
    from mcp.types import PaginatedRequestParams

    cursor: str | None = None
    for _ in range(_PAGES):
        listed = await session.list_tools(params=PaginatedRequestParams(cursor=cursor))
        if any(each.name == tool for each in listed.tools):
            return True
        cursor = listed.next_cursor
        if cursor is None:
            break
    return False


def _meta(operation: Operation) -> RequestParamsMeta:
    """What a tool is told beside its arguments."""
    told: dict[str, Any] = {
        "kiff/operation_id": operation.id,
        "kiff/tenant": operation.tenant,
        "kiff/entity": f"{operation.entity_type}:{operation.entity_id}",
        "kiff/action": operation.action,
        "kiff/principal": operation.principal,
        "kiff/deadline": rfc3339(operation.deadline),
        "kiff/fencing": operation.fencing,
        "kiff/receipt_id": operation.receipt_id,
    }
    parent = traceparent(operation)
    return cast("RequestParamsMeta", told if parent is None else {**told, "traceparent": parent})


def _read(result: CallToolResult, how: McpServer) -> Outcome:
    text = "\n".join(block.text for block in result.content if block.type == "text")
    if len(text) > OUTPUT_BYTES:
        return unknown("the tool's answer is too long: it may have happened")
    if result.is_error:
        told = f"the tool reports an error: {text}" if text else "the tool reports an error"
        return failed(told) if how.errors == "failed" else unknown(f"it may have happened; {told}")
    said = result.structured_content
    if isinstance(said, dict) and (said.get("status") == "failed" or _is_report(said)):
        return Outcome(said)
    return Outcome({"status": "succeeded", "output": text if said is None else said})


def _is_report(said: Mapping[str, Any]) -> bool:
    """Whether a tool was written for KIFF, and says what an executor says."""
    return said.get("status") == "succeeded" and said.keys() <= _REPORT


def _transport(how: McpServer) -> Any:
    if how.url:
        return _over_http(how)
    from mcp.client.stdio import StdioServerParameters

    return _as_program(StdioServerParameters(command=how.command, args=list(how.args), env=how.env))


@asynccontextmanager
async def _as_program(parameters: Any) -> AsyncIterator[Any]:
    """A program here. What it writes on stderr is dropped: KIFF's own is lines of JSON."""
    from mcp.client.stdio import stdio_client

    with open(os.devnull, "w") as nowhere:
        async with stdio_client(parameters, errlog=nowhere) as streams:
            yield streams


@asynccontextmanager
async def _over_http(how: McpServer) -> AsyncIterator[Any]:
    """A server at the operator's URL: neither proxies of the environment nor redirects take part."""
    import httpx2
    from mcp.client.streamable_http import streamable_http_client

    from kiff.server.bounded_http import BoundedTransport

    timeout = httpx2.Timeout(30.0, read=None)  # the call's own deadline is over it
    transport = BoundedTransport(ANSWER_BYTES)
    async with (
        httpx2.AsyncClient(headers=how.headers, timeout=timeout, transport=transport, trust_env=False) as client,
        streamable_http_client(how.url, http_client=client) as streams,
    ):
        yield streams
