"""The values and tables of the plain model: what actions ask, who people are, what is remembered of each thing.

Every instant is in milliseconds. `tills.py` states the same domain for KIFF.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

HOURLY_CAP = 10
LOOKS_BURST, LOOK_COST = 2, Fraction(10 * MINUTE, 3)
PLACES = {"sending": 1, "looking": 2}
EXECUTOR_TIME = 30 * SECOND
GRACE = 5 * SECOND
MAY_BE_TRIED_AGAIN = {"entity_busy", "concurrency_exceeded", "rate_limited"}
SEVERITY = {"invalid": 4, "blocked": 3, "limit_exceeded": 2, "approval_required": 1}
MOVES = {
    (None, "OPENED"): "OPEN",
    ("CLOSED", "OPENED"): "OPEN",
    ("OPEN", "PAID_OUT"): "OPEN",
    ("OPEN", "NOT_PAID"): "OPEN",
    ("OPEN", "SHUT"): "CLOSED",
}
EMITTED = {"succeeded": "PAID_OUT", "failed": "NOT_PAID"}


class Action(NamedTuple):
    asks: bool = False
    quorum: int = 1
    runs: bool = False
    lock: str = "entity"
    budget: bool = False
    rate: bool = False
    places: str = ""
    binds: bool = False
    app_time: int = 60 * SECOND
    answer_within: int = 24 * HOUR


ACTIONS = {
    "PAY": Action(budget=True),
    "ASK": Action(asks=True, budget=True, answer_within=10 * MINUTE),
    "ASK_TWO": Action(asks=True, quorum=2, lock="safe", binds=True, app_time=90 * SECOND, answer_within=10 * MINUTE),
    "SEND": Action(asks=True, runs=True, lock="", places="sending", answer_within=10 * MINUTE),
    "PEEK": Action(lock="", rate=True, places="looking", answer_within=10 * MINUTE),
}
USE_WITHIN = 2 * MINUTE


class Somebody(NamedTuple):
    kind: str
    person: str
    may: frozenset[str]


PEOPLE = {
    "agent": Somebody("agent", "olga", frozenset({"pay"})),
    "bot": Somebody("service", "mary", frozenset({"pay", "approve"})),
    "mary": Somebody("human", "mary", frozenset({"pay", "approve"})),
    "mary-too": Somebody("human", "mary", frozenset({"approve"})),
    "nils": Somebody("human", "nils", frozenset({"approve"})),
    "olga": Somebody("human", "olga", frozenset({"approve"})),
    "passer-by": Somebody("human", "passer-by", frozenset()),
    "feed": Somebody("service", "feed", frozenset({"ingest"})),
}


class Call(NamedTuple):
    """What is proposed. Its `same` part is what an approval fits."""

    mode: str
    who: str
    entity: str
    action: str
    amount: int | None
    settles: bool = False

    @property
    def same(self) -> tuple[Any, ...]:
        return self.who, self.entity, self.action, self.amount

    @property
    def compared(self) -> tuple[Any, ...]:
        return self.mode, *self.same


class Vote(NamedTuple):
    name: str
    person: str
    use_by: int | None


class Approval(NamedTuple):
    id: str
    call: Call
    command: str
    version: int
    demands: tuple[tuple[str, int], ...]
    expires_at: int
    status: str = "pending"
    votes: tuple[Vote, ...] = ()
    use_by: int | None = None
    used_by: str | None = None
    keeps_token: bool = False
    keeps_amount: bool = False

    @property
    def due_at(self) -> int | None:
        return {"pending": self.expires_at, "granted": self.use_by}.get(self.status)


class Op(NamedTuple):
    """An operation: what a clearance stands for."""

    id: str
    call: Call
    command: str
    approval: str | None
    runway: str
    fencing: int
    deadline: int
    status: str = "open"
    settled_by: str | None = None
    disputed: bool = False
    told: tuple[str, ...] = ()


class Runway(NamedTuple):
    holder: str | None = None
    fencing: int = 0
    in_doubt: tuple[str, ...] = ()


class Answer(NamedTuple):
    """The answer to a proposal; `waits` while the operation is on its way."""

    outcome: str
    reasons: tuple[str, ...] = ()
    approval: str | None = None
    operation: str | None = None
    status: str | None = None
    waits: bool = False


class Command(NamedTuple):
    compared: tuple[Any, ...]
    status: str
    answer: Any


class Error(NamedTuple):
    code: str


class Reviewed(NamedTuple):
    status: str
    operation: str | None
    decision: Answer | None
    still: tuple[tuple[str, int], ...]


class Ingested(NamedTuple):
    state: str | None
    version: int
    applied: bool
    settled: str | None


class Settled(NamedTuple):
    status: str
    state: str | None
    late: bool
    confirmed: bool
