"""Plays scenes through the Claude Agent SDK: its own Claude Code, before a scripted model."""

from __future__ import annotations

import asyncio
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, get_type_hints
from uuid import NAMESPACE_URL, uuid5

from claude_agent_sdk import (
    ClaudeAgentOptions,
    ClaudeSDKClient,
    ResultMessage,
    SdkMcpTool,
    create_sdk_mcp_server,
)
from claude_model import Asks, ClaudeModel

from kiff_guard.adapters.claude_agent_sdk import attach
from kiff_guard.conformance import Played, Scene, ToolCall, stoppable

SERVER = "shop"
PREFIX = f"mcp__{SERVER}__"
MODEL = "claude-sonnet-4-5"
_JSON = {str: {"type": "string"}, float: {"type": "number"}, int: {"type": "integer"}, bool: {"type": "boolean"}}


class ClaudeAgentSdk:
    """Hooks, in sessions of the SDK's client. It knows no other way than an asynchronous one."""

    name = "claude_agent_sdk"
    version = version("claude-agent-sdk")
    streams = False
    stacks = True
    lacks: Mapping[str, str] = {
        "K1": "a cancelled run ends Claude Code, which says nothing more of its tools: the receipt says unknown",
    }

    @staticmethod
    def error_tool(order_id: str) -> dict[str, Any]:
        """Say that it failed."""
        return {"content": [{"type": "text", "text": f"no {order_id}"}], "is_error": True}

    async def aplay(self, scene: Scene) -> Played:
        return await Session(scene).run()


class Session:
    """One scene, from its first prompt to its last resumption."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.home = tempfile.mkdtemp(prefix="claude-")
        self.model = ClaudeModel([[asks(call) for call in turn] for turn in scene.turns])
        self.guards: dict[int, Any] = {id(guard): Unprefixed(guard) for guard in scene.guards}
        self.claude = ""

    async def run(self) -> Played:
        try:
            session = str(uuid5(NAMESPACE_URL, self.scene.session))
            result = await stoppable(self._ask("go", session_id=session), self.scene.cancel)
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            self._end()
            return Played(self.model.said(), error)
        return self._played(result)

    async def _ask(self, prompt: str | None, **more: Any) -> ResultMessage:
        tools = [as_tool(function, name) for name, function in self.scene.tools.items()]
        options = options_for(self.model, self.home, tools, **more)
        for guard in self.scene.guards:
            options = attach(self.guards[id(guard)], options, pause=True)
        return await ask(options, prompt)

    def _played(self, result: ResultMessage) -> Played:
        deferred = result.deferred_tool_use
        if deferred is None:
            self._end()
            return Played(self.model.said())
        self.claude = result.session_id
        held = [each.approval_id for each in self.scene.guard.receipts if each.call_id == deferred.id]
        return Played(self.model.said(), paused=held[-1:], resume=self._resume)

    def _resume(self, yes: bool) -> Played:
        """Resuming the session is all that the SDK knows: its hook asks KIFF again. Whoever says no does not resume."""
        if not yes:
            self._end()
            return Played(self.model.said())
        return self._played(asyncio.run(self._ask(None, resume=self.claude)))

    def _end(self) -> None:
        self.model.close()
        shutil.rmtree(self.home, ignore_errors=True)


class Unprefixed:
    """The guard of a scene, which knows tools without the name of their server. Nothing else is different."""

    def __init__(self, guard: Any) -> None:
        self._guard = guard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._guard, name)

    async def adecide_only(self, tool: str, *about: Any, **more: Any) -> Any:
        return await self._guard.adecide_only(tool.removeprefix(PREFIX), *about, **more)


async def ask(options: ClaudeAgentOptions, prompt: str | None) -> ResultMessage:
    """How a run ended: one that a prompt begins, or, without a prompt, one that goes on where it was deferred."""
    async with ClaudeSDKClient(options) as client:
        if prompt is not None:
            await client.query(prompt)
        async for message in client.receive_response():
            if isinstance(message, ResultMessage):
                return message
    raise AssertionError("the run ended without a result")


def options_for(model: ClaudeModel, home: str, tools: Sequence[Any] = (), **more: Any) -> ClaudeAgentOptions:
    """Options for a run that nothing outside of the test has a part in."""
    made = [each if isinstance(each, SdkMcpTool) else as_tool(each) for each in tools]
    given: dict[str, Any] = {
        "mcp_servers": {SERVER: create_sdk_mcp_server(SERVER, tools=made)} if made else {},
        "allowed_tools": [f"{PREFIX}{each.name}" for each in made],
        "setting_sources": [],
        "cwd": home,
        "model": MODEL,
        "max_turns": 8,
        "env": environment(model, home),
        **more,
    }
    return ClaudeAgentOptions(**given)


def environment(model: ClaudeModel, home: str) -> dict[str, str]:
    """What Claude Code needs to know, and to leave alone."""
    return {
        "ANTHROPIC_API_KEY": "sk-ant-nobody",
        "ANTHROPIC_BASE_URL": model.url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "CLAUDE_CONFIG_DIR": os.path.join(home, "config"),
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "HOME": home,
        "IS_SANDBOX": "1",
        "PATH": os.environ["PATH"],
    }


def asks(call: ToolCall, prefix: str = PREFIX) -> Asks:
    return Asks(f"{prefix}{call.tool}", dict(call.args), call.call_id)


def as_tool(function: Callable[..., Any], name: str = "") -> SdkMcpTool[Any]:
    """A plain function as a tool of an MCP server in this process."""

    async def run(args: dict[str, Any]) -> dict[str, Any]:
        result = function(**args)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, dict) and "content" in result:
            return result
        return {"content": [{"type": "text", "text": str(result)}]}

    hints = get_type_hints(function)
    given = inspect.signature(function).parameters
    needed = [each for each in given if given[each].default is inspect.Parameter.empty]
    schema = {"type": "object", "properties": {each: _shape(hints[each]) for each in given}, "required": needed}
    return SdkMcpTool(name or function.__name__, function.__doc__ or "", schema, run)


def _shape(hint: Any) -> dict[str, Any]:
    return _JSON.get(hint) or {"type": "array", "items": {"type": "string"}}
