"""Where a command works: on a database of this machine, or on a server. Both have the same verbs.

The nouns are the client's: what a server tells is what may be shown, and a database shows no more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Protocol

from msgspec import Struct

from kiff.client.nouns import Approval, Operation, Rehearsed, State
from kiff.protocol.proposal import Mode
from kiff.runtime import Activated, Decided, Erased, Ingested, Rebuilt, Reviewed, Settled
from kiff.runtime.answers import PolicyActivated, Shadowed

Executors = Callable[[], Mapping[str, Callable[..., Any]]]
"""What brings the executors, when something is to run that needs them."""


class Call(Struct, frozen=True):
    """One call on an entity, as a command line says it."""

    action: str
    entity: str
    parameters: dict[str, Any]
    id: str
    approval_id: str | None
    reasoning: str | None


class Governed(Struct, frozen=True):
    """An entity, and what may be done with it now.

    Args:
        domain: the version that governs it.
        startable: `REFUND_ORDER (high, approval)`, for every action that may start where it is.
    """

    entity: str
    state: str | None
    version: int
    domain: str | None
    held_by: str | None
    waiting: list[str]
    startable: list[str]


class Looked(Struct, frozen=True):
    """What a reviewer sees beside the approval.

    Args:
        risk: of the contract that governs now; None when it has no such action.
    """

    risk: str | None
    state: str | None
    moved: bool


class Version(Struct, frozen=True):
    """One published domain version.

    Args:
        governs: the entity type that it governs now.
        shadows: it is asked beside the version that governs.
    """

    version: str
    domain: str
    digest: str
    governs: str | None
    shadows: bool = False


class PolicyVersion(Struct, frozen=True):
    """One published policy version. `active`: it holds now."""

    version: str
    policy: str
    digest: str
    active: bool


class Trial(Struct, frozen=True, kw_only=True):
    """What history is to be decided again under, and what is to be told of it.

    Args:
        file: a kiff.yaml; None keeps the version of each decision.
        policy: a policy document; None keeps the policy of each decision.
        since: `90d`, or an RFC 3339 time.
        minutes: of human time that one approval takes.
    """

    file: Path | None
    policy: Path | None = None
    since: str | None = None
    action: str | None = None
    sequential: bool = False
    examples: int = 3
    minutes: float | None = None


class Reading(Protocol):
    """What can be asked. Whatever is not there raises NotFound, unless it may be None."""

    def state(self, entity: str, at: int | None) -> State | None: ...

    def entities(self, type: str | None, after: str) -> Iterator[State]: ...

    def entity(self, entity: str) -> Governed: ...

    def timeline(self, entity: str, after: int) -> Iterator[dict[str, Any]]: ...

    def risk(self, record: Mapping[str, Any]) -> str | None:
        """Of the action that a record is about."""

    def rebuild(self, entity: str) -> Rebuilt: ...

    def approvals(self, status: Any, limit: int) -> list[Approval]: ...

    def approval(self, approval_id: str) -> Approval: ...

    def look(self, approval: Approval) -> Looked: ...

    def operations(self, status: Any, limit: int) -> list[Operation]: ...

    def operation(self, operation_id: str) -> Operation | None:
        """Once it has ended, or as it stands when it takes too long."""

    def receipts(self, entity: str | None, after: int) -> Iterator[dict[str, Any]]: ...

    def receipt(self, receipt_id: str, *, proof: bool = False) -> dict[str, Any]: ...

    def bundle(self, receipt_id: str) -> dict[str, Any]: ...

    def jws(self, receipt_id: str) -> str: ...

    def versions(self) -> list[Version]: ...

    def content(self, version: str) -> bytes:
        """The domain of a version, as JSON with everything written out."""

    def explain(self, id: str) -> dict[str, Any]:
        """Of a receipt or a proposal: an `Explanation` as JSON."""

    def simulate(self, trial: Trial) -> dict[str, Any]:
        """What history would have been: a `Simulated` as JSON."""

    def policies(self) -> list[PolicyVersion]: ...

    def policy(self, version: str | None) -> bytes:
        """The policy of a version, or the one that holds, as JSON with everything written out."""


class Place(Protocol):
    """What can be done. Whoever does it is known: `--as`, or the key."""

    @property
    def whose(self) -> str:
        """Whose world it is, as a message says it."""

    @property
    def hints(self) -> Mapping[str, str]:
        """What to do about a refusal, by reason code, where it is done otherwise than on a database."""

    def reading(self) -> AbstractContextManager[Reading]:
        """The world as it stands now."""

    def watching(self) -> AbstractContextManager[Reading]:
        """The world as it goes on."""

    def put(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> tuple[Decided, str | None]:
        """Puts a call to the gate. Returns its answer and the versions that decided."""

    def rehearse(self, mode: Mode, call: Call, executors: Executors, *, settles: bool) -> Rehearsed: ...

    def ingest(self, event: Mapping[str, Any], *, dry_run: bool) -> Ingested: ...

    def settle(self, operation_id: str, status: Any, said: Mapping[str, Any], *, dry_run: bool) -> Settled: ...

    def review(
        self,
        verdict: Literal["grant", "deny"],
        approval_id: str,
        reason: str,
        key: str,
        executors: Executors,
        *,
        dry_run: bool,
    ) -> Reviewed: ...

    def erase(self, what: str) -> Erased: ...

    def activate(self, file: Path, *, dry_run: bool) -> Activated: ...

    def activate_policy(self, file: Path | None, published: str | None, *, dry_run: bool) -> PolicyActivated:
        """Lets the policy in a file, or a published version, hold; neither: none."""

    def shadow(self, file: Path | None, slug: str) -> Shadowed:
        """Has the domain in a file asked beside the version that governs; None ends that for the domain `slug`."""


def decided_by(receipt: Mapping[str, Any]) -> str | None:
    """`refund-ops-v2 with inventory-v2`: the version of the domain, and that of the policy beside it."""
    named = (receipt.get("domain_version"), receipt.get("policy_version"))
    return " with ".join(each for each in named if isinstance(each, str)) or None


def startable(action: str, risk: str, approval: str) -> str:
    """`REFUND_ORDER (high, approval)`."""
    asks = "" if approval == "never" else ", approval"
    return f"{action} ({risk}{asks})"
