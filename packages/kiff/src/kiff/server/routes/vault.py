"""Forgetting: sensitive values are erased from the vault; the log keeps their commitments, and still verifies."""

from __future__ import annotations

from msgspec import Struct

from kiff.errors import InvalidInput
from kiff.protocol.ids import split_ref
from kiff.protocol.sealed import is_name
from kiff.server.route import Answer, Call, Route


class Forget(Struct, forbid_unknown_fields=True):
    """What to erase: one value by its `commitment`, or those of all calls on an `entity`, 1,000 at a time."""

    commitment: str | None = None
    entity: str | None = None


class Erasure(Struct):
    """The commitments whose values are gone by this request. `more`: the entity has others; ask again."""

    erased: list[str]
    at: str
    more: bool


async def erase(call: Call) -> Answer:
    body: Forget = call.body
    if (body.commitment is None) == (body.entity is None):
        raise InvalidInput("give either `commitment` or `entity`", field="commitment")
    if body.commitment is not None and not is_name(body.commitment):
        raise InvalidInput("a commitment is `sha256:` and 64 hexadecimal digits", field="commitment")
    what = body.commitment or ":".join(split_ref(body.entity or ""))
    told = await call.write(lambda caller: call.tower.runtime.erase(caller, what))
    return Answer(Erasure(list(told.commitments), told.at, told.more))


ROUTES = (
    Route(
        "POST",
        "/v1/me/vault/erase",
        erase,
        "Erase sensitive values for good; the log keeps their commitments.",
        "Vault",
        body=Forget,
        answers={200: Erasure},
        access="owner",
        writes=True,
    ),
)
