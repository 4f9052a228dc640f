"""Where receipts go: memory, a file of the guard's own, a KIFF server, or several of them.

A ledger is anything with `append(receipt)`, so a plain list is one. With `open(receipt)` it also keeps that a call is
about to run; with `blocking = True` a guard calls it beside its event loop; `close()` is called at the end.
Modules are imported when they are asked for: a guard with none of them should not pay for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kiff_guard.ledgers.jsonl import JSONLLedger
    from kiff_guard.ledgers.memory import MemoryLedger
    from kiff_guard.ledgers.server import ServerLedger
    from kiff_guard.ledgers.several import Ledgers

__all__ = ["JSONLLedger", "Ledgers", "MemoryLedger", "ServerLedger"]

_IN = {"JSONLLedger": "jsonl", "Ledgers": "several", "MemoryLedger": "memory", "ServerLedger": "server"}


def __getattr__(name: str) -> Any:
    if name not in _IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_IN[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
