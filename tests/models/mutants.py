"""Rules that are broken on purpose: one function each, changed in one place, for as long as `planted` holds.

A mutant whose text is not found any more raises: whoever changes the rule writes it anew.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import reduce
from types import CodeType, FunctionType
from typing import Any, NamedTuple


class Mutant(NamedTuple):
    """Where it is, and what is said there instead.

    Args:
        where: `module:function` or `module:Class.method`.
        old, new: a part of its source, that is there once, and what stands in its place.
    """

    where: str
    old: str
    new: str

    @property
    def function(self) -> FunctionType:
        module, _, name = self.where.partition(":")
        found: Any = reduce(getattr, name.split("."), importlib.import_module(module))
        return inspect.unwrap(found)  # type: ignore[return-value]


@contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The rule is broken inside. Whoever holds the function has it: its code is swapped, not its name."""
    function = mutant.function
    sound = function.__code__
    function.__code__ = _broken(mutant, function)
    try:
        yield
    finally:
        function.__code__ = sound


def _broken(mutant: Mutant, function: FunctionType) -> CodeType:
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(mutant.old) != 1:
        raise LookupError(f"`{mutant.old}` is not there once any more in {mutant.where}; write the mutant anew")
    module = "from __future__ import annotations\n" + source.replace(mutant.old, mutant.new)
    names: dict[str, Any] = dict(function.__globals__)
    exec(compile(module, function.__code__.co_filename, "exec"), names)
    broken: FunctionType = names[function.__name__]
    return broken.__code__


_PROPOSE, _REVIEW, _REVIEWER, _SETTLE = (
    f"kiff.runtime.step.{name}" for name in ("propose", "review", "reviewer", "settle")
)
_LIMITS, _QUORUM, _STANDING, _INGEST = (
    "kiff.runtime.step.limits",
    "kiff.gate.quorum",
    "kiff.gate.standing",
    "kiff.runtime.step.ingest",
)

MUTANTS = {
    "approval_is_not_consumed": Mutant(
        f"{_PROPOSE}:_Writer.clear", "change.put(structs.replace(self.approval, **used))", "pass"
    ),
    "grant_is_good_for_ever": Mutant(
        f"{_STANDING}:named",
        '"granted" if approval.use_by is not None and now < approval.use_by else "expired"',
        '"granted"',
    ),
    "grant_fits_any_call": Mutant(
        f"{_STANDING}:named", "approval is None or approval.action_digest != proposal.action_digest", "approval is None"
    ),
    "digest_leaves_the_amount_out": Mutant(
        "kiff.protocol.proposal:draw_up", '"parameters": fragment(parameters_json),', '"parameters": {},'
    ),
    "grant_outlives_the_entity": Mutant(f"{_STANDING}:_is_void", "approval.binds_version and", "False and"),
    "one_person_counts_twice": Mutant(f"{_QUORUM}:_names", "{vote.by.casefold(), vote.person}", "{str(vote.at)}"),
    "a_person_is_their_principal": Mutant(f"{_QUORUM}:_names", "{vote.by.casefold(), vote.person}", "{vote.by}"),
    "one_yes_is_enough": Mutant(f"{_QUORUM}:missing", "max(demand.quorum, 1)", "1"),
    "votes_never_lapse": Mutant(f"{_QUORUM}:lasting", "if vote.use_by is None or now < vote.use_by", "if True"),
    "grant_outlives_its_votes": Mutant(
        f"{_REVIEW}:_give", ", *(vote.use_by for vote in votes if vote.use_by is not None)", ""
    ),
    "proposer_reviews": Mutant(f"{_REVIEWER}:_is_proposer", "return bool(", "return False and bool("),
    "proposer_reviews_in_another_name": Mutant(
        f"{_REVIEWER}:_is_proposer", "{reviewer.id.casefold(), reviewer.someone}", "{reviewer.id.casefold()}"
    ),
    "anything_reviews": Mutant(
        f"{_REVIEWER}:_is_unfit", 'if approval.human_only and caller.principal.type != "human":', "if False:"
    ),
    "anybody_reviews": Mutant(
        f"{_REVIEWER}:may_not_review",
        "if domain is None or not domain.permits(command.caller.roles, p)",
        "if domain is None",
    ),
    "answered_after_its_time": Mutant(f"{_REVIEW}:review", "change.at >= approval.expires_at", "False"),
    "answered_twice": Mutant(f"{_REVIEW}:review", 'if approval.status != "pending":', "if False:"),
    "grant_runs_what_has_its_answer": Mutant(
        f"{_REVIEW}:_run", 'if row is not None and row.status != "open":', "if False:"
    ),
    "runway_is_not_taken": Mutant(
        f"{_PROPOSE}:_Writer._take_runway",
        "self.change.put(Runway(self.change.tenant, self.runway, clearance_id, fencing))",
        "pass",
    ),
    "unknown_frees_the_runway": Mutant(
        f"{_SETTLE}:finish", 'if report.status != "unknown":\n        free_runway', "if True:\n        free_runway"
    ),
    "a_late_report_frees_anothers_runway": Mutant(
        f"{_SETTLE}:free_runway",
        "if holder == clearance.id:\n            change.put",
        "if True:\n            change.put",
    ),
    "dispute_leaves_the_runway_free": Mutant(f"{_SETTLE}:_contradict", "_close_runway(change, clearance)", "pass"),
    "clearance_ends_before_its_time": Mutant(f"{_SETTLE}:expire_clearance", "or change.at < clearance.deadline", ""),
    "settled_again_and_again": Mutant(f"{_SETTLE}:settle", 'if clearance.status == "open" or', "if True or"),
    "unknown_is_sent_again": Mutant(f"{_PROPOSE}:resume", 'if operation_id != f"clr_{suffix}":', "if False:"),
    "unknown_is_decided_again": Mutant(
        f"{_PROPOSE}:propose", 'elif row is not None and row.status == "running":', "elif False:"
    ),
    "final_answer_is_decided_again": Mutant(
        f"{_PROPOSE}:propose", 'elif row is not None and row.status == "final":', "elif False:"
    ),
    "same_id_other_call": Mutant(
        f"{_PROPOSE}:propose", "elif row is not None and row.digest != command.digest:", "elif False:"
    ),
    "review_is_not_remembered": Mutant(f"{_REVIEW}:review", "if row is not None:", "if False:"),
    "budget_is_not_reserved": Mutant(f"{_LIMITS}:reserve", "change.put(reserved.usage)", "pass"),
    "pending_holds_no_budget": Mutant(f"{_LIMITS}:reserve", "(holder or _waits(each, each.verdict))", "holder"),
    "denial_keeps_the_budget": Mutant(f"{_REVIEW}:_end_hold", "limits.release(change, approval.holds)", "pass"),
    "failure_keeps_the_budget": Mutant(f"{_SETTLE}:finish", "else limits.release)(change", "else limits.spend)(change"),
    "unknown_gives_the_budget_back": Mutant(
        f"{_SETTLE}:finish", 'if report.status != "unknown":  # while', "if True:  # while"
    ),
    "dispute_gives_the_budget_back": Mutant(
        f"{_SETTLE}:_contradict", "limits.hold_again(change, clearance.holds)", "pass"
    ),
    "anybody_says_what_happened": Mutant(
        f"{_INGEST}:_is_own_effect", "operation.principal != caller.principal.id", "False"
    ),
    "stale_batches_are_written": Mutant("universe:is_first", "return seen == version", "return True"),
}
"""Found by the search (`test_protocol_search.py`)."""

IN_THE_LANE = {
    "a_lost_reply_is_a_commit": Mutant("kiff.runtime.lane:Attempt.stands", "== [first.leaf]", "!= []"),
    "answers_before_it_is_durable": Mutant(
        "kiff.runtime.lane:Lane._written", 'self._probe("append")', 'self._probe("append"); tell()'
    ),
}
"""Found by the simulation, beside some of the others: the search has no lane."""
