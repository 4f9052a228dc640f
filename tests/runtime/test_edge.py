"""What a caller may hand in: refused with the field's name before anything is queued, and hurting nobody else."""

from __future__ import annotations

import os
import traceback
from pathlib import Path
from typing import Any

import pytest
from lane_cases import AGENT, HUMAN, SIGNER, STRIPE, Spied, opened, place, told

from kiff import Caller, Principal, Runtime, load
from kiff.errors import Closed, Forbidden, InvalidInput, StoreUnavailable
from kiff.protocol.authority import Member
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore

SERVICE_OF_ADA = Caller(Principal("nightly", "service", person="ada"), ("ops_agent",))
ADA = Caller(Principal("ada", "human"), ("ops_operator", "ops_agent"))
OWNER = Caller(Principal("ada", "human"), ("tenant_owner",))
NOTES = """
domain: notes
entity: Order
events: [PLACED, PAID]
states: [OPEN, PAID]
transitions: [{on: PLACED, to: OPEN}, {on: PAID, from: OPEN, to: PAID}]
actions:
  - {name: NOTE, allowed_states: [OPEN], required_permissions: [orders.note], risk: low, approval: never, lock: none}
permissions: {roles: {ops_agent: [orders.note], event_source: [events.ingest]}}
"""


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("principal", lambda: Caller("ops-agent")),  # type: ignore[arg-type]
        ("roles", lambda: Caller(AGENT.principal, "ops_agent")),  # type: ignore[arg-type]
        ("tenant", lambda: Caller(AGENT.principal, (), "no spaces")),
        ("actor.type", lambda: Principal("x", "robot")),  # type: ignore[arg-type]
    ],
)
def test_a_caller_that_is_none_is_refused_where_it_is_made(field: str, make: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        make()
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("parameters", {"parameters": ["amount"]}),
        ("settles", {"settles": "yes"}),
        ("run_context", {"run_context": 3}),
        ("parameters.kiff_role", {"parameters": {"kiff_role": "admin"}}),
        ("parameters.roles", {"parameters": {"roles": ["admin"]}}),
        ("id", {"id": "a b"}),
    ],
)
def test_a_proposal_that_is_not_well_formed_names_the_field(field: str, more: dict[str, Any]) -> None:
    with opened(Spied()) as runtime:
        with pytest.raises(InvalidInput) as refused:
            runtime.propose(AGENT, entity="order:1", action="REFUND", **more)
        assert refused.value.field == field


def test_an_app_cannot_say_what_its_contract_does_not_emit() -> None:
    """A clearance for a note must not let an agent say that the order was paid."""
    with Runtime(MemoryStore(), SIGNER, domains=[load(NOTES)]) as runtime:
        place(runtime, "order:1").result()
        cleared = runtime.propose(AGENT, entity="order:1", action="NOTE").result()
        forged = told(runtime.settle(AGENT, cleared.clearance_id, "succeeded", events=["PAID"]))
        assert isinstance(forged, InvalidInput)
        assert runtime.read.state("order:1").state == "OPEN"  # type: ignore[union-attr]
        assert runtime.settle(AGENT, cleared.clearance_id, "succeeded").result().status == "succeeded"


def test_a_report_names_a_bounded_number_of_events() -> None:
    with opened(Spied()) as runtime, pytest.raises(InvalidInput):
        runtime.settle(AGENT, "clr_1", "succeeded", events=["REFUNDED"] * 33)


def test_what_a_service_proposed_for_a_person_that_person_does_not_review() -> None:
    with opened(Spied()) as runtime:
        place(runtime, "order:1").result()
        held = runtime.execute(SERVICE_OF_ADA, entity="order:1", action="REFUND_MUCH").result()
        refused = told(runtime.grant(ADA, held.approval_id, "mine"))
        assert isinstance(refused, Forbidden)
        assert refused.code == "proposer_is_reviewer"
        assert runtime.grant(HUMAN, held.approval_id, "looked at it").result().status == "granted"


def test_a_domain_governs_as_soon_as_its_activation_is_answered() -> None:
    for _ in range(50):
        with Runtime(MemoryStore(), SIGNER) as runtime:
            runtime.activate(OWNER, load(NOTES)).result()
            assert runtime.propose(AGENT, entity="order:1", action="NOTE").result().reason == "state_not_allowed"


def test_a_program_that_changes_its_folder_keeps_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(SqliteStore("shop.db")) as runtime:
        place(runtime, "order:1").result()
        (tmp_path / "elsewhere").mkdir()
        os.chdir(tmp_path / "elsewhere")
        assert len(runtime.timeline(STRIPE, "order:1")) == 2
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_closed_lane_does_not_gather_the_frames_of_those_it_refuses() -> None:
    store = Spied()
    runtime = opened(store)

    def full(batch: object) -> None:
        raise StoreUnavailable("the disk is full")

    store.before = full
    told(place(runtime, "order:1"))
    for _ in range(3):
        with pytest.raises((StoreUnavailable, Closed)) as refused:
            place(runtime, "order:2")
        depth = len(traceback.extract_tb(refused.value.__traceback__))
    assert depth < 10
    runtime.close()


def test_text_that_not_every_database_can_hold_is_refused_everywhere() -> None:
    with opened(Spied()) as runtime:
        with pytest.raises(InvalidInput, match="`reason` holds"):
            runtime.deny(HUMAN, "appr_1", "no\0t")
        with pytest.raises(InvalidInput, match="`name` holds"):
            runtime.establish(OWNER, Member("default", "eve", "human", None, "E\0ve", "", True))
