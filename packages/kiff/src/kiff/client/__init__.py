"""The client of a server: the runtime's verbs, over HTTP.

    with kiff.Client("https://kiff.example.com", key) as client:
        answer = client.execute(entity="order:ord_001", action="AUTO_REFUND", parameters={...})

A refusal by the gate is an answer, a failure is raised, and both are the same values that the runtime gives. The
HTTP library is imported with `Client`, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kiff.client.client import Client

__all__ = ["Client"]


def __getattr__(name: str) -> Any:
    if name != "Client":
        raise AttributeError(f"module `kiff.client` has no attribute `{name}`")
    from kiff.client.client import Client

    globals()[name] = Client
    return Client
