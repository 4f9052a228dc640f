"""KIFF's guard: puts a decision in front of every tool call of an AI agent, and a receipt behind it.

    from kiff_guard import Guard

    guard = Guard(mode="observe")
    refund = guard.wrap(refund)

Standard library only. Frameworks are imported by their adapters (`kiff_guard.adapters`), when those are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from kiff_guard.catalog import Catalog
from kiff_guard.decision import Decision, Hold
from kiff_guard.guard import Guard
from kiff_guard.receipt import Receipt
from kiff_guard.version import VERSION

if TYPE_CHECKING:
    from kiff_guard.client import Client, HTTPClient
    from kiff_guard.draft import export_yaml
    from kiff_guard.errors import ActionFailed, GuardError
    from kiff_guard.ledgers import JSONLLedger, MemoryLedger
    from kiff_guard.observation import (
        DraftResult,
        DraftSaver,
        GuardConnection,
        GuardConnector,
        GuardObservation,
        GuardToolObservation,
        ObservationPusher,
    )
    from kiff_guard.redaction import redact_names, redact_secrets
    from kiff_guard.tool_map import ToolBinding, ToolMap

__version__ = VERSION

# Imported when they are first used: an agent that only observes pays for none of them.
_HOME = {
    "ActionFailed": "kiff_guard.errors",
    "Client": "kiff_guard.client",
    "DraftResult": "kiff_guard.observation",
    "DraftSaver": "kiff_guard.observation",
    "GuardConnection": "kiff_guard.observation",
    "GuardConnector": "kiff_guard.observation",
    "GuardError": "kiff_guard.errors",
    "GuardObservation": "kiff_guard.observation",
    "GuardToolObservation": "kiff_guard.observation",
    "HTTPClient": "kiff_guard.client",
    "JSONLLedger": "kiff_guard.ledgers",
    "MemoryLedger": "kiff_guard.ledgers",
    "ObservationPusher": "kiff_guard.observation",
    "ToolBinding": "kiff_guard.tool_map",
    "ToolMap": "kiff_guard.tool_map",
    "export_yaml": "kiff_guard.draft",
    "redact_names": "kiff_guard.redaction",
    "redact_secrets": "kiff_guard.redaction",
}

__all__ = [
    "ActionFailed",
    "Catalog",
    "Client",
    "Decision",
    "DraftResult",
    "DraftSaver",
    "Guard",
    "GuardConnection",
    "GuardConnector",
    "GuardError",
    "GuardObservation",
    "GuardToolObservation",
    "HTTPClient",
    "Hold",
    "JSONLLedger",
    "MemoryLedger",
    "ObservationPusher",
    "Receipt",
    "ToolBinding",
    "ToolMap",
    "export_yaml",
    "redact_names",
    "redact_secrets",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module `kiff_guard` has no `{name}`")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
