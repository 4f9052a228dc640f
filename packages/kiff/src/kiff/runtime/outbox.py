"""The outbox: who is told of a commit's records, what they are told, and when it is tried again.

Deliveries are rows of the commit that writes their record, so nothing that was decided can go untold. What is told is
the record itself, read from the log when it is sent.
"""

from __future__ import annotations

from msgspec import Raw, Struct, json

from kiff.protocol.webhook import Endpoint, endpoints_of, name_of, wanted
from kiff.runtime.rows import HOOKS, Delivery, Hooks, delivery_id
from kiff.runtime.world import World

SCHEDULE_SECONDS = (0, 5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""How long each attempt waits for after the one before it (the example of Standard Webhooks): ten, in three days."""
JITTER = 0.2
"""By what part of itself a pause is longer at most, so that not all come back at once."""
LONGEST_PAUSE_MS = 24 * 3_600_000
"""How long an endpoint may ask to be left alone."""
KEPT_MS = 30 * 24 * 3_600_000
"""How long a dead delivery is kept, to be sent again by hand. Its record in the log stays."""
FAILING_MS = 5 * 24 * 3_600_000
"""An endpoint to which nothing was delivered for so long is switched off."""


def deliveries(world: World) -> list[Delivery]:
    """What the endpoints of each tenant are to be told of the records that a batch adds.

    The slice must speak of every tenant's Hooks.
    """
    found: list[Delivery] = []
    for tenant, log in world.logs.items():
        hooks = world.rows[Hooks, tenant, HOOKS] if log.records else None
        if not isinstance(hooks, Hooks):
            continue
        on = [each for each in endpoints_of(hooks.endpoints) if each.is_on]
        tell = [(each.id, wanted(each.events), each.entity_types) for each in on]
        for record in log.records:
            name = name_of(record.kind, record.data)
            entity = record.entity or ""
            for endpoint, names, types in tell:
                if name in names and is_of(entity, types):
                    id = delivery_id(endpoint, record.seq)
                    found.append(Delivery(tenant, id, endpoint, entity, record.seq, "due", 0, log.at))
    return found


def wants(endpoint: Endpoint, body: bytes) -> Told | None:
    """What an endpoint is told of a record; None when it did not ask for it."""
    told = read(body)
    if told is None or told.name not in wanted(endpoint.events):
        return None
    return told if is_of(told.entity, endpoint.entity_types) else None


def is_of(entity: str, types: tuple[str, ...]) -> bool:
    """Whether an entity is of one of these types; none asks for nothing."""
    return not types or entity.split(":", 1)[0] in types


class Told(Struct, frozen=True):
    """A message.

    Args:
        name: its `type`.
        entity: empty when it is about none.
        body: what is signed and sent: `{"data": {"receipt_id", "record"}, "timestamp", "type"}`, the record in it to
            the byte as it stands in the log.
    """

    name: str
    entity: str
    seq: int
    body: bytes


class _Record(Struct):
    at: str
    kind: str
    entity: str | None
    seq: int
    data: dict[str, Raw]


class _Receipt(Struct):
    id: str | None = None


def read(body: bytes) -> Told | None:
    """The message of a record; None when none is sent of it.

    Args:
        body: the record as it stands in the log.
    """
    record = json.decode(body, type=_Record)
    outcome = record.data.get("outcome")
    name = name_of(record.kind, {} if outcome is None else {"outcome": json.decode(outcome)})
    if name is None:
        return None
    receipt = record.data.get("receipt")
    receipt_id = json.encode(None if receipt is None else json.decode(receipt, type=_Receipt).id)
    data = b'{"receipt_id":%b,"record":%b}' % (receipt_id, body)
    whole = b'{"data":%b,"timestamp":"%b","type":"%b"}' % (data, record.at.encode(), name.encode())
    return Told(name, record.entity or "", record.seq, whole)


def pause_ms(attempts: int, draw: float, asked_ms: int | None) -> int:
    """How long the next attempt waits.

    Args:
        attempts: how many there were.
        draw: 0 to 1, by chance.
        asked_ms: how long the endpoint asked to be left alone.
    """
    planned = SCHEDULE_SECONDS[attempts] * 1_000 * (1 + JITTER * draw)
    return int(max(planned, min(asked_ms or 0, LONGEST_PAUSE_MS)))
