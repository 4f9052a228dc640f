"""What a simulation says: plain values, the same on a terminal, in a file and over HTTP."""

from __future__ import annotations

from msgspec import Struct


class Said(Struct, frozen=True):
    """A decision in two words. `outcome`: see `kiff.protocol.decision.Outcome`; `reason`: the primary reason code."""

    outcome: str
    reason: str


class Money(Struct, frozen=True):
    """What calls are about, added up: `sum` is an exact decimal in `unit`, over a parameter that has that unit."""

    parameter: str
    unit: str
    sum: str


class Example(Struct, frozen=True):
    """One decision that comes out differently.

    Args:
        receipt_id: of the decision as it was made; `kiff explain` says how.
        why: the draft's reason in a sentence.
    """

    receipt_id: str
    at: str
    entity: str
    before: Said
    after: Said
    why: str


class Flip(Struct, frozen=True):
    """Decisions on one action that come out differently in one way.

    Args:
        before, after: outcomes, as recorded and under the draft.
        reason: what makes the difference: of two outcomes the reason of the more severe one.
        value: what these calls are about; nothing where no parameter has a unit.
    """

    action: str
    before: str
    after: str
    reason: str
    decisions: int
    value: list[Money]
    examples: list[Example]


class Undecided(Struct, frozen=True):
    """Decisions that could not be made again, and why. `receipts`: of some of them."""

    why: str
    decisions: int
    message: str
    receipts: list[str]


class Outcomes(Struct, frozen=True):
    """How many decisions had one outcome as recorded, and have one under the draft."""

    before: str
    after: str
    decisions: int


class ApprovalLoad(Struct, frozen=True, omit_defaults=True):
    """What is asked of people.

    Args:
        before, after: how many approvals were opened, and would have been.
        added, removed: calls that would wait for a person and did not, and the other way round.
        people_before, people_after: how many yeses these take, quorum included.
        added_per_day, removed_per_day, people_per_day: over the days of the window; the last one is the change.
        minutes_per_day: the change in the time of people; only when it was said how long an approval takes.
    """

    before: int
    after: int
    added: int
    removed: int
    people_before: int
    people_after: int
    added_per_day: float
    removed_per_day: float
    people_per_day: float
    minutes_per_day: float | None = None


class Window(Struct, frozen=True):
    """What was looked at.

    Args:
        since, until: the first and the last record that count (RFC 3339); None where there are none.
        limits_since: where the draft's limits begin to count, from nothing.
        days: how long the window is; at least one.
        records: how many records were read.
        complete: False when the end was not reached in time.
    """

    since: str | None
    until: str | None
    limits_since: str | None
    days: float
    records: int
    complete: bool


class Simulated(Struct, frozen=True):
    """History decided again under a draft.

    Args:
        domain, policy: versions of the draft; None: what was in force at each decision.
        mode: `independent` or `sequential`.
        decisions: how many count: same + flipped + undecided + moot.
        moot: decisions about an approval that would not have been asked for; nothing to compare.
        other_reasons: decisions among `same` whose primary reason is another one.
        new_allows: decisions among `flipped` that were withheld and would be allowed.
        flips: the most frequent first.
        assumptions: what had to be supposed, in sentences.
    """

    domain: str | None
    policy: str | None
    mode: str
    window: Window
    decisions: int
    same: int
    flipped: int
    undecided: int
    moot: int
    other_reasons: int
    new_allows: int
    outcomes: list[Outcomes]
    flips: list[Flip]
    undecided_because: list[Undecided]
    approvals: ApprovalLoad
    assumptions: list[str]
