"""Two versions of a domain side by side: what is written otherwise, and what that comes to."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from kiff.analysis.access.calls import CALLS, MOST_CALLS, access, access_json
from kiff.analysis.access.moves import move_json, moves
from kiff.analysis.prove import prove_access
from kiff.domain import Domain
from kiff.domain.difference import differences


def difference_json(
    before: Domain, after: Domain, seconds: float | None = None, calls: int = CALLS, most: int = MOST_CALLS
) -> dict[str, Any]:
    """As commands and the wire tell it.

    Args:
        calls: how many calls of one action are tried.
        most: of all actions together, where nothing is proved.
        seconds: what a solver may take for one question; None: nothing is proved.

    Returns:
        `access`, `moves` and `differences`; with a solver `proved`, `unknown` (what could not be decided) and `note`
        (under which reading of numbers).

    Raises:
        InvalidInput: they govern different entity types; or a proof is asked for and the solver is not installed.
    """
    said: dict[str, Any] = {}
    if seconds is None:
        found = access(before, after, calls=calls, most=most)
    else:
        proof = prove_access(before, after, seconds=seconds, calls=calls)
        found = list(proof.found)
        note = ", numbers without a unit taken as reals" if proof.reals else ""
        said = {"proved": proof.proved, "unknown": list(proof.unknown), "note": note}
    return {
        "access": [access_json(before, each) for each in found],
        "moves": [move_json(after, each) for each in moves(before, after)],
        "differences": to_builtins(differences(before, after)),
        **said,
    }
