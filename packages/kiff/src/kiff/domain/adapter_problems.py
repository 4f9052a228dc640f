"""What can be wrong with an adapter beyond its shape: what it says about webhooks is said in full, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kiff.domain.document import seconds
from kiff.domain.issue import Finding, Path, shown

MAX_TOLERANCE_SECONDS = 86_400

_SIGNATURES = "write `signature: stripe`, `standard` or `hmac-sha256`"
_NEEDS = (
    ("map", "signature", "there is a `map` and no `signature`: anybody could send these events", _SIGNATURES),
    ("signature", "map", "there is a `signature` and no `map`: no webhook could be read", "say where things are in it"),
    ("tolerance", "signature", "there is a `tolerance` and no `signature`: no time is signed", _SIGNATURES),
)


def adapter_problems(adapter: dict[str, Any], path: Path) -> Iterator[Finding]:
    """Every problem of an adapter of the right shape."""
    for key, needed, message, fix in _NEEDS:
        if key in adapter and needed not in adapter:
            yield Finding((*path, needed), f"no_{needed}", message, fix)
    yield from _kind_problems(adapter, path)
    yield from _tolerance_problems(adapter, (*path, "tolerance"))
    if adapter.get("map", {}).get("events") == {}:
        message = "expected at least one event, found none: every webhook would be ignored"
        fix = "write what the source calls it and what it is here, such as `charge.refunded: ORDER_REFUNDED`"
        yield Finding((*path, "map", "events"), "no_events", message, fix)


def _kind_problems(adapter: dict[str, Any], path: Path) -> Iterator[Finding]:
    kind = adapter.get("kind", "webhook")
    if kind != "webhook" and not {"signature", "map"}.isdisjoint(adapter):
        message = f"expected `webhook` beside a `signature` and a `map`, found {shown(kind)}"
        yield Finding((*path, "kind"), "not_a_webhook", message, "write `kind: webhook`, or remove them")


def _tolerance_problems(adapter: dict[str, Any], path: Path) -> Iterator[Finding]:
    tolerance = adapter.get("tolerance")
    if tolerance is None:
        return
    if adapter.get("signature") == "hmac-sha256":
        yield Finding(path, "no_timestamp", "`tolerance` says nothing here: `hmac-sha256` signs no time", "remove it")
    if seconds(tolerance) > MAX_TOLERANCE_SECONDS:
        yield Finding(path, "too_long", f"expected at most 1d, found {shown(tolerance)}")
