"""The pure part: a step, and everything from bytes to leaf hashes, beside one signature."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.subject import AGENT, BODY, PARAMETERS, domain
from kiff.canonical import admit, parse
from kiff.ledger.tree import leaf_hash
from kiff.protocol.actor import Caller
from kiff.protocol.proposal import draw_up
from kiff.protocol.receipt import Issuer, receipt_core
from kiff.protocol.record import record_bytes
from kiff.protocol.state import EntityState
from kiff.runtime.clock import Ulids
from kiff.runtime.commands import Propose, propose
from kiff.runtime.ports import Slice
from kiff.runtime.rows import ActiveDomain, LogHead, Runway
from kiff.runtime.step import step
from kiff.runtime.world import Context, World

ENTITY = "order:ord_001"
ISSUER = Issuer("kiff", "x" * 43)


def allowed() -> tuple[Callable[[], object], Callable[[], object]]:
    """(one step for an allowed proposal; strict decode + that step + its records' bytes + their leaf hashes)."""
    governs = domain()
    context = Context("run_bench", frozenset({"refund.issue_refund"}), {governs.digest: governs})
    ids = Ulids()

    def drawn(parameters: dict[str, object]) -> Propose:
        value, data = admit(parameters)
        suffix = ids.draw()
        proposal = draw_up(
            AGENT,
            id=f"prop_{suffix}",
            mode="execute",
            domain=governs.name,
            entity=ENTITY,
            action="AUTO_REFUND",
            parameters=value,
            parameters_json=data,
            about={},
            settles=False,
        )
        return propose(AGENT, proposal, suffix)

    command = drawn(PARAMETERS)
    world = _world(command, context, AGENT)

    def one_step() -> object:
        return step(world, command)

    def whole() -> object:
        drawn(parse(BODY).value["parameters"])  # its ids differ from the loaded ones, so the first command is stepped
        hashes = []
        for record in step(world, command).records:
            core = None
            if record.receipt is not None:
                core = receipt_core(
                    record.receipt,
                    ISSUER,
                    tenant=record.tenant,
                    entity=record.entity,
                    trace_id=record.trace_id,
                    issued_at=record.at,
                    domain_version=record.domain_version,
                )
            hashes.append(leaf_hash(record_bytes(record, core)))
        return hashes

    return one_step, whole


def _world(command: Propose, context: Context, caller: Caller) -> World:
    tenant, governs = caller.tenant, next(iter(context.domains.values()))
    rows = dict.fromkeys(command.reads())
    active = ActiveDomain(tenant, governs.entity_type, governs.name, governs.version, governs.digest)
    rows[ActiveDomain, tenant, governs.entity_type] = active  # type: ignore[assignment]
    rows[EntityState, tenant, ENTITY] = EntityState(tenant, ENTITY, governs.name, "PAID", 2)  # type: ignore[assignment]
    rows[Runway, tenant, ENTITY] = Runway(tenant, ENTITY, None, 3)  # type: ignore[assignment]
    head = LogHead(tenant, "log", 10, bytes(32), bytes(64), 0)
    return World(context, Slice(1_779_616_435_011, {tenant: head}, rows))  # type: ignore[arg-type]
