"""The starter kiff.yaml of what a guard has seen.

Seen are the tools, the names of their parameters and how often they were called. Everything that is judgement (which
entity, which states, how risky, who approves) is left open for a person, marked TODO(human). Names come from agents,
models and servers: whatever is in one, it ends up as that one name, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from kiff_guard.catalog import Catalog
from kiff_guard.errors import ConfigurationError

SHOWN_LIMIT = 200
"""How many letters of a name a comment shows."""

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"})
"""What one reader of YAML or another takes for something else than text."""


def export_yaml(domain_name: str, catalog: Catalog) -> str:
    """Write what was seen as a draft of a domain.

    Args:
        domain_name: what the domain is to be called.
        catalog: what a guard has seen (`guard.catalog`).

    Returns:
        YAML with the fields of a domain. A server keeps it as a draft, and it is not `valid` and governs nothing before
        a person has filled it in.

    Raises:
        ConfigurationError: the name is no text, or the catalog is none: they were given the other way round.
    """
    if not isinstance(domain_name, str) or not isinstance(catalog, Catalog):
        raise ConfigurationError("domain_name, catalog: expected export_yaml(name, guard.catalog), in this order")
    return "\n".join(_lines(domain_name, catalog)) + "\n"


def _lines(domain_name: str, catalog: Catalog) -> Iterator[str]:
    yield f"# A draft of the KIFF domain {_comment(domain_name)}, from the tool calls a guard has seen."
    yield "# Seen: the actions and their parameters. Not seen, and for a person to say: what is marked TODO(human)."
    yield ""
    yield f"domain: {_name(domain_name)}"
    yield "entity: Entity  # TODO(human): what the actions are done to"
    yield ""
    yield from _agents(sorted(catalog.agents))
    yield "# TODO(human): what happens to the entity, e.g. ORDER_PAID"
    yield "events: []"
    yield ""
    yield "# TODO(human): the states it can be in, e.g. CREATED, PAID, REFUNDED"
    yield "states: []"
    yield ""
    yield "# TODO(human): which event leads from which state to which (on, from, to)"
    yield "transitions: []"
    yield ""
    yield from _actions(catalog)
    yield "permissions:"
    yield "  roles:"
    yield "    admin: []  # TODO(human): who may propose what, and who may approve it"


def _agents(agents: list[str]) -> Iterator[str]:
    if agents:
        yield "# The agents that were seen:"
        yield from (f"#   - {_comment(agent)}" for agent in agents)
        yield ""


def _actions(catalog: Catalog) -> Iterator[str]:
    seen = catalog.seen()
    if not seen:
        yield "actions: []"
        yield ""
        return
    yield "actions:"
    for tool, count, parameters in seen:
        yield f"  # {_times(count)}{_types(parameters)}"
        yield f"  - name: {_name(tool)}"
        yield "    allowed_states: []  # TODO(human): where it may be done"
        yield f"    required_parameters: [{', '.join(map(_name, parameters))}]"
        yield "    required_permissions: []  # TODO(human)"
        yield "    risk: low  # TODO(human): low, medium or high"
        yield "    approval: never  # TODO(human): never, required or conditional"
        yield ""


def _times(count: int) -> str:
    return "seen once" if count == 1 else f"seen {count} times"


def _types(parameters: dict[str, list[str]]) -> str:
    known = [f"{_comment(name)} {' or '.join(map(_comment, types))}" for name, types in parameters.items() if types]
    return f": {', '.join(known)}" if known else ""


def _name(text: str) -> str:
    """A name as YAML: as it is where every reader takes it for that text, else in quotes with escapes."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return f'"{"".join(map(_quoted, text))}"'


def _comment(text: str) -> str:
    """A name in a comment: on one line, and with nothing in it that hides or rearranges text."""
    shown = "".join(map(_visible, text[:SHOWN_LIMIT]))
    return shown if len(text) <= SHOWN_LIMIT else f"{shown}…"


def _quoted(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if "\ud800" <= letter <= "\udfff":  # half a pair is no character, and no YAML can hold one: its escape, as text
        return f"\\\\u{ord(letter):04x}"
    return _visible(letter)


def _visible(letter: str) -> str:
    if " " <= letter <= "~" or letter.isalnum():
        return letter
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
