"""The hypothesis machine: any deeds in any order, one at a time or several in one batch, on KIFF and on the model."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from tower import Deed, Tower

SECOND = 1000
WHO = st.sampled_from(("agent", "bot", "mary", "passer-by"))
REVIEWERS = st.sampled_from(("nils", "olga", "mary", "mary-too", "agent", "bot", "passer-by"))
ENTITIES = st.sampled_from(("a", "b"))
ACTIONS = st.sampled_from(("PAY", "ASK", "ASK_TWO", "SEND", "PEEK", "NOTHING"))
AMOUNTS = st.sampled_from((4, 1, 7, 11, None))
ONE = st.integers(0, 40)
PERHAPS = st.none() | ONE

PROPOSE = st.tuples(
    st.just("propose"),
    st.sampled_from(("execute", "decide")),
    WHO,
    ENTITIES,
    ACTIONS,
    AMOUNTS,
    st.booleans(),
    st.none() | st.integers(0, 5),
    PERHAPS,
)
AGAIN = st.tuples(st.just("again"), ONE, st.booleans(), PERHAPS)
REVIEW = st.tuples(
    st.just("review"),
    st.sampled_from(("grant", "grant", "deny", "cancel")),
    REVIEWERS,
    ONE,
    st.none() | st.integers(0, 5),
    st.sampled_from((None, 30 * SECOND, 200 * SECOND)),
)
SETTLE = st.tuples(
    st.just("settle"),
    st.sampled_from(("nils", "olga", "agent", "bot", "mary")),
    ONE,
    st.sampled_from(("succeeded", "failed", "cancelled", "unknown")),
)
INGEST = st.tuples(
    st.just("ingest"),
    st.sampled_from(("feed", "agent")),
    st.sampled_from(("OPENED", "PAID_OUT", "NOT_PAID", "SHUT", "UNHEARD_OF")),
    ENTITIES,
    st.none() | st.integers(0, 5),
)
ANSWER = st.tuples(st.just("answer"), ONE, st.sampled_from(("succeed", "fail", "lose", "garbage")))
TOGETHER = st.lists(st.one_of(PROPOSE, AGAIN, REVIEW, SETTLE, INGEST, ANSWER), min_size=2, max_size=5)
SPANS = (0, 1, SECOND, 30 * SECOND, 35 * SECOND, 61 * SECOND, 120 * SECOND, 600 * SECOND, 3600 * SECOND, -5 * SECOND)


class InMemory(RuleBasedStateMachine):
    """Over a MemoryStore."""

    steps: ClassVar[int] = 0
    threads: ClassVar[bool] = False

    @initialize(tills=st.sampled_from((("a", "b"), ("a",), ())))
    def open(self, tills: tuple[str, ...]) -> None:
        self.tower = Tower(self.folder(), threads=self.threads)
        for till in tills:
            self.tower.together(("ingest", "feed", "OPENED", till, None))

    def folder(self) -> Path | None:
        return None

    def teardown(self) -> None:
        tower: Any = getattr(self, "tower", None)
        if tower is not None:
            type(self).steps += tower.steps
            tower.end()

    @rule(deed=PROPOSE)
    def propose(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deed=AGAIN)
    def again(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deed=REVIEW)
    def review(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deed=SETTLE)
    def settle(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deed=INGEST)
    def ingest(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deed=ANSWER)
    def answer(self, deed: Deed) -> None:
        self.tower.together(deed)

    @rule(deeds=TOGETHER)
    def together(self, deeds: list[Deed]) -> None:
        self.tower.together(*deeds)

    @rule(span=st.sampled_from(SPANS))
    def pass_time(self, span: int) -> None:
        self.tower.together(("pass", span))

    @rule()
    def sweep(self) -> None:
        self.tower.together(("sweep",))

    @rule()
    def restart(self) -> None:
        self.tower.together(("restart",))


class OnDisk(InMemory):
    """Over a SqliteStore."""

    steps: ClassVar[int] = 0

    def folder(self) -> Path | None:
        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "_folder"):
            self._folder.cleanup()


class ThroughItsLane(OnDisk):
    """Over a SqliteStore, through the lane's own thread."""

    steps: ClassVar[int] = 0
    threads: ClassVar[bool] = True
