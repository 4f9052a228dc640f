"""Names as parts of a path. What is no name is refused here, so that none of them leads to another route."""

from __future__ import annotations

from kiff.protocol.ids import require_id, split_ref


def one(id: str, field: str) -> str:
    """An id as one part of a path.

    Raises:
        InvalidInput: it is none; names the field.
    """
    return require_id("" if id in (".", "..") else id, field)


def entity(ref: str) -> str:
    """The path of an entity, `/v1/entities/order:ord_001`.

    Raises:
        InvalidInput: it is not written `type:id`.
    """
    return f"/v1/entities/{':'.join(split_ref(ref))}"


def action(ref: str, name: str) -> str:
    """The path of an action on an entity."""
    return f"{entity(ref)}/actions/{one(name, 'action')}"
