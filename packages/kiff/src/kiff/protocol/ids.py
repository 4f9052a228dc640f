"""Identifiers: what an id may look like, and how an entity is referred to.

Ids are ASCII on purpose: two ids that look alike on a screen are then alike in bytes, so a
Cyrillic `о` can never stand in for the order somebody approved.
"""

from __future__ import annotations

import re

from kiff.errors import InvalidInput

_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}\Z")
_REF = re.compile(r"([A-Za-z][A-Za-z0-9_-]{0,63}):([A-Za-z0-9_.:-]{1,128})\Z")


def require_id(value: object, field: str) -> str:
    """The value, when it is an id (`[A-Za-z0-9_.:-]{1,128}`, PROTOCOL "Errors").

    Raises:
        InvalidInput: names the field; never echoes more than the length of a bad value.
    """
    if isinstance(value, str) and _ID.match(value):
        return value
    raise InvalidInput(f"`{field}` must be 1 to 128 characters out of A-Z a-z 0-9 _ . : -", field=field)


def split_ref(ref: object) -> tuple[str, str]:
    """`Order:ord_002` -> (`order`, `ord_002`): types match without regard to case and are written lower-case.

    Raises:
        InvalidInput: there is no type before the first colon, or one half is not well formed.
    """
    found = _REF.match(ref) if isinstance(ref, str) else None
    if found is None:
        raise InvalidInput("an entity is written `type:id`, as in `order:ord_002`", field="entity")
    return found[1].lower(), found[2]
