"""Whatever happens, in whatever order, the rows are what the log says, and history decides as it did."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kiff import (
    ActionContract,
    ActionFailed,
    Approval,
    ApprovalPolicy,
    Caller,
    Domain,
    Emits,
    KiffError,
    Operation,
    Principal,
    Risk,
    Runtime,
    Transition,
    load,
)
from kiff.analysis import replay_store, verify_store
from kiff.domain.policy import load_policy
from kiff.ledger import Ed25519Signer, PublicKeys
from kiff.protocol.authority import Credential, Member, Tenant
from kiff.protocol.instant import rfc3339
from kiff.protocol.record import KINDS
from kiff.protocol.webhook import Endpoint
from kiff.runtime.commands import AcceptRollback
from kiff.stores.memory import MemoryStore

SOAK = os.environ.get("KIFF_SOAK") == "1"
SEEDS = [random.SystemRandom().getrandbits(32) for _ in range(100)] if SOAK else list(range(6))
STEPS = 400 if SOAK else 150
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))

EMITS = Emits(success=["USED"], failure=["BROKEN"])
DOMAIN = Domain(
    name="machine",
    version="v1",
    entity="Machine",
    events=["MADE", "USED", "BROKEN", "MENDED"],
    states=["READY", "DOWN"],
    transitions=[
        Transition(on="MADE", to="READY"),
        Transition(on="USED", from_="READY", to="READY", set={"uses": "entity.uses + 1"}),
        Transition(on="BROKEN", from_="READY", to="DOWN", when="entity.uses % 2 == 0", set={"note": "event.note"}),
        Transition(on="MENDED", from_="DOWN", to="READY"),
    ],
    attributes={"uses": {"type": "integer", "default": 0}, "note": {"type": "string", "optional": True}},
    payloads={"BROKEN": {"note": {"type": "string"}}},
    timeouts=[
        {"in": "DOWN", "after": "1m", "emit": "MENDED"},
        {"in": "READY", "after": "5m", "emit": "USED"},
        {"in": "READY", "after": "20m", "emit": "MENDED"},
    ],
    actions=[
        ActionContract("USE", ["READY"], [], ["m.use"], Risk.LOW, Approval.NEVER, "use", emits=EMITS),
        ActionContract("ASK", ["READY"], [], ["m.use"], Risk.HIGH, Approval.REQUIRED, "use", emits=EMITS),
        ActionContract(
            "ASK_AND_RUN",
            ["READY"],
            [],
            ["m.use"],
            Risk.HIGH,
            Approval.REQUIRED,
            "use",
            parameters={"why": {"type": "string", "sensitive": True}},
            approval_policy=ApprovalPolicy(on_grant="run", expires_seconds=300),
            emits=EMITS,
        ),
        ActionContract(
            "ASK_TWO",
            ["READY"],
            [],
            ["m.use"],
            Risk.HIGH,
            Approval.REQUIRED,
            "use",
            approval_policy=ApprovalPolicy(quorum=2, binds=("entity.version", "parameters")),
            emits=EMITS,
        ),
        ActionContract("PEEK", ["READY"], [], ["m.use"], Risk.LOW, Approval.NEVER, "use", lock="none", emits=EMITS),
    ],
    roles={"agent": ["m.use"], "human": ["m.approve"], "adapter": ["events.ingest"], "nobody": []},
)
STRICTER = load(DOMAIN.content.replace(b'"version":"v1"', b'"version":"v2"').replace(b'"quorum":2', b'"quorum":3'))
"""Another version: it governs for a while, or is asked beside the one that does."""
POLICIES = [
    load_policy("""
policy: house-v1
rules: [{id: worn_out, when: entity.uses > 3, then: require_approval, match: {action: [USE, PEEK]}}]
"""),
    load_policy("""
policy: house-v2
schedules: {daytime: {hours: "00:00-20:00"}}
rules: [{id: at_night, when: "!schedule.daytime", then: require_approval, quorum: 2, match: {risk: high}}]
limits: [{id: uses, kind: rate, max: 5, per: 10m, key: actor.id, over: require_approval}]
"""),
]
AGENT = Caller(Principal("agent", "agent"), ("agent",))
NOBODY = Caller(Principal("nobody", "agent"), ("nobody",))
HUMAN = Caller(Principal("human", "human"), ("human",))
SECOND = Caller(Principal("second", "human"), ("human",))
OWNER = Caller(Principal("owner", "human"), ("tenant_owner",))
ADAPTER = Caller(Principal("adapter", "service"), ("adapter",))


class Jumping:
    """A clock that only the test moves, sometimes backwards."""

    def __init__(self) -> None:
        self.at = 1_800_000_000_000

    def now(self) -> int:
        return self.at

    def monotonic(self) -> float:
        return self.at / 1000


class Life:
    """Random commands against one runtime; what they answer is not looked at here."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = Jumping()
        self.store = MemoryStore(self.clock)
        self.runtime = Runtime(self.store, SIGNER, domains=[DOMAIN], executors={"use": self.use}, clock=self.clock)
        self.calls: list[tuple[str, str]] = []

    def use(self, operation: Operation) -> object:
        chance = self.random.random()
        if chance < 0.15:
            raise RuntimeError("lost")
        if chance < 0.25:
            raise ActionFailed("did nothing")
        status, event = ("failed", "BROKEN") if chance < 0.35 else ("succeeded", "USED")
        events = [{"type": event, "payload": {"n": 1.5, "note": "worn out"}}]
        return {"status": status, "events": events, "output": {"big": "x" * self.random.choice((0, 5000))}}

    def live(self, steps: int) -> None:
        for number in range(4):
            self.runtime.ingest(ADAPTER, type="MADE", entity=f"machine:{number}").result()
        for _ in range(steps):
            self.clock.at += self.random.choice((0, 0, 1, 50, 2_000, 70_000, 400_000, -5_000))
            try:
                self.random.choice(self.deeds())()
            except KiffError:
                continue  # a refusal that raises is as good a deed as any
        self.runtime.close()

    def deeds(self) -> list[Callable[[], None]]:
        often = [self.execute, self.execute, self.decide, self.ingest, self.review, self.review, self.settle]
        rarely = self.random.choice(
            (self.policy, self.version, self.shadow, self.sweep, self.hook, self.deliver, self.deliver, self.roll_back)
        )
        return [*often, self.again, self.cancel, self.establish, self.revoke, self.sweep, rarely, self.erase]

    def hook(self) -> None:
        hooks, caller = self.runtime.webhooks, self.random.choice((OWNER, OWNER, AGENT))
        known = hooks.all("default")
        if len(known) < 2:
            hooks.add(caller, Endpoint(hooks.draw_id(), "https://example.com/in", ("*",)), "sealed").result()
        else:
            getattr(hooks, self.random.choice(("remove", "enable")))(caller, self.random.choice(known).id).result()

    def deliver(self) -> None:
        later = self.clock.at + 10**10
        for tenant, endpoint in self.store.backlogs(later):
            ended = self.random.choice(("delivered", "failed", "failed", "refused"))
            for _ in range(12):  # more often than a delivery is tried
                for row in self.store.lease(tenant, endpoint, later, later + 1, limit=1):
                    self.runtime.webhooks.attempted(row, ended).result()  # type: ignore[arg-type]  # it is one of them

    def roll_back(self) -> None:
        root = self.random.randbytes(32).hex()
        self.runtime._submit(AcceptRollback("default", "log_seen", 10**6, root, "ann", f"r{root[:8]}")).result()

    def sweep(self) -> None:
        self.runtime._sweeper._due()

    def policy(self) -> None:
        policy, key = self.random.choice((None, *POLICIES)), self.random.choice((None, "once"))
        self.runtime.activate_policy(self.random.choice((OWNER, OWNER, AGENT)), policy, key=key).result()

    def version(self) -> None:
        key = self.random.choice((None, None, "first", "second"))
        self.runtime.activate(OWNER, self.random.choice((DOMAIN, STRICTER)), key=key).result()

    def shadow(self) -> None:
        domain, key = self.random.choice((DOMAIN, STRICTER, STRICTER, None)), self.random.choice((None, "aside"))
        self.runtime.shadow(self.random.choice((OWNER, OWNER, AGENT)), domain, of="machine", key=key).result()

    def erase(self) -> None:
        self.runtime.erase(self.random.choice((OWNER, OWNER, AGENT)), self.entity()).result()

    def entity(self) -> str:
        return f"machine:{self.random.randrange(4)}"

    def execute(self) -> None:
        action = self.random.choice(("USE", "ASK", "ASK_AND_RUN", "ASK_TWO", "PEEK", "NOTHING"))
        caller = NOBODY if self.random.random() < 0.1 else AGENT
        why = {"why": self.random.choice(("sick", "moved", 7))} if action == "ASK_AND_RUN" else {}
        evidence = "e" * self.random.choice((0, 5000))
        answer = self.runtime.execute(
            caller, entity=self.entity(), action=action, parameters=why, evidence=evidence
        ).result()
        if answer.approval_id:
            self.calls.append((answer.approval_id, answer.entity))

    def decide(self) -> None:
        action = self.random.choice(("USE", "ASK", "PEEK"))
        settles = self.random.random() < 0.5
        self.runtime.propose(AGENT, entity=self.entity(), action=action, settles=settles).result()

    def ingest(self) -> None:
        kind = self.random.choice(("USED", "BROKEN", "MENDED", "MENDED", "UNHEARD_OF"))
        payload = {"note": "n" * self.random.choice((0, 5000))}
        self.runtime.ingest(ADAPTER, type=kind, entity=self.entity(), payload=payload).result()

    def review(self) -> None:
        waiting = self.runtime.read.approvals(status="pending")
        if waiting:
            approval = self.random.choice(waiting)
            who = self.random.choice((HUMAN, SECOND, AGENT))
            if self.random.random() < 0.3:
                self.runtime.deny(who, approval.id, "looked at").result()
                return
            soon = self.random.choice((None, rfc3339(self.clock.at + 60_000)))
            self.runtime.grant(who, approval.id, "looked at", expires_at=soon).result()

    def cancel(self) -> None:
        waiting = self.runtime.read.approvals(status="pending")
        if waiting and self.random.random() < 0.3:
            caller = self.random.choice((AGENT, HUMAN, OWNER))
            self.runtime.cancel(caller, self.random.choice(waiting).id, "no longer needed").result()

    def establish(self) -> None:
        name, role = self.random.choice("abc"), self.random.choice(("agent", "human", "operator"))
        active, separate = self.random.random() < 0.8, self.random.random() < 0.5
        credential = f"key_{self.random.randrange(12)}"
        row = self.random.choice(
            (
                Tenant("default", "tenant", separate, 0),
                Member("default", name, "agent", self.random.choice((None, "eve")), None, role, active),
                Credential(
                    "default",
                    credential,
                    "key",
                    b"k" * 32,
                    "a key",
                    self.random.choice((name, None)),
                    role,
                    None,
                    "eve",
                    0,
                ),
            )
        )
        key = self.random.choice((None, None, "once", "twice"))
        self.runtime.establish(self.random.choice((OWNER, OWNER, AGENT)), row, key=key).result()

    def revoke(self) -> None:
        self.runtime.revoke(self.random.choice((OWNER, AGENT)), f"key_{self.random.randrange(12)}").result()

    def again(self) -> None:
        granted = self.runtime.read.approvals(status="granted")
        if granted:
            approval = self.random.choice(granted)
            self.runtime.execute(
                AGENT, entity=approval.entity, action=approval.action, approval_id=approval.id
            ).result()

    def settle(self) -> None:
        operations = self.runtime.read.operations()
        if operations:
            operation = self.random.choice(operations)
            status = self.random.choice(("succeeded", "failed", "cancelled", "unknown"))
            caller = self.random.choice((HUMAN, AGENT))
            self.runtime.settle(caller, operation.id, status, message="seen").result()


@pytest.mark.parametrize("seed", SEEDS)
def test_any_history_verifies_and_replays(seed: int) -> None:
    print(f"seed {seed}")
    life = Life(seed)
    life.live(STEPS)
    verdict = verify_store(life.store, PublicKeys([SIGNER.public]))
    assert verdict.problems == ()
    assert (verdict.status, verdict.unsigned_tail) == ("valid", {"default": 0})
    replayed = replay_store(life.store)
    assert replayed.problems == ()
    assert replayed.decisions > 20


def test_control_the_histories_hold_what_comes_by_itself_and_every_refusal() -> None:
    sources: set[str] = set()
    reasons: set[str] = set()
    for seed in range(6):
        life = Life(seed)
        life.live(STEPS)
        told = [orjson.loads(row.body)["data"] for row in life.store.records("default", limit=100_000)]
        sources.update(data["event"]["source"] for data in told if "event" in data)
        reasons.update(data["reason"] for data in told if "event_id" in data and "reason" in data)
    assert sources >= {"api", "executor", "kiff"}
    assert reasons == {"unknown_event", "no_transition", "guard_not_met", "invalid_payload"}


def test_control_the_histories_hold_every_kind_of_record() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(6):
        life = Life(seed)
        life.live(STEPS)
        kinds.update(orjson.loads(row.body)["kind"] for row in life.store.records("default", limit=100_000))
    print(kinds)
    assert set(KINDS) == set(kinds)
