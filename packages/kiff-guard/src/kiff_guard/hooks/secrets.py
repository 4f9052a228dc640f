"""What receipts of a coding agent do not keep: its tools take whole commands and files, and secrets stand inside them.

By the names of arguments, as everywhere, and by how secrets look. The second is a net with holes: a value that looks
like nothing passes. Name an argument in `redact` to leave it out altogether.

INVARIANT: the time this takes grows with the text and not with its square: a model writes the text, and while a
pattern is searched for, no deadline strikes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kiff_guard.redaction import REDACTED, Redact, redact_names

_NAMED = re.compile(r"(?<![\w-])([\w-]+)[\"']?\s*[=:]\s*[\"']?")
"""A name and what stands between it and its value. It begins where a word begins, so no word is looked at twice."""
_SECRET_NAME = re.compile(r"(?i)password|passwd|secret|token|api[-_]?key")
_VALUE = re.compile(r"[^\s\"'&;|]+")
_LOOKS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?i)(\b(?:bearer|basic)\s+)[a-z0-9._~+/=-]{8,}",
        r"(?i)(--(?:password|passwd|secret|token|api-key)\s+)\S+",
        r"(://[^\s/:@]+:)[^\s/@]+(?=@)",
        r"()\b(?:sk-|gh[opsu]_|github_pat_|glpat-|xox[abprs]-|AKIA|kiff_(?:live|test)_)[A-Za-z0-9_-]{8,}",
        r"()-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    )
)


def redacting(names: tuple[str, ...]) -> Redact:
    """The redaction of a hook: by names, these too, and by looks."""
    by_name = redact_names(*names)

    def redact(tool: str, args: dict[str, Any]) -> dict[str, Any]:
        told = _without(by_name(tool, args))
        assert isinstance(told, dict)
        return told

    return redact


def _without(value: Any) -> Any:
    if isinstance(value, str):
        for looks in _LOOKS:
            value = looks.sub(rf"\g<1>{REDACTED}", value)
        return "".join(_without_named(value))
    if isinstance(value, dict):
        return {name: _without(each) for name, each in value.items()}
    return [_without(each) for each in value] if isinstance(value, list) else value


def _without_named(text: str) -> Iterator[str]:
    """The text, without the values that stand behind a name of a secret."""
    kept = 0
    for found in _NAMED.finditer(text):
        if found.start() < kept or not _SECRET_NAME.search(found[1]):
            continue
        value = _VALUE.match(text, found.end())
        if value is not None:
            yield text[kept : value.start()] + REDACTED
            kept = value.end()
    yield text[kept:]
