"""One thin file for each agent framework. Importing one needs no framework; using it does.

Each has the same two verbs: `hook(guard)` makes what the framework takes at the place where tool calls pass,
`attach(guard, agent)` puts it into an agent that is there already.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from kiff_guard.errors import ActionFailed, MissingFramework


def framework(module: str, *, extra: str) -> Any:
    """A module of a framework, imported now.

    Args:
        module: its dotted name.
        extra: the extra of kiff-guard that brings it.

    Raises:
        MissingFramework: it is not installed; the message says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is not None and error.name.partition(".")[0] != top:
            raise
        raise MissingFramework(f"`{module}` is needed and not installed: pip install 'kiff-guard[{extra}]'") from error


class Refusal(str):
    """What a model is told instead of a result. Of two guards the outer one sees by it that nothing ran."""


def refused(result: Any) -> ActionFailed | None:
    """Why a result is none: another guard, nearer to the tool, withheld the call."""
    return ActionFailed(str(result)) if isinstance(result, Refusal) else None


class ArgumentsDoNotFit(ActionFailed):
    """A framework would not call a tool with the arguments it got, so the tool never began.

    Args:
        error: how the framework says so; what it is to be told again.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error
