"""How an approval stands at one instant: expiry compares times at use, to the millisecond."""

from __future__ import annotations

from typing import Any

import pytest
from gate_cases import proposal

from kiff.gate import standing
from kiff.protocol.approval import ApprovalRequest
from kiff.stores import conformance_rows as some

CALL = proposal("REFUND_MUCH")


def approval(**fields: Any) -> ApprovalRequest:
    about = {"action_digest": CALL.action_digest, "expires_at": 1_000, "entity_version": 3}
    return some.approval("appr_1", **(about | fields))


@pytest.mark.parametrize("now", [0, 999, 1_000, 5_000])
def test_what_does_not_exist_or_fits_another_call_is_a_mismatch(now: int) -> None:
    assert standing.named(None, CALL, now, 3) == "mismatch"
    assert standing.named(approval(action_digest="another", status="granted", use_by=9_000), CALL, now, 3) == "mismatch"


@pytest.mark.parametrize(
    ("fields", "now", "stands"),
    [
        ({"status": "pending"}, 999, "pending"),
        ({"status": "pending"}, 1_000, "expired"),
        ({"status": "granted", "use_by": 2_000}, 1_999, "granted"),
        ({"status": "granted", "use_by": 2_000}, 2_000, "expired"),
        ({"status": "granted", "use_by": None}, 0, "expired"),
        ({"status": "denied"}, 0, "denied"),
        ({"status": "expired"}, 0, "expired"),
        ({"status": "cancelled"}, 0, "expired"),
        ({"status": "consumed"}, 0, "used"),
    ],
)
def test_an_approval_that_was_named(fields: dict[str, Any], now: int, stands: str) -> None:
    assert standing.named(approval(**fields), CALL, now, 3) == stands


VOID_ONCE_MOVED = ({"status": "pending"}, {"status": "granted", "use_by": 2_000})


@pytest.mark.parametrize("fields", VOID_ONCE_MOVED)
def test_what_is_bound_to_the_entity_as_it_was_is_void_once_it_moved(fields: dict[str, Any]) -> None:
    bound = approval(binds_version=True, **fields)
    assert (standing.named(bound, CALL, 0, 4), standing.unnamed(bound, 4, 0)) == ("mismatch", None)


@pytest.mark.parametrize("fields", VOID_ONCE_MOVED)
def test_control_it_stands_while_the_entity_has_not_moved_and_what_is_not_bound_stands_anyway(
    fields: dict[str, Any],
) -> None:
    assert standing.named(approval(binds_version=True, **fields), CALL, 0, 3) == fields["status"]
    assert standing.unnamed(approval(binds_version=True, **fields), 3, 0) == "pending"
    assert standing.named(approval(**fields), CALL, 0, 4) == fields["status"]


@pytest.mark.parametrize(("status", "stands"), [("consumed", "used"), ("denied", "denied"), ("expired", "expired")])
def test_what_has_ended_is_what_it_was_however_far_the_entity_moved(status: str, stands: str) -> None:
    assert standing.named(approval(binds_version=True, status=status), CALL, 0, 9) == stands


@pytest.mark.parametrize(
    ("fields", "now", "stands"),
    [
        ({"status": "pending"}, 999, "pending"),
        ({"status": "pending"}, 1_000, None),
        ({"status": "granted", "use_by": 2_000}, 1_999, "pending"),
        ({"status": "granted", "use_by": 2_000}, 2_000, None),
        ({"status": "granted", "use_by": None}, 0, None),
        ({"status": "denied", "entity_version": 3}, 0, "denied"),
        ({"status": "denied", "entity_version": 2}, 0, None),
        ({"status": "expired"}, 0, None),
        ({"status": "cancelled"}, 0, None),
        ({"status": "consumed"}, 0, None),
    ],
)
def test_the_last_approval_of_the_same_call_when_none_was_named(
    fields: dict[str, Any], now: int, stands: str | None
) -> None:
    """A grant is never used unless it is named; a no stands until the entity moved."""
    assert standing.unnamed(approval(**fields), 3, now) == stands


def test_no_approval_stands_nowhere() -> None:
    assert standing.unnamed(None, 3, 0) is None


def test_no_instant_makes_an_unnamed_approval_a_grant() -> None:
    for status in ("pending", "granted", "denied", "expired", "cancelled", "consumed"):
        for now in (0, 999, 1_000, 1_999, 2_000, 10**15):
            assert standing.unnamed(approval(status=status, use_by=2_000), 3, now) != "granted"
