"""Whether a domain does what its author wants: the questions about a document that could govern, and yet misleads.

One question = one function, as in `structure`. Nothing found here keeps a domain from anything, and `load` does
not ask. What rests on something that is wrong is not asked either, so that nobody is sent after what is right.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from kiff.domain.action_soundness import (
    dead_actions,
    lost_events,
    missing_executors,
    undescribed_parameters,
    unfit_alternatives,
    unfit_compensations,
    unlocked_actions,
    unreviewed_risks,
)
from kiff.domain.condition_soundness import (
    alike_guards,
    constant_conditions,
    telling_conditions,
    unused_attributes,
    unused_fields,
    unused_schedules,
)
from kiff.domain.document import Json
from kiff.domain.issue import Finding
from kiff.domain.machine_soundness import dead_timeouts, idle_timeouts, unset_attributes
from kiff.domain.parts import Parts
from kiff.domain.role_soundness import (
    idle_quorums,
    idle_roles,
    shared_duties,
    silent_beginnings,
    unused_grants,
    unused_permissions,
)
from kiff.domain.state_soundness import (
    endless_states,
    open_ends,
    traps,
    unreachable_states,
    unused_events,
    unused_groups,
)

Question = Callable[[Parts], Iterator[Finding]]

QUESTIONS: tuple[Question, ...] = (
    unreachable_states,
    dead_actions,
    traps,
    endless_states,
    open_ends,
    unused_events,
    unused_groups,
    lost_events,
    dead_timeouts,
    idle_timeouts,
    unset_attributes,
    unused_attributes,
    unused_fields,
    unused_schedules,
    alike_guards,
    constant_conditions,
    telling_conditions,
    unfit_alternatives,
    unfit_compensations,
    unlocked_actions,
    unreviewed_risks,
    undescribed_parameters,
    shared_duties,
    idle_roles,
    idle_quorums,
    unused_permissions,
    unused_grants,
    silent_beginnings,
    missing_executors,
)


def soundness(document: Json, findings: Iterable[Finding], executors: Collection[str] | None = None) -> list[Finding]:
    """What a document of the right shape says that its author may not mean.

    Args:
        findings: what is known to be wrong with it.
        executors: the names that are registered; None asks nothing about them.
    """
    parts = Parts(document, findings, executors)
    return [finding for question in QUESTIONS for finding in question(parts)]
