"""Every tenant signs with its own key: nobody else's fits, and one tenant's trouble with its key is its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from lane_cases import PATIENCE_SECONDS, Door, Refunds, shop, told

from kiff import Caller, Principal, Runtime
from kiff.analysis import verify_store
from kiff.errors import KeyUnusable, NotFound, StoreRefused
from kiff.ledger import PublicKeys, verify_receipt
from kiff.ledger.checkpoint import open_checkpoint
from kiff.ledger.keys import Ed25519Signer
from kiff.runtime.clock import SystemClock
from kiff.runtime.commands import SYSTEM
from kiff.stores.memory import MemoryStore

TENANTS = ("acme", "zebra")
SIGNERS = {
    tenant: Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number, tenant in enumerate(TENANTS, 1)
}
EVERYTHING = ("tenant_owner", "event_source", "ops_agent")


def caller(tenant: str) -> Caller:
    return Caller(Principal("ops-agent", "agent"), EVERYTHING, tenant)


class Keys:
    """The signers of both tenants, until one of them is lost."""

    def __init__(self) -> None:
        self.lost: set[str] = set()

    def __call__(self, tenant: str) -> Ed25519Signer:
        if tenant in self.lost:
            raise KeyUnusable("the key is not there")
        return SIGNERS[tenant]


class Two:
    """A runtime with two tenants that have the same shop."""

    def __init__(self, store: MemoryStore | None = None, **options: Any) -> None:
        self.store = store or MemoryStore()
        self.keys = Keys()
        self.door: Door | None = None
        self.runtime = Runtime(
            self.store, self.keys, executors={"shop.refund": Refunds()}, probe=self._probe, **options
        )
        for tenant in TENANTS:
            told(self.runtime.activate(caller(tenant), shop()))

    def _probe(self, point: str) -> None:
        if self.door is not None and point == "append":
            door, self.door = self.door, None
            door(point)

    def place(self, tenant: str, order: str) -> Any:
        return self.runtime.ingest(caller(tenant), type="PLACED", entity=f"order:{order}")

    def refund(self, tenant: str, order: str) -> Any:
        return self.runtime.execute(caller(tenant), entity=f"order:{order}", action="REFUND")

    def receipts(self) -> dict[str, dict[str, Any]]:
        """A refund of each tenant, decided in one batch; each one's receipt with its proofs."""
        for tenant in TENANTS:
            told(self.place(tenant, "o_1"))
        door = self.door = Door()
        first = self.runtime.note(Caller(SYSTEM, (), "acme"), "door", b"held")
        door.wait_for_someone()
        pending = {tenant: self.refund(tenant, "o_1") for tenant in TENANTS}
        door.open()
        told(first)
        ids = {tenant: told(each).receipt_id for tenant, each in pending.items()}
        for tenant in TENANTS:
            self.runtime.checkpoint(tenant).result(PATIENCE_SECONDS)
        return {tenant: self.runtime.read.receipt(id, tenant=tenant, proof=True) for tenant, id in ids.items()}


@pytest.fixture(params=["each", "batch"])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    two = Two(receipts=request.param)
    yield two
    two.runtime.close()


def test_a_receipt_verifies_under_its_own_tenants_key(two: Two) -> None:
    for tenant, receipt in two.receipts().items():
        assert receipt["kid"] == SIGNERS[tenant].kid
        verdict = verify_receipt(receipt, PublicKeys([SIGNERS[tenant].public]))
        assert (verdict.status, verdict.reached) == ("valid", "INCLUDED"), verdict


def test_and_under_no_other(two: Two) -> None:
    acme, zebra = two.receipts().values()
    other = PublicKeys([SIGNERS["zebra"].public])
    assert verify_receipt(acme, other).status != "valid"
    claimed = acme | {"kid": zebra["kid"]}
    assert verify_receipt(claimed, other).status == "invalid"
    swapped = acme | {"signature": zebra["signature"]}
    assert verify_receipt(swapped, PublicKeys([SIGNERS["acme"].public])).status == "invalid"


def test_receipts_of_one_commit_are_signed_together_per_tenant() -> None:
    two = Two(receipts="batch")
    told_receipts = two.receipts()
    two.runtime.close()
    assert all("batch" in receipt["proofs"] for receipt in told_receipts.values())
    assert told_receipts["acme"]["signature"] != told_receipts["zebra"]["signature"]


def test_the_whole_store_verifies_under_both_keys_and_not_under_one(two: Two) -> None:
    two.receipts()
    two.runtime.close()
    both = [signer.public for signer in SIGNERS.values()]
    assert verify_store(two.store, PublicKeys(both)).status == "valid"
    assert verify_store(two.store, PublicKeys(both[:1])).status != "valid"


def test_each_log_has_its_own_name_and_its_own_head(two: Two) -> None:
    receipts = two.receipts()
    notes = {tenant: receipt["proofs"]["checkpoint"].encode() for tenant, receipt in receipts.items()}
    for tenant, note in notes.items():
        open_checkpoint(note, PublicKeys([SIGNERS[tenant].public]))
    assert len({receipt["proofs"]["log"] for receipt in receipts.values()}) == 2


def test_a_tenant_whose_key_is_lost_is_refused_alone(two: Two) -> None:
    for tenant in TENANTS:
        told(two.place(tenant, "o_1"))
    two.keys.lost.add("zebra")
    lost, good = told(two.refund("zebra", "o_1")), told(two.refund("acme", "o_1"))
    assert (type(lost), good.executed) == (StoreRefused, True)
    assert two.runtime.failure is None


class LaterClock(SystemClock):
    """A steady clock that a test moves on."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


def test_a_head_that_cannot_be_signed_keeps_nobody_elses_writes_up() -> None:
    """Its second is over, and its tenant's key is lost by then."""
    clock = LaterClock()
    two = Two(clock=clock)
    try:
        told(two.place("zebra", "o_1"))
        two.keys.lost.add("zebra")
        for number in range(3):
            clock.ahead += 2.0
            answer = told(two.place("acme", f"o_{number}"))
            assert getattr(answer, "applied", False), answer
        assert told(two.runtime.checkpoint("acme"))
        assert isinstance(told(two.runtime.checkpoint("zebra")), KeyUnusable)
        assert told(two.place("zebra", "o_2")).applied, "what takes no signature goes on"
    finally:
        two.runtime.close()
    notes = {tenant: two.store.checkpoint(tenant) for tenant in TENANTS}
    heads = {head.tenant: head.size for head in two.store.heads()}
    assert notes["acme"] is not None
    assert notes["acme"].size == heads["acme"], "closing signs what can be signed"
    assert notes["zebra"] is None or notes["zebra"].size < heads["zebra"]


def test_a_head_is_signed_within_its_second_also_when_only_others_write() -> None:
    clock = LaterClock()
    two = Two(clock=clock)
    try:
        told(two.place("zebra", "o_1"))
        clock.ahead += 2.0
        told(two.place("acme", "o_1"))
        [head] = [head for head in two.store.heads() if head.tenant == "zebra"]
        note = two.store.checkpoint("zebra")
        assert note is not None
        assert note.size == head.size
    finally:
        two.runtime.close()


def test_a_tenant_that_never_wrote_has_no_head_to_sign(two: Two) -> None:
    assert isinstance(told(two.runtime.checkpoint("nobody")), NotFound)


def test_a_head_that_could_not_be_signed_is_signed_when_the_key_is_back() -> None:
    clock = LaterClock()
    two = Two(clock=clock)
    try:
        told(two.place("zebra", "o_1"))
        two.keys.lost.add("zebra")
        clock.ahead += 2.0
        told(two.place("acme", "o_1"))
        assert two.store.checkpoint("zebra") is None
        two.keys.lost.clear()
        clock.ahead += 2.0
        told(two.place("acme", "o_2"))
        assert two.store.checkpoint("zebra") is not None
    finally:
        two.runtime.close()
