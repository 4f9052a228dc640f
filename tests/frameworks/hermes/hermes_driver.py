"""Plays scenes through Hermes: a real agent, a model server on this machine, and the plugin in its plugin manager."""

from __future__ import annotations

import atexit
import inspect
import json
import os
import queue
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

HOME = Path(tempfile.mkdtemp(prefix="hermes-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["HERMES_HOME"] = str(HOME)  # read as Hermes is imported
for bundle in ("HERMES_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
    os.environ.pop(bundle, None)  # every agent reads each of them again, and none asks anybody but this machine
CONFIG = "model:\n  default: scripted\n  context_length: 256000\n"  # else Hermes looks for it on the net
(HOME / "config.yaml").write_text(CONFIG, "utf-8")

from hermes_cli.plugins import PluginContext, PluginManifest, discover_plugins, get_plugin_manager  # noqa: E402
from hermes_model import Model  # noqa: E402
from run_agent import AIAgent  # noqa: E402
from tools import approval  # noqa: E402
from tools.registry import registry  # noqa: E402
from tools.terminal_tool import set_approval_callback  # noqa: E402

from kiff_guard.adapters.hermes import attach  # noqa: E402
from kiff_guard.conformance import Played, Scene  # noqa: E402

TOOLSET = "scene"
KINDS = {str: "string", float: "number", int: "integer", bool: "boolean", list: "array"}
_one_guard = threading.Lock()


class Hermes:
    """The plugin, and a person at the prompt."""

    name = "hermes"
    version = version("hermes-agent")
    stacks = True
    lacks: Mapping[str, str] = {"C2": "Hermes drops a call that repeats another one of the same turn"}

    @staticmethod
    def error_tool(order_id: str) -> str:
        """Fail, and say so as Hermes' own tools do."""
        return json.dumps({"error": f"{order_id} is locked"})

    def play(self, scene: Scene) -> Played:
        give(scene.tools)
        with _one_guard:
            if attached() != scene.guards:
                forget_plugins()
                for guard in scene.guards:
                    attach(guard)
        run = Run(scene)
        run.start()
        return run.next()


class Run(threading.Thread):
    """One run of an agent in a thread of its own, so that the prompt can wait for its answer."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(daemon=True)
        self.scene = scene
        self.model = Model(scene.turns)
        self.news: queue.Queue[Played] = queue.Queue()
        self.answers: queue.Queue[bool] = queue.Queue()

    def next(self) -> Played:
        """The end of the run, or the next question at its prompt."""
        return self.news.get(timeout=60)

    def run(self) -> None:
        raised = None
        try:
            with at_a_prompt(self.ask):
                ended = agent_of(self.model, self.scene.session).run_conversation("go")
            self.model.reads(ended["messages"])
        except BaseException as error:  # noqa: BLE001  # the suite asks what ended the run
            raised = error
        finally:
            self.model.close()
        self.news.put(Played(self.model.said(), raised))

    def ask(self, target: str, about: str, **_: Any) -> str:
        def resume(yes: bool) -> Played:
            self.answers.put(yes)
            return self.next()

        self.news.put(Played([], None, re.findall(r"appr_\w+", about)[:1], resume))
        return "once" if self.answers.get(timeout=60) else "deny"


def agent_of(model: Model, session: str = "session-1", toolsets: Sequence[str] = (TOOLSET,)) -> AIAgent:
    return AIAgent(
        base_url=model.url,
        api_key="none",
        model="scripted",
        provider="custom",
        quiet_mode=True,
        enabled_toolsets=list(toolsets),
        max_iterations=8,
        skip_context_files=True,
        skip_memory=True,
        tool_delay=0,
        session_id=session,
    )


@contextmanager
def at_a_prompt(ask: Callable[..., str]) -> Iterator[None]:
    """Somebody sits at this thread's terminal and answers once, session, always or deny."""
    os.environ["HERMES_INTERACTIVE"] = "1"
    set_approval_callback(ask)
    try:
        yield
    finally:
        set_approval_callback(None)
        os.environ.pop("HERMES_INTERACTIVE", None)


def context(name: str = "scene") -> PluginContext:
    """What Hermes gives a plugin's `register`."""
    discover_plugins()
    return PluginContext(PluginManifest(name=name, source="user"), get_plugin_manager())


def forget_plugins() -> None:
    get_plugin_manager()._hooks.clear()
    get_plugin_manager()._middleware.clear()


def forget_answers() -> None:
    """Hermes keeps what a person said for the session or for good."""
    approval._permanent_approved.clear()
    approval._session_approved.clear()


def attached() -> tuple[Any, ...]:
    """The guards that vote now."""
    callbacks = get_plugin_manager()._hooks.get("pre_tool_call", ())
    return tuple(each.__self__.guard for each in callbacks if hasattr(each, "__self__"))


def give(tools: Mapping[str, Callable[..., Any]]) -> None:
    """Registers plain functions as Hermes' plugins do, in the place of those from before."""
    for name in registry.get_all_tool_names():
        if registry.get_entry(name).toolset == TOOLSET:
            registry.deregister(name)
    for name, tool in tools.items():
        is_async = inspect.iscoroutinefunction(tool)
        context().register_tool(name, TOOLSET, _schema(name, tool), _handler(tool), is_async=is_async)


def _handler(tool: Callable[..., Any]) -> Callable[..., Any]:
    def handle(args: dict[str, Any], **_: Any) -> Any:
        return tool(**args)

    return handle


def _schema(name: str, tool: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(tool, eval_str=True).parameters.values()
    properties = {each.name: {"type": KINDS.get(each.annotation, "array")} for each in parameters}
    required = [each.name for each in parameters if each.default is each.empty]
    return {
        "name": name,
        "description": tool.__doc__ or name,
        "parameters": {"type": "object", "properties": properties, "required": required},
    }
