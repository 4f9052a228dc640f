"""An activation that would drop a state an entity is in is refused, however late the entity came into it."""

from __future__ import annotations

import random
import threading
from contextlib import closing
from pathlib import Path

import pytest
from lane_cases import AGENT, SHOP, SIGNER, STRIPE, Door, Spied, opened, place, told

from kiff import Caller, Domain, Principal, Runtime, load
from kiff.analysis import verify_store
from kiff.errors import Conflict, Forbidden, IdempotencyConflict, StateInUse
from kiff.ledger import PublicKeys
from kiff.runtime import in_use
from kiff.stores.sqlite import SqliteStore

OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))


def smaller(version: str = "v2") -> Domain:
    """The shop without the state REFUNDED."""
    text = SHOP.replace("version: v1", f"version: {version}").replace("events: [PLACED, REFUNDED]", "events: [PLACED]")
    text = text.replace("states: [OPEN, REFUNDED]", "states: [OPEN]")
    text = text.replace("  - {on: REFUNDED, from: OPEN, to: REFUNDED}\n", "").replace("    emits: [REFUNDED]\n", "")
    return load(text)


def refunded(runtime: Runtime, entity: str) -> None:
    """Brings an entity into the state that is to be dropped."""
    place(runtime, entity).result()
    runtime.ingest(STRIPE, type="REFUNDED", entity=entity).result()


def active(runtime: Runtime) -> str:
    [domain] = runtime.read.domains().values()
    return domain.version


def test_a_state_that_an_entity_is_in_is_not_dropped() -> None:
    with opened(Spied()) as runtime:
        refunded(runtime, "order:1")
        answer = told(runtime.activate(OWNER, smaller()))
        assert isinstance(answer, StateInUse)
        assert answer.detail == {"in_use": {"REFUNDED": "order:1"}}
        assert active(runtime) == "shop-v1"


def test_a_state_that_nobody_is_in_is_dropped() -> None:
    with opened(Spied()) as runtime:
        place(runtime, "order:1").result()
        assert told(runtime.activate(OWNER, smaller())).changed
        assert active(runtime) == "shop-v2"


def test_entities_of_another_type_and_of_another_tenant_do_not_count() -> None:
    """`orders:1` begins with `order` too."""
    other = load(SHOP.replace("domain: shop", "domain: lots").replace("entity: Order", "entity: Orders"))
    theirs = Caller(Principal("eve", "human"), ("tenant_owner",), "theirs")
    with opened(Spied()) as runtime:
        runtime.activate(OWNER, other).result()
        runtime.activate(theirs, load(SHOP)).result()
        refunded(runtime, "orders:1")
        for kind in ("PLACED", "REFUNDED"):
            stripe = Caller(STRIPE.principal, STRIPE.roles, "theirs")
            runtime.ingest(stripe, type=kind, entity="order:1").result()
        assert told(runtime.activate(OWNER, smaller())).changed


def test_an_entity_that_moved_after_somebody_looked_counts() -> None:
    with opened(Spied()) as runtime:
        seen = runtime.read.in_use(smaller())
        assert seen.found == {}
        refunded(runtime, "order:1")
        answer = told(runtime.activate(OWNER, smaller(), seen=seen))
        assert isinstance(answer, StateInUse)
        assert active(runtime) == "shop-v1"


def test_an_entity_that_moved_in_the_same_batch_counts() -> None:
    """The lane is held up until the event and the activation wait together, so one commit takes both."""
    store, door = Spied(), Door()
    with opened(store) as runtime:
        place(runtime, "order:1").result()
        seen = runtime.read.in_use(smaller())
        store.before = door
        held = place(runtime, "order:2")
        door.wait_for_someone()
        moving = runtime.ingest(STRIPE, type="REFUNDED", entity="order:1")
        answer = runtime.activate(OWNER, smaller(), seen=seen)
        store.before = lambda batch: None
        door.open()
        assert told(held).applied
        assert told(moving).state == "REFUNDED"
        assert isinstance(told(answer), StateInUse)
        assert store.batches[-1] == 2, "the event and its move, committed by the batch that refused"


def test_an_event_behind_the_activation_in_its_batch_finds_the_new_version() -> None:
    store, door = Spied(), Door()
    with opened(store) as runtime:
        place(runtime, "order:1").result()
        seen = runtime.read.in_use(smaller())
        store.before = door
        held = place(runtime, "order:2")
        door.wait_for_someone()
        answer = runtime.activate(OWNER, smaller(), seen=seen)
        moving = runtime.ingest(STRIPE, type="REFUNDED", entity="order:1")
        store.before = lambda batch: None
        door.open()
        assert told(held).applied and told(answer).changed
        assert (told(moving).applied, told(moving).state) == (False, "OPEN")


def test_more_moves_than_a_lane_should_look_at_are_asked_about_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use, "PAGE", 4)
    with opened(Spied()) as runtime:
        seen = runtime.read.in_use(smaller())
        for number in range(2):
            place(runtime, f"order:{number}").result()
        answer = told(runtime.activate(OWNER, smaller(), seen=seen))
        assert isinstance(answer, Conflict) and not isinstance(answer, StateInUse)
        assert told(runtime.activate(OWNER, smaller())).changed, "the look itself catches up"


def test_a_look_for_other_states_is_no_answer() -> None:
    """As when somebody else activated a version with more states between the look and the activation."""
    with opened(Spied()) as runtime:
        refunded(runtime, "order:1")
        [head] = runtime._store.heads()
        answer = told(runtime.activate(OWNER, smaller(), seen=in_use.InUse("order", frozenset(), {}, head.size)))
        assert isinstance(answer, Conflict)
        assert active(runtime) == "shop-v1"


def test_the_look_goes_on_after_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_use, "PAGE", 3)
    with opened(Spied()) as runtime:
        for number in range(7):
            place(runtime, f"order:{number}").result()
        refunded(runtime, "order:9")
        assert runtime.read.in_use(smaller()).found == {"REFUNDED": "order:9"}


def test_only_an_owner_learns_where_entities_are() -> None:
    with opened(Spied()) as runtime:
        refunded(runtime, "order:1")
        assert isinstance(told(runtime.activate(AGENT, smaller())), Forbidden)


@pytest.mark.parametrize("seed", range(5))
def test_whoever_wins_a_race_no_entity_is_left_in_a_state_that_is_gone(seed: int) -> None:
    """Events and activations from several threads; either the state is kept or nobody is in it."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    with opened(Spied()) as runtime:
        for number in range(20):
            place(runtime, f"order:{number}").result()
        entities = [f"order:{chance.randrange(20)}" for _ in range(chance.randrange(1, 4))]
        start = threading.Barrier(2)

        def move() -> None:
            start.wait()
            for entity in entities:
                told(runtime.ingest(STRIPE, type="REFUNDED", entity=entity))

        mover = threading.Thread(target=move)
        mover.start()
        start.wait()
        answer = told(runtime.activate(OWNER, smaller()))
        mover.join()
        gone = not isinstance(answer, StateInUse)
        assert (active(runtime) == "shop-v2") == gone
        left = [row.entity for row in runtime._store.entities("default") if row.state == "REFUNDED"]
        assert left == [] if gone else left


def test_an_activation_with_a_key_is_carried_out_once(tmp_path: Path) -> None:
    """Asked for again after another version took over, the first answer comes, and the other version stays."""
    with opened(SqliteStore(tmp_path / "kiff.db")) as runtime:
        second, third = (load(SHOP.replace("version: v1", f"version: {name}")) for name in ("v2", "v3"))
        first = told(runtime.activate(OWNER, second, key="once"))
        unchanged = told(runtime.activate(OWNER, second, key="twice"))
        assert (first.changed, unchanged.changed) == (True, False)
        runtime.activate(OWNER, third).result()
        assert told(runtime.activate(OWNER, second, key="once")) == first
        assert told(runtime.activate(OWNER, second, key="twice")) == unchanged
        assert isinstance(told(runtime.activate(OWNER, third, key="once")), IdempotencyConflict)
        assert active(runtime) == "shop-v3"
        assert [each["data"]["version"] for each in runtime.read.activations("shop")] == [
            "shop-v1",
            "shop-v2",
            "shop-v2",
            "shop-v3",
        ]
    with closing(SqliteStore(tmp_path / "kiff.db")) as again:
        assert verify_store(again, PublicKeys([SIGNER.public])).problems == ()
