"""The policy of a tenant: published versions, and which of them holds. Changing it takes an owner's key."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.client.connection import Connection
from kiff.client.domains import YAML
from kiff.client.paths import one
from kiff.runtime.answers import PolicyActivated
from kiff.runtime.ports import Ids

MINE = "/v1/me/policy"
ALL = "/v1/me/policies"


class PolicyShown(Struct, frozen=True):
    """A version. `content` is the document with everything written out."""

    policy: str
    version: str
    digest: str
    active: bool
    yaml: str
    content: dict[str, Any]


class PolicyVersion(Struct, frozen=True):
    """A published version."""

    policy: str
    version: str
    digest: str
    active: bool
    published_at: str
    activated_at: str
    activated_by: str


class _Listed(Struct):
    policies: list[PolicyVersion]


class _InForce(Struct):
    policy: str | None
    version: str | None
    digest: str | None
    changed: bool
    pending_approvals: int = 0


class Policies:
    """A tenant's policy. Texts are YAML, or JSON, which is YAML."""

    def __init__(self, connection: Connection, ids: Ids) -> None:
        self._connection = connection
        self._ids = ids

    def in_force(self) -> PolicyShown:
        """What holds now.

        Raises:
            NotFound: nothing does.
        """
        return self._connection.value(PolicyShown, "GET", MINE)

    def all(self) -> list[PolicyVersion]:
        """The published versions, in the order they were published."""
        return self._connection.value(_Listed, "GET", ALL).policies

    def version(self, version: str) -> PolicyShown:
        """A published version."""
        return self._connection.value(PolicyShown, "GET", _of(version))

    def activate(self, text: str | bytes) -> PolicyActivated:
        """Publishes a document and lets it hold for every domain.

        Raises:
            InvalidPolicy: it cannot hold; `issues` says what is wrong.
            Conflict: the version name belongs to other content.
        """
        content = text.encode() if isinstance(text, str) else text
        return self._changed("PUT", MINE, content=content, media=YAML)

    def use(self, version: str) -> PolicyActivated:
        """Lets a published version hold."""
        return self._changed("POST", f"{_of(version)}/activate")

    def take_back(self) -> PolicyActivated:
        """Lets none hold."""
        return self._changed("DELETE", MINE)

    def _changed(self, method: str, path: str, **sent: Any) -> PolicyActivated:
        told = self._connection.value(_InForce, method, path, id=f"policy_{self._ids.draw()}", **sent)
        return PolicyActivated(told.policy, told.version, told.digest, told.changed, told.pending_approvals)


def _of(version: str) -> str:
    return f"{ALL}/{one(version, 'version')}"
