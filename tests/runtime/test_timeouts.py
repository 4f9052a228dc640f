"""Events that come by themselves: at their time, once, and only while the entity stays where it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, SIGNER, STRIPE

from kiff import Caller, Principal, Runtime, load
from kiff.analysis import replay_store, verify_store
from kiff.ledger.keys import PublicKeys
from kiff.runtime.commands import Expire
from kiff.runtime.ports import Store
from kiff.runtime.rows import KEYS, TimerRow
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

OWNER = Caller(Principal("owner", "human"), ("tenant_owner",))
START = 1_800_000_000_000
HOUR = 3_600_000
ORDER = "order:1"
SHOP = """
domain: shop
version: v1
entity: Order
events: [PLACED, PAID, REMINDED, EXPIRED, REOPENED]
states: [OPEN, PAID_UP, GONE]
transitions:
  - {on: PLACED, to: OPEN}
  - {on: PAID, from: OPEN, to: PAID_UP}
  - {on: REMINDED, from: OPEN}
  - {on: EXPIRED, from: OPEN, to: GONE}
  - {on: REOPENED, from: [PAID_UP, GONE], to: OPEN}
timeouts:
  - {in: OPEN, after: 24h, emit: REMINDED}
  - {in: OPEN, after: 72h, emit: EXPIRED}
actions:
  - name: PAY
    allowed_states: [OPEN]
    required_permissions: [orders.pay]
    risk: low
    approval: never
    executor: shop.pay
    emits: [PAID]
permissions:
  roles: {ops_agent: [orders.pay], event_source: [events.ingest]}
"""


class Clock:
    """Stands where the test puts it."""

    def __init__(self, at: int = START) -> None:
        self.at = at

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


class Shop:
    """A runtime whose sweep runs only when it is told to."""

    def __init__(self, store: Store, clock: Clock, **options: Any) -> None:
        self.store = store
        self.clock = clock
        self.runtime = Runtime(store, SIGNER, domains=[load(SHOP)], clock=clock, **options)
        self.runtime._sweeper.close()

    def tell(self, *events: str) -> Any:
        for event in events:
            answer = self.runtime.ingest(STRIPE, type=event, entity=ORDER).result(20)
        return answer

    def after(self, hours: float) -> None:
        """Time passes, and a sweep looks at what is due."""
        self.clock.at += round(hours * HOUR)
        self.sweep()

    def sweep(self) -> None:
        self.runtime._sweeper._due()
        self.runtime.checkpoint().result(20)

    def activate(self, text: str) -> None:
        self.runtime.activate(OWNER, load(text)).result(20)

    @property
    def state(self) -> str | None:
        found = self.runtime.read.state(ORDER)
        return None if found is None else found.state

    @property
    def wound(self) -> dict[str, int]:
        """Event -> hours after the start, for the timers that run."""
        rows = self.store.rows(TimerRow, "default")
        return {row.event: (row.due_at - START) // HOUR for row in rows if row.due_at is not None}

    def came(self) -> list[str]:
        """The events that came by themselves, in order."""
        return [event["type"] for event in events_of(self.runtime) if event["source"] == "kiff"]

    def problems(self) -> list[str]:
        self.runtime.checkpoint().result(20)
        found = (*verify_store(self.store, PublicKeys([SIGNER.public])).problems, *replay_store(self.store).problems)
        return [f"{problem.where} {problem.field}".strip() for problem in found]


def events_of(runtime: Runtime) -> list[dict[str, Any]]:
    records = runtime.read.timeline(ORDER)
    return [record["data"]["event"] for record in records if record["kind"] == "event_ingested"]


@pytest.fixture
def shop() -> Any:
    clock = Clock()
    made = Shop(MemoryStore(clock), clock)
    yield made
    assert made.problems() == []
    made.runtime.close()


def test_nothing_comes_before_its_time(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.after(23.999)
    assert (shop.state, shop.came()) == ("OPEN", [])


def test_a_sweep_that_is_too_early_changes_nothing(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.runtime._report(Expire("default", "timer", f"{ORDER}/0", "01EARLY"))
    shop.runtime._report(Expire("default", "timer", "order:nobody/0", "01NOBODY"))
    shop.runtime.checkpoint().result(20)
    assert (shop.came(), shop.wound) == ([], {"REMINDED": 24, "EXPIRED": 72})


def test_the_event_comes_at_its_time_and_moves_the_entity(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.after(24)
    assert (shop.state, shop.came()) == ("OPEN", ["REMINDED"])
    shop.after(48)
    assert (shop.state, shop.came()) == ("GONE", ["REMINDED", "EXPIRED"])


def test_it_is_recorded_as_what_kiff_itself_saw(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.after(72)
    ingested, moved = shop.runtime.read.timeline(ORDER)[-2:]
    assert (ingested["kind"], moved["kind"]) == ("event_ingested", "state_changed")
    assert ingested["actor"] == {"id": "kiff", "type": "service"}
    assert (ingested["causation_id"], ingested["data"]["event"]["source"]) == (f"{ORDER}/1", "kiff")
    assert (moved["data"]["from"], moved["data"]["to"]) == ("OPEN", "GONE")


def test_it_comes_once(shop: Shop) -> None:
    shop.tell("PLACED")
    for _ in range(3):
        shop.after(24)
        shop.sweep()
    assert shop.came() == ["REMINDED", "EXPIRED"]


def test_two_sweeps_that_saw_the_same_timer_bring_one_event(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.clock.at += 24 * HOUR
    shop.runtime._sweeper._due()
    shop.sweep()
    assert shop.came() == ["REMINDED"]


def test_leaving_the_state_stops_what_would_have_come(shop: Shop) -> None:
    shop.tell("PLACED", "PAID")
    assert shop.wound == {}
    shop.after(100)
    assert (shop.state, shop.came()) == ("PAID_UP", [])


def test_leaving_after_having_stayed_stops_them_too(shop: Shop) -> None:
    shop.tell("PLACED", "REMINDED", "PAID")
    assert shop.wound == {}


def test_staying_in_the_state_does_not_start_again(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.after(10)
    shop.tell("REMINDED")
    assert shop.wound == {"REMINDED": 24, "EXPIRED": 72}


def test_coming_back_starts_again(shop: Shop) -> None:
    shop.tell("PLACED", "PAID")
    shop.clock.at += 10 * HOUR
    shop.tell("REOPENED")
    assert shop.wound == {"REMINDED": 34, "EXPIRED": 82}
    assert {row.since for row in shop.store.rows(TimerRow, "default")} == {3}
    shop.after(62)
    assert shop.came() == ["REMINDED"], "the one of the first stay would be due by now"


def test_a_refused_event_leaves_timers_alone(shop: Shop) -> None:
    shop.tell("PLACED", "REOPENED")
    assert shop.wound == {"REMINDED": 24, "EXPIRED": 72}


def test_an_operation_that_moves_the_entity_stops_them_too() -> None:
    clock = Clock()
    shop = Shop(MemoryStore(clock), clock, executors={"shop.pay": lambda operation: {"status": "succeeded"}})
    shop.tell("PLACED")
    assert shop.runtime.execute(AGENT_PAYS, entity=ORDER, action="PAY").result(20).executed
    assert (shop.state, shop.wound) == ("PAID_UP", {})
    assert shop.problems() == []
    shop.runtime.close()


AGENT_PAYS = Caller(AGENT.principal, ("ops_agent",))


def test_it_ends_no_operation_that_is_under_way(shop: Shop) -> None:
    """Even where the event is among those that the operation emits: time is nobody's report."""
    shop.activate(SHOP.replace("version: v1", "version: v2").replace("emits: [PAID]", "emits: [PAID, EXPIRED]"))
    shop.tell("PLACED")
    shop.clock.at += 72 * HOUR - 1
    cleared = shop.runtime.propose(AGENT_PAYS, entity=ORDER, action="PAY", settles=True).result(20)
    assert cleared.clearance_id is not None
    shop.clock.at += 1
    shop.sweep()
    assert (shop.state, shop.came()) == ("GONE", ["REMINDED", "EXPIRED"])
    assert [operation.status for operation in shop.runtime.read.operations()] == ["open"]
    assert shop.runtime.settle(AGENT_PAYS, cleared.clearance_id, "failed", events=[]).result(20).status == "failed"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("events: [PLACED, PAID, REMINDED, EXPIRED, REOPENED]", "events: [PLACED, PAID, REMINDED, REOPENED]"),
        ("", ""),
    ],
    ids=["the event is not declared any more", "no transition takes it"],
)
def test_under_a_version_that_does_not_take_it_it_is_refused_once(old: str, new: str, shop: Shop) -> None:
    text = SHOP.replace("version: v1", "version: v2").replace(old, new).split("timeouts:")
    rest = text[0].replace("  - {on: EXPIRED, from: OPEN, to: GONE}\n", "")
    shop.tell("PLACED")
    shop.activate(f"{rest}actions:{text[1].split('actions:')[1]}")
    for _ in range(4):
        shop.after(24)
    assert (shop.state, shop.wound, shop.came()) == ("OPEN", {}, ["REMINDED", "EXPIRED"])
    refused = [each["data"] for each in shop.runtime.read.timeline(ORDER) if each["kind"] == "transition_refused"]
    assert [(each["type"], each["reason"]) for each in refused] == [
        ("EXPIRED", "unknown_event" if old else "no_transition")
    ]


def test_a_timer_of_an_older_version_never_comes_in_a_later_stay(shop: Shop) -> None:
    """The version that is active when the entity leaves has no timeouts, and stops those of the one before."""
    text = SHOP.replace("version: v1", "version: v2").split("timeouts:")
    shop.tell("PLACED")
    shop.activate(f"{text[0]}actions:{text[1].split('actions:')[1]}")
    shop.tell("PAID", "REOPENED")
    assert (shop.state, shop.wound) == ("OPEN", {})
    shop.after(100)
    assert shop.came() == []


def test_a_version_with_fewer_timeouts_stops_the_others(shop: Shop) -> None:
    shop.tell("PLACED")
    shop.activate(
        SHOP.replace("version: v1", "version: v2").replace("  - {in: OPEN, after: 24h, emit: REMINDED}\n", "")
    )
    shop.tell("PAID", "REOPENED")
    assert shop.wound == {"EXPIRED": 72}
    shop.after(24)
    assert shop.came() == []


def changed(shop: Shop, key: tuple[type, str, str], row: TimerRow | None) -> list[str]:
    """What is found once somebody put this row in that place, or took it away."""
    kept = shop.store._rows.pop(key, None)  # type: ignore[attr-defined]
    if row is not None:
        shop.store._rows[key] = row  # type: ignore[attr-defined]
    try:
        return shop.problems()
    finally:
        shop.store._rows.pop(key, None)  # type: ignore[attr-defined]
        if kept is not None:
            shop.store._rows[key] = kept  # type: ignore[attr-defined]


def test_a_timer_that_somebody_changed_took_away_or_made_up_is_found(shop: Shop) -> None:
    shop.tell("PLACED")
    id = f"{ORDER}/1"
    row = shop.store.row(TimerRow, "default", id)
    assert row is not None
    for name, value in {"due_at": None, "event": "PAID", "state": "GONE", "since": 0, "entity": "order:2"}.items():
        values = {field: getattr(row, field) for field in TimerRow.__struct_fields__}
        assert changed(shop, (TimerRow, "default", id), TimerRow(**(values | {name: value}))) == [f"timer {id} {name}"]
    assert changed(shop, (TimerRow, "default", id), None) == [f"timer {id}"]
    made_up = TimerRow("default", f"{ORDER}/2", ORDER, "PAID", "OPEN", 1, START)
    assert changed(shop, (TimerRow, "default", getattr(made_up, KEYS[TimerRow])), made_up) == [f"timer {ORDER}/2"]


POINTS = ["load", "stepped", "append", "appended"]


def opened(folder: Path, clock: Clock, **options: Any) -> Shop:
    return Shop(SqliteStore(folder / "shop.db", clock=clock), clock, **options)


def test_timers_survive_a_restart(tmp_path: Path) -> None:
    shop = opened(tmp_path, Clock())
    shop.tell("PLACED")
    shop.runtime.close()
    shop = opened(tmp_path, Clock(START + 72 * HOUR))
    shop.sweep()
    assert (shop.state, shop.came()) == ("GONE", ["REMINDED", "EXPIRED"])
    assert shop.problems() == []
    shop.runtime.close()


@pytest.mark.parametrize("point", POINTS)
def test_a_kill_between_its_time_and_its_commit_loses_nothing_and_repeats_nothing(point: str, tmp_path: Path) -> None:
    shop = opened(tmp_path, Clock())
    shop.tell("PLACED", "REMINDED")
    shop.runtime.close()
    ran = subprocess.run([sys.executable, __file__, str(tmp_path), point], timeout=60, check=False)
    assert ran.returncode == -signal.SIGKILL, "the child did not come to the point"
    shop = opened(tmp_path, Clock(START + 80 * HOUR))
    assert len(shop.came()) == (2 if point == "appended" else 0)
    shop.sweep()
    assert (shop.state, shop.came()) == ("GONE", ["REMINDED", "EXPIRED"])
    assert shop.problems() == []
    shop.runtime.close()


def killed(folder: Path, point: str) -> None:
    """The child: it sweeps, and is gone when the lane passes the point."""
    armed = False

    def probe(passed: str) -> None:
        if armed and passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    shop = opened(folder, Clock(START + 80 * HOUR), probe=probe)
    armed = True
    shop.sweep()


if __name__ == "__main__":
    killed(Path(sys.argv[1]), sys.argv[2])
