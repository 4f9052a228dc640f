"""Which trace a call belongs to (W3C Trace Context)."""

from __future__ import annotations

import re
import sys

_PARENT = re.compile("00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_ID = re.compile("(?:trace_)?([0-9a-f]{32})")


def trace_id(trace: str) -> str:
    """The 32 digits in a traceparent or a trace's id; "" if there are none."""
    found = _PARENT.fullmatch(trace) or _ID.fullmatch(trace)
    return "" if found is None else found[1]


def traceparent(given: object) -> str:
    """What the caller gave, if it is a trace; else the current span's, if the program uses OpenTelemetry; else ""."""
    if given is not None and given != "":
        return given if isinstance(given, str) and trace_id(given) else ""
    module = sys.modules.get("opentelemetry.trace")  # never imported for this: a program without it has no spans
    if module is None:
        return ""
    try:
        span = module.get_current_span().get_span_context()
        return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else ""
    except Exception:  # noqa: BLE001  # a trace is a help for people, and no reason to stop a call
        return ""
