"""What of a call's arguments a receipt does not keep. The digest is taken before, so it is bound to all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

Redact = Callable[[str, dict[str, Any]], dict[str, Any]]
"""(tool, arguments) -> the arguments as they may be kept. It is given a copy of its own."""

REDACTED = "[redacted]"
_SECRET = ("password", "passwd", "passphrase", "secret", "apikey", "authorization", "privatekey", "credential")
_SECRET_AT_THE_END = "token"  # `access_token` is one, `max_tokens` is none


def redact_secrets(tool: str, args: dict[str, Any]) -> dict[str, Any]:
    """Takes out the values whose names say that they are secret, at any depth. The default of a guard."""
    redacted = _without(args, _names_a_secret)
    assert isinstance(redacted, dict)
    return redacted


def redact_names(*names: str) -> Redact:
    """A redaction that takes out the named arguments, at any depth, beside what `redact_secrets` does."""
    given = frozenset(_letters(name) for name in names)

    def redact(tool: str, args: dict[str, Any]) -> dict[str, Any]:
        redacted = _without(args, lambda name: _letters(name) in given or _names_a_secret(name))
        assert isinstance(redacted, dict)
        return redacted

    return redact


def _without(value: Any, secret: Callable[[str], bool]) -> Any:
    if isinstance(value, dict):
        return {name: REDACTED if secret(name) else _without(each, secret) for name, each in value.items()}
    if isinstance(value, list):
        return [_without(each, secret) for each in value]
    return value


@lru_cache(4096)  # the same few names come with every call
def _names_a_secret(name: str) -> bool:
    letters = _letters(name)
    return letters.endswith(_SECRET_AT_THE_END) or any(word in letters for word in _SECRET)


def _letters(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
