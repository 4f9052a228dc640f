"""How a request names an entity: `type:id`, or a bare id that fits one type (PROTOCOL "Events, state, evidence")."""

from __future__ import annotations

from collections.abc import Collection

from kiff.errors import InvalidInput, NotFound
from kiff.protocol.ids import require_id, split_ref
from kiff.protocol.state import EntityState
from kiff.server.tower import Tower


def typed(entity_type: str, entity_id: str) -> str:
    """The reference of an entity whose type is given beside its id; the id may repeat the type.

    Raises:
        InvalidInput: one of them is not well formed.
    """
    require_id(entity_id, "entity_id")
    prefix, _, rest = entity_id.partition(":")
    if rest and prefix.lower() == entity_type.lower():
        entity_id = rest
    try:
        return ":".join(split_ref(f"{entity_type}:{entity_id}"))
    except InvalidInput as error:
        message = "`entity_type` must be a letter, then up to 63 letters, digits, _ or -"
        raise InvalidInput(message, field="entity_type") from error


def find(tower: Tower, tenant: str, name: str, entity_type: str | None = None) -> str:
    """The reference that the `{id}` of a path means.

    Raises:
        InvalidInput: it is no id, or fits entities of two types (`ambiguous_entity`).
        NotFound: no type is declared that it could be of.
    """
    if entity_type is not None:
        return typed(entity_type, name)
    require_id(name, "id")
    meant = _meant(tower, tenant, name, tower.runtime.entity_types(tenant))
    if meant is None and not tower.store.exclusive:  # its domain may have been activated by another process just now
        meant = _meant(tower, tenant, name, tower.runtime.read.domains(tenant))
    if meant is None:
        raise NotFound(f"there is no entity `{name}`", entity_id=name)
    return meant


def _meant(tower: Tower, tenant: str, name: str, types: Collection[str]) -> str | None:
    """What a name means among these types; None when it is of none of them."""
    prefix, _, rest = name.partition(":")
    if rest and prefix.lower() in types:
        return f"{prefix.lower()}:{rest}"
    return _bare(tower, tenant, name, types)


def _bare(tower: Tower, tenant: str, name: str, types: Collection[str]) -> str | None:
    there = [each for each in types if tower.store.row(EntityState, tenant, f"{each}:{name}") is not None]
    if len(there) > 1:
        raise InvalidInput(
            f"`{name}` fits {' and '.join(f'{each}:{name}' for each in sorted(there))}; write the type with it",
            field="id",
            code_hint="ambiguous_entity",
        )
    candidates = there or list(types)
    return f"{candidates[0]}:{name}" if len(candidates) == 1 else None
