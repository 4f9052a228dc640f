"""What came out differently, counted while history goes by: sums, some examples, and nothing else is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Context, Decimal, Inexact
from typing import Any

from kiff.analysis.simulate.answer import ApprovalLoad, Example, Flip, Money, Outcomes, Said, Undecided, Window
from kiff.analysis.simulate.draft import Asks
from kiff.analysis.simulate.past import Decision
from kiff.domain.units import MINOR_DIGITS
from kiff.gate import explain
from kiff.protocol.decision import SEVERITY
from kiff.protocol.decision import Decision as Verdict

WHY = {
    "unreadable": "the record of the decision cannot be read",
    "proposal_missing": "the proposal beside the log is missing, or was changed",
    "sensitive_erased": "a sensitive value of the call was erased",
    "sensitive_missing": "what the vault holds of the call is not what its record commits to",
    "version_missing": "a version that was in force is not in the store, or cannot be read",
    "unknown_action": "the draft has no such action",
    "attributes_not_recorded": "the draft reads attributes of the entity that were not recorded with the decision; "
    "in sequence they are folded from its events",
}
"""Why a decision cannot be made again."""

_EXACT = Context(prec=400, traps=[Inexact])
Key = tuple[str, str, str, str]
"""(action, before, after, reason)"""


class _Way:
    """Decisions that come out differently in one way."""

    __slots__ = ("decisions", "examples", "sums")

    def __init__(self) -> None:
        self.decisions = 0
        self.sums: dict[tuple[str, str], Decimal] = {}
        self.examples: list[Example] = []


class Tally:
    """Args: examples: how many of each kind are shown."""

    def __init__(self, examples: int) -> None:
        self.examples = examples
        self.decisions = self.same = self.flipped = self.moot = self.other_reasons = self.new_allows = 0
        self.before = self.after = self.added = self.removed = self.people_before = self.people_after = 0
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self._ways: dict[Key, _Way] = {}
        self._undecided: dict[str, list[str]] = {}
        self._undecided_counts: Counter[str] = Counter()

    def undecided(self, why: str, receipt_id: str | None) -> None:
        self.decisions += 1
        self._undecided_counts[why] += 1
        shown = self._undecided.setdefault(why, [])
        if receipt_id is not None and len(shown) < self.examples:
            shown.append(receipt_id)

    def is_moot(self, counts: bool) -> None:
        self.decisions += counts
        self.moot += counts

    def decided(self, record: Decision, asks: Asks | None, verdict: Verdict, written: Mapping[str, Any]) -> None:
        """A decision, as it was and as it would be.

        Args:
            written: the parameters as the log has them: of secrets their commitments.
        """
        self.decisions += 1
        before, after = record.data.outcome, verdict.outcome
        self.outcomes[before, after] += 1
        if before == after:
            self.same += 1
            self.other_reasons += record.data.reason != verdict.reason
            return
        self.flipped += 1
        self.new_allows += after == "allowed"
        reason = verdict.reason if SEVERITY[after] > SEVERITY.get(before, 0) else record.data.reason
        way = self._ways.setdefault((record.data.action, before, after, reason), _Way())
        way.decisions += 1
        _add(way.sums, () if asks is None else asks.money, written)
        if len(way.examples) < self.examples:
            way.examples.append(_example(record, verdict))

    def asked(self, *, before: bool, after: bool, people: int) -> None:
        """Whether a decision opened an approval, and would open one.

        Args:
            people: how many yeses that would take.
        """
        self.before += before
        self.after += after
        self.added += after and not before
        self.removed += before and not after
        self.people_after += people if after else 0

    def flips(self) -> list[Flip]:
        """The most frequent first."""
        ways = sorted(self._ways.items(), key=lambda item: (-item[1].decisions, item[0]))
        return [Flip(*key, way.decisions, _money(way.sums), way.examples) for key, way in ways]

    def moved(self) -> list[Outcomes]:
        """The mildest first, by how it was."""

        def severity(each: tuple[str, str]) -> tuple[int, int]:
            return SEVERITY.get(each[0], 9), SEVERITY.get(each[1], 9)

        return [Outcomes(*pair, self.outcomes[pair]) for pair in sorted(self.outcomes, key=severity)]

    def because(self) -> list[Undecided]:
        counted = self._undecided_counts.most_common()
        return [Undecided(why, count, WHY[why], self._undecided[why]) for why, count in counted]

    def approvals(self, window: Window, minutes: float | None) -> ApprovalLoad:
        """Args: minutes: of human time that one yes takes."""
        people = (self.people_after - self.people_before) / window.days
        return ApprovalLoad(
            before=self.before,
            after=self.after,
            added=self.added,
            removed=self.removed,
            people_before=self.people_before,
            people_after=self.people_after,
            added_per_day=round(self.added / window.days, 2),
            removed_per_day=round(self.removed / window.days, 2),
            people_per_day=round(people, 2),
            minutes_per_day=None if minutes is None else round(people * minutes, 2),
        )

    @property
    def undecided_count(self) -> int:
        return self._undecided_counts.total()


def _add(sums: dict[tuple[str, str], Decimal], money: Iterable[tuple[str, str]], parameters: Mapping[str, Any]) -> None:
    """Adds what a call is about. A value that is no amount in its unit is refused by the gate, and added by nobody."""
    for name, unit in money:
        value = parameters.get(name)
        if type(value) is int or (type(value) is float and round(value, MINOR_DIGITS[unit]) == value):
            exact = Decimal(value if type(value) is int else repr(value))
            sums[name, unit] = _EXACT.add(sums.get((name, unit), Decimal(0)), exact)


def _money(sums: dict[tuple[str, str], Decimal]) -> list[Money]:
    return [Money(name, unit, f"{total:.{MINOR_DIGITS[unit]}f}") for (name, unit), total in sorted(sums.items())]


def _example(record: Decision, verdict: Verdict) -> Example:
    data = record.data
    return Example(
        receipt_id=receipt_of(record) or "",
        at=record.at,
        entity=record.entity or "",
        before=Said(data.outcome, data.reason),
        after=Said(verdict.outcome, verdict.reason),
        why=explain(verdict),
    )


def receipt_of(record: Decision) -> str | None:
    return None if record.data.receipt is None else record.data.receipt.id
