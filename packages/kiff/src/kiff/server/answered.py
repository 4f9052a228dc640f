"""One request that was answered, as logs and spans tell of it: neither bodies, nor queries, nor ids of a path."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct


class Answered(Struct, frozen=True):
    """What is known once the answer is on its way.

    Args:
        route: the path as the table of routes writes it.
        trace: `trace_` and 32 hexadecimal digits.
        headers: of the request, when it named its trace.
        tenant: whose it was; None when nobody showed a key.
        outcome: of the decision that was made; None when none was.
        seconds: from the first byte that was read to the answer.
    """

    method: str
    route: str
    status: int
    trace: str
    headers: Mapping[str, str]
    tenant: str | None
    outcome: str | None
    seconds: float
