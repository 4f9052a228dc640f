"""A shop whose callers come with credentials, as a server draws them up: from the rows, and judged by them again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from lane_cases import PATIENCE_SECONDS, SHOP, SIGNER, Door, Refunds, told
from msgspec import json

from kiff import Caller, Domain, Principal, Runtime, load
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member, Tenant, authority, holder
from kiff.runtime.answers import Established
from kiff.runtime.commands import SYSTEM
from kiff.runtime.pending import Pending
from kiff.runtime.ports import Store
from kiff.stores.memory import MemoryStore

TENANT = "acme"
START = 1_779_616_435_000
FOUNDER = Caller(SYSTEM, (AUTHOR, OPERATOR), TENANT)
"""The process itself, which founds tenants and needs no key."""
ORDER, PARCEL = "order:o_1", "parcel:p_1"

PARCELS = """
domain: parcels
version: v1
entity: Parcel
events: [PACKED, SENT]
states: [READY, SENT]
transitions:
  - {on: PACKED, to: READY}
  - {on: SENT, from: READY, to: SENT}
actions:
  - name: SEND
    allowed_states: [READY]
    required_permissions: [parcels.send]
    risk: high
    approval: required
    executor: shop.refund
    emits: [SENT]
    approval_policy: {permissions: [parcels.approve], on_grant: wait, use_within: 15m}
permissions:
  roles: {ops_agent: [parcels.send], ops_operator: [parcels.approve], event_source: [events.ingest]}
"""


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.wall = START

    def now(self) -> int:
        return self.wall

    def monotonic(self) -> float:
        return 0.0


class Shop:
    """A runtime with two domains, `shop` (orders) and `parcels`, and an order and a parcel to act on.

    Attributes:
        at: called in the lane with each point a crash could fall on.
        batches: how many batches the lane took.
    """

    def __init__(self, store: Store | None = None, **options: Any) -> None:
        self.clock = Clock()
        self.store = store or MemoryStore(self.clock)
        self.refunds = Refunds()
        self.at: Callable[[str], None] = lambda point: None
        self.batches = 0
        self.runtime = Runtime(
            self.store,
            options.pop("signer", SIGNER),
            domains=[load(SHOP), load(PARCELS)],
            executors={"shop.refund": self.refunds},
            tenant=TENANT,
            clock=self.clock,
            probe=self._probe,
            **options,
        )
        self.runtime._sweeper.close()
        self._minted = 0
        self.ingest("PLACED", ORDER)
        self.ingest("PACKED", PARCEL)

    def establish(self, row: Tenant | Member | Credential, by: Caller = FOUNDER, **more: Any) -> Established:
        return self.runtime.establish(by, row, **more).result(PATIENCE_SECONDS)

    def member(self, id: str, type: Any = "human", roles: str = "", **more: Any) -> Member:
        """Says who somebody is, or says it anew."""
        row = Member(
            TENANT, id, type, more.pop("person", None), more.pop("name", None), roles, more.pop("active", True)
        )
        assert not more, more
        self.establish(row)
        return row

    def key(self, principal: str | None = None, roles: str = "", **more: Any) -> str:
        """Mints a key; its id.

        Args:
            more: columns of the row, such as `domain`, `created_by`, `expires_at`.
        """
        row = self.row(principal, roles, **more)
        self.establish(row)
        return row.id

    def row(self, principal: str | None = None, roles: str = "", **more: Any) -> Credential:
        """A key that is not there yet."""
        self._minted += 1
        columns: dict[str, Any] = {
            "tenant": TENANT,
            "id": f"key_{self._minted:010d}",
            "kind": "key",
            "digest": sha256(str(self._minted).encode()).digest(),
            "label": "a test",
            "principal": principal,
            "roles": roles,
            "domain": None,
            "created_by": "owner",
            "created_at": 0,
        }
        return Credential(**(columns | more))

    def caller(self, key: str, acting: str | None = None) -> Caller:
        """Whose authority a key has now: what a server draws up before it submits."""
        credential = self.store.row(Credential, TENANT, key)
        assert credential is not None
        who = holder(credential, acting, self.clock.now())
        return authority(credential, self.store.row(Member, TENANT, who), who)

    def person(self, id: str, roles: str = "", **more: Any) -> Caller:
        """A member that is human, calling with a key of their own."""
        self.member(id, "human", roles, **more)
        return self.caller(self.key(id))

    def agent(self, id: str = "ops-agent", roles: str = "ops_agent", **more: Any) -> Caller:
        """A member that is an agent, calling with a key bound to it."""
        minted = {name: more.pop(name) for name in ("created_by", "domain") if name in more}
        self.member(id, "agent", roles, **more)
        return self.caller(self.key(id, **minted))

    def separate(self) -> None:
        """Switches separation of duties on."""
        self.establish(Tenant(TENANT, "tenant", True, 0))

    def ingest(self, type: str, entity: str) -> Any:
        source = Caller(Principal("scanner", "service"), ("event_source",), TENANT)
        return told(self.runtime.ingest(source, type=type, entity=entity))

    def held(self, caller: Caller, entity: str = PARCEL) -> str:
        """A call that waits for a person; the approval's id."""
        action = "SEND" if entity == PARCEL else "REFUND_MUCH"
        answer = told(self.runtime.execute(caller, entity=entity, action=action))
        assert answer.outcome == "approval_required", answer
        return str(answer.approval_id)

    def together(self, *submits: Callable[[], Pending[Any]]) -> list[Any]:
        """What comes of commands that wait while the lane is held, and are one commit when it goes on."""
        door = Door()
        self.at = lambda point: door(point) if point == "append" else None
        first = self.runtime.note(FOUNDER, "door", b"held")
        door.wait_for_someone()
        self.at = lambda point: None
        before, taken = self.batches, list[int]()
        pending = [submit() for submit in submits]
        pending[-1].add_done_callback(lambda _: taken.append(self.batches - before))
        door.open()
        told(first)
        answers = [told(each) for each in pending]
        assert taken == [1], "they were not one batch"
        return answers

    def kinds(self, entity: str | None = None, after: int = -1) -> list[str]:
        """The kinds of the tenant's records, or of one entity's."""
        rows = self.store.records(TENANT, entity=entity, after=after)
        return [json.decode(row.body)["kind"] for row in rows]

    @property
    def size(self) -> int:
        """How many records the log has."""
        return self.store.load([TENANT], []).heads[TENANT].size  # type: ignore[union-attr]

    def _probe(self, point: str) -> None:
        self.batches += point == "load"
        self.at(point)


@contextmanager
def opened(store: Store | None = None, **options: Any) -> Iterator[Shop]:
    shop = Shop(store, **options)
    try:
        yield shop
    finally:
        shop.runtime.close()


def domain_of(text: str, version: str = "v2") -> Domain:
    """Another version of a domain."""
    return load(text.replace("version: v1", f"version: {version}"))


def code(answer: Any) -> str:
    """The code of an error; the outcome's reason or the status of an answer."""
    return str(getattr(answer, "code", None) or getattr(answer, "reason", None) or answer)
