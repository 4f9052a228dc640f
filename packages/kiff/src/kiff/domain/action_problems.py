"""Whether the actions of a document say enough to be governed, and name each other rightly."""

from __future__ import annotations

from collections.abc import Iterator

from kiff.domain.document import Json
from kiff.domain.entries import written_actions
from kiff.domain.issue import Finding, did_you_mean, shown

_STATED = {
    "allowed_states": "list the states it may run in",
    "required_permissions": "list what its callers must hold, such as `[orders.refund]`",
    "risk": "write `risk: low`, `medium` or `high`",
    "approval": "write `approval: never`, `required` or `conditional`",
}
_NAMING = {"otherwise": "which was just refused", "compensate": "which it is to undo"}


def unknown_actions(document: Json) -> Iterator[Finding]:
    """Is what an action leads to another action?"""
    names = [action["name"] for _, action in written_actions(document) if "name" in action]
    for path, action in written_actions(document):
        for key, why in _NAMING.items():
            named = action.get(key)
            if named is not None and named not in names:
                fix = did_you_mean(named, names) or "add it to `actions`"
                yield Finding((*path, key), "unknown_action", f"{shown(named)} is not an action of this domain", fix)
            elif named is not None and named == action.get("name"):
                message = f"{shown(named)} names itself as `{key}`, {why}"
                yield Finding((*path, key), "names_itself", message, "name another action, or remove it")


def unfinished_actions(document: Json) -> Iterator[Finding]:
    """Does every action say where it may run, who may ask, how risky it is and whether a person is asked?"""
    for path, action in written_actions(document):
        for key, fix in _STATED.items():
            if not action.get(key):
                message = f"{shown(action.get('name', ''))} does not state `{key}`"
                yield Finding((*path, key), f"no_{key}", message, fix, "activation")
