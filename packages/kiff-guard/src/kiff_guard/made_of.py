"""What a guard may be made of. What cannot work is refused here, by its name, and not at the first call."""

from __future__ import annotations

from typing import Any

from kiff_guard.catalog import Catalog
from kiff_guard.decision import UNMAPPED_POLICIES
from kiff_guard.errors import ConfigurationError


def check_words(mode: Any, client: Any, unmapped: Any, errors: Any) -> None:
    """The mode and the rules.

    Raises:
        ConfigurationError: a word that does not exist, or enforce without a client.
    """
    if mode not in ("observe", "enforce"):
        raise ConfigurationError(f"mode: expected `observe` or `enforce`, found `{mode}`")
    if mode == "enforce" and not callable(getattr(client, "decide", None)):
        raise ConfigurationError(
            "client: enforce asks KIFF, so it needs a client, such as HTTPClient(api_key, tool_map)"
        )
    if unmapped is not None and unmapped not in UNMAPPED_POLICIES:
        raise ConfigurationError(f"unmapped: expected one of {', '.join(UNMAPPED_POLICIES)}, found `{unmapped}`")
    if errors not in ("unknown", "failed"):
        raise ConfigurationError(f"errors: expected `unknown` or `failed`, found `{errors}`")


def check_parts(catalog: Any, ledger: Any, redact: Any, **tools: Any) -> None:
    """The parts that a caller may bring, and the lists of tools, each by its name.

    Raises:
        ConfigurationError: one that the first call would trip over, or that would silently do nothing.
    """
    if catalog is not None and not isinstance(catalog, Catalog):
        raise ConfigurationError(f"catalog: expected a Catalog, such as another guard's, found {_kind(catalog)}")
    if ledger is not None and not callable(getattr(ledger, "append", None)):
        raise ConfigurationError(
            f"ledger: expected what has `append(receipt)`, found {_kind(ledger)}; a file is JSONLLedger(path)"
        )
    if redact is not None and not callable(redact):
        raise ConfigurationError(
            f"redact: expected a function or None, found {_kind(redact)}; by names it is redact_names(…)"
        )
    for name, given in tools.items():
        if isinstance(given, str):  # its letters would be the tools
            raise ConfigurationError(f"{name}: expected a list of names, such as [{given!r}], found one text")


def _kind(value: Any) -> str:
    return f"`{type(value).__name__}`"
