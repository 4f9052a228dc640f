"""KIFF: the control tower between AI agents and the real world.

An agent proposes an action on an entity; KIFF decides, before anything happens, whether it may run, records
every step in a log that anyone can verify and replay, and signs a receipt for every decision.

    with kiff.open_runtime("refunds.db", domains=[kiff.load(text)], executors={"refund.issue": issue}) as runtime:
        answer = runtime.execute(caller, entity="order:ord_001", action="AUTO_REFUND", parameters={...}).result()

Names are imported when they are first used, so that a command that needs one of them does not pay for all.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kiff.client import Client
    from kiff.domain import Domain, Issue, Policy, Transition, check, check_policy, load, load_policy
    from kiff.embedded import open_runtime
    from kiff.errors import ActionFailed, KiffError, Unfinished
    from kiff.protocol.action import ActionContract, Approval, ApprovalPolicy, Emits, Lock, Risk, Rule
    from kiff.protocol.actor import Caller, Principal
    from kiff.protocol.limit import Limit
    from kiff.runtime import Operation, Pending, Runtime

__version__ = "0.1.0"

_HOME = {
    "ActionContract": "kiff.protocol.action",
    "ActionFailed": "kiff.errors",
    "Approval": "kiff.protocol.action",
    "ApprovalPolicy": "kiff.protocol.action",
    "Caller": "kiff.protocol.actor",
    "Client": "kiff.client",
    "Domain": "kiff.domain",
    "Emits": "kiff.protocol.action",
    "Issue": "kiff.domain",
    "KiffError": "kiff.errors",
    "Limit": "kiff.protocol.limit",
    "Lock": "kiff.protocol.action",
    "Operation": "kiff.runtime",
    "Pending": "kiff.runtime",
    "Policy": "kiff.domain",
    "Principal": "kiff.protocol.actor",
    "Risk": "kiff.protocol.action",
    "Rule": "kiff.protocol.action",
    "Runtime": "kiff.runtime",
    "Transition": "kiff.domain",
    "Unfinished": "kiff.errors",
    "check": "kiff.domain",
    "check_policy": "kiff.domain",
    "load": "kiff.domain",
    "load_policy": "kiff.domain",
    "open_runtime": "kiff.embedded",
}

__all__ = [
    "ActionContract",
    "ActionFailed",
    "Approval",
    "ApprovalPolicy",
    "Caller",
    "Client",
    "Domain",
    "Emits",
    "Issue",
    "KiffError",
    "Limit",
    "Lock",
    "Operation",
    "Pending",
    "Policy",
    "Principal",
    "Risk",
    "Rule",
    "Runtime",
    "Transition",
    "Unfinished",
    "check",
    "check_policy",
    "load",
    "load_policy",
    "open_runtime",
]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module `kiff` has no attribute `{name}`")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
