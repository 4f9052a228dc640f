"""Which parameters of an action are `sensitive`: the log commits to their values, and the vault holds them.

What no contract knows could be meant for one that is marked, so it is sealed with the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kiff.protocol.action import ActionContract

_NOTHING: frozenset[str] = frozenset()


class Marks:
    """The marks of a domain's actions. False when there are none."""

    __slots__ = ("_known", "_marked")

    def __init__(self, actions: Mapping[str, ActionContract]) -> None:
        schemas = {name: contract.parameters or {} for name, contract in actions.items()}
        self._known = {n: frozenset((*schemas[n], *each.required_parameters)) for n, each in actions.items()}
        marked = {n: frozenset(p for p, schema in own.items() if schema.get("sensitive")) for n, own in schemas.items()}
        self._marked = {name: found for name, found in marked.items() if found}

    def __bool__(self) -> bool:
        return bool(self._marked)

    def among(self, action: str, names: Iterable[str]) -> frozenset[str]:
        """Those of the given parameters of a call that are sealed.

        Of an action that has marks: the marked ones, and those that its contract does not know. Of an action that
        the domain does not know, while another one has marks: all.
        """
        if not self._marked:
            return _NOTHING
        if action not in self._known:
            return frozenset(names)
        marked, known = self._marked.get(action), self._known[action]
        return _NOTHING if marked is None else frozenset(n for n in names if n in marked or n not in known)
