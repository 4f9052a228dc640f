"""The domains of a tenant: drafts, published versions, and which of them govern. Changing them takes an owner's key."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from kiff.client.connection import Connection
from kiff.client.paths import one
from kiff.domain import Issue
from kiff.runtime.answers import Activated, Shadowed
from kiff.runtime.ports import Ids

YAML = "application/x-yaml"
MINE = "/v1/me/domain"
ALL = "/v1/me/domains"


class Governing(Struct, frozen=True):
    """A version that governs. `content` is the document with everything written out."""

    slug: str
    version: str
    digest: str
    entity: str
    yaml: str
    content: dict[str, Any]


class Listed(Struct, frozen=True):
    """A domain. `active`: entity type -> the version that governs it."""

    slug: str
    active: dict[str, str]
    versions: int
    draft: bool


class Version(Struct, frozen=True):
    """A published version.

    Args:
        activated_at, activated_by: None when it never governed.
        shadow: it is asked beside the version that governs.
    """

    version: str
    digest: str
    active: bool
    published_at: str
    activated_at: str | None
    activated_by: str | None
    shadow: bool = False


class Parsed(Struct, frozen=True):
    """What a document that can be read is."""

    slug: str
    version: str
    entity: str
    digest: str


class Validity(Struct, frozen=True):
    """Whether a document could govern, and every problem of it, warnings too."""

    valid: bool
    issues: tuple[Issue, ...]
    parsed: Parsed | None


class Draft(Struct, frozen=True):
    """A draft as it is kept. `updated_at`: Unix seconds; `parsed` is None when it cannot be read."""

    slug: str
    yaml: str
    updated_at: int
    parsed: dict[str, Any] | None
    issues: tuple[Issue, ...]
    warnings: tuple[Issue, ...]


class _Governing(Struct):
    domains: list[Governing]


class _Listed(Struct):
    domains: list[Listed]


class _Versions(Struct):
    versions: list[Version]


class _Published(Struct):
    slug: str
    version: str
    digest: str
    changed: bool
    pending_approvals: int = 0


class _Shadowed(Struct):
    slug: str
    version: str | None
    digest: str | None
    beside: str
    changed: bool


class Domains:
    """A tenant's domains. Texts are YAML, or JSON, which is YAML."""

    def __init__(self, connection: Connection, ids: Ids) -> None:
        self._connection = connection
        self._ids = ids

    def governing(self) -> list[Governing]:
        """What governs now.

        Raises:
            NotFound: nothing does.
        """
        return self._connection.value(_Governing, "GET", MINE).domains

    def all(self) -> list[Listed]:
        """Every domain that has a version or a draft."""
        return self._connection.value(_Listed, "GET", ALL).domains

    def versions(self, slug: str) -> list[Version]:
        """A domain's published versions, in the order they were published."""
        return self._connection.value(_Versions, "GET", f"{_of(slug)}/versions").versions

    def yaml(self, slug: str, version: str | None = None) -> str:
        """A version as its author wrote it; the one that governs, when none is named."""
        path = f"{_of(slug)}/yaml"
        return self._connection.value(bytes, "GET", path, query={"version": version}, accept=YAML).decode()

    def usage(self, slug: str) -> dict[str, Any]:
        """What a domain governs now, and what waits under it."""
        return self._connection.value(dict[str, Any], "GET", f"{_of(slug)}/usage")

    def validate(self, text: str | bytes) -> Validity:
        """What is wrong with a document; nothing is kept."""
        path = f"{MINE}/validate"
        return self._connection.value(Validity, "POST", path, content=_bytes(text), media=YAML, safe=True)

    def simulate(
        self,
        slug: str,
        text: str | bytes | None = None,
        *,
        version: str | None = None,
        policy: str | bytes | None = None,
        since: str | None = None,
        action: str | None = None,
        sequential: bool = False,
        examples: int = 3,
        minutes_per_approval: float | None = None,
    ) -> dict[str, Any]:
        """Decides the tenant's history again under a draft; nothing is changed. Takes an owner's key.

        Args:
            text: the document; or a published `version`; the kept draft of the domain, when neither is given.
            policy: the text of a policy that is to hold as well.
            since: only decisions of the last `90d`, or from an RFC 3339 time on.
            action: only decisions on it are told about.
            sequential: what is decided otherwise changes what comes after it.
            examples: how many decisions of each kind are shown.

        Returns:
            See `kiff.analysis.simulate.Simulated`.
        """
        body = {
            "yaml": None if text is None else _bytes(text).decode(),
            "version": version,
            "policy": None if policy is None else _bytes(policy).decode(),
            "since": since,
            "action": action,
            "mode": "sequential" if sequential else "independent",
            "examples": examples,
            "minutes_per_approval": minutes_per_approval,
        }
        said = {name: value for name, value in body.items() if value is not None}
        return self._connection.value(dict[str, Any], "POST", f"{_of(slug)}/simulate", body=said, safe=True)

    def draft(self) -> Draft:
        """The unnamed draft, which guards write."""
        return self._connection.value(Draft, "GET", f"{MINE}/draft")

    def save_draft(self, text: str | bytes, slug: str | None = None) -> Draft:
        """Keeps a draft, whatever is wrong with it.

        Args:
            slug: the domain it is a draft of; the unnamed draft when not given.
        """
        path = f"{MINE}/draft" if slug is None else _of(slug)
        id = self._id("draft")
        return self._connection.value(Draft, "PUT", path, content=_bytes(text), media=YAML, id=id)

    def activate_draft(self, slug: str | None = None) -> Activated:
        """Publishes a draft and makes it govern."""
        path = f"{MINE}/draft/activate" if slug is None else f"{_of(slug)}/activate"
        return self._published("POST", path, body={})

    def activate(self, text: str | bytes) -> Activated:
        """Publishes a document and makes it govern its entity type.

        Raises:
            InvalidDomain: it cannot govern; `issues` says what is missing.
            Conflict: the version name, or the entity type, belongs to something else; or entities are in a state that
                it drops.
        """
        return self._published("PUT", MINE, content=_bytes(text), media=YAML)

    def use(self, slug: str, version: str) -> Activated:
        """Makes a published version govern."""
        return self._published("POST", f"{_of(slug)}/activate", body={"version": version})

    def roll_back(self, slug: str) -> Activated:
        """Makes the version govern that governed before."""
        return self._published("POST", f"{_of(slug)}/rollback", body={})

    def shadow(self, slug: str, text: str | bytes | None) -> Shadowed:
        """Publishes a document and has it asked beside the version that governs, without deciding; None ends that.

        Raises:
            InvalidDomain: it cannot be asked; `issues` says what is missing.
            Conflict: it governs, or its name belongs to other content. NotFound: no version of the domain governs.
        """
        sent: dict[str, Any] = {} if text is None else {"content": _bytes(text), "media": YAML}
        method = "DELETE" if text is None else "POST"
        told = self._connection.value(_Shadowed, method, f"{_of(slug)}/shadow", id=self._id("shadow"), **sent)
        return Shadowed(told.slug, told.version, told.digest, told.beside, told.changed)

    def _published(self, method: str, path: str, **sent: Any) -> Activated:
        told = self._connection.value(_Published, method, path, id=self._id("activate"), **sent)
        return Activated(told.slug, told.version, told.digest, told.changed, told.pending_approvals)

    def _id(self, prefix: str) -> str:
        return f"{prefix}_{self._ids.draw()}"


def _of(slug: str) -> str:
    return f"{ALL}/{one(slug, 'slug')}"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text
