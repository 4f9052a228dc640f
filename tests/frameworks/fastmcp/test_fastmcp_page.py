"""docs/guides/frameworks/fastmcp.md does what it says, against a real KIFF."""

from __future__ import annotations

from pages import run_page
from towers import Tower


def test_the_page_does_what_it_says(at_tower: Tower) -> None:
    at_tower.paid("ord_1")
    page = run_page("fastmcp.md", {"grant": at_tower.grant})
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run"), ("allowed", "succeeded")]
    assert at_tower.get("/v1/entities/order:ord_1/state")["state"] == "REFUNDED"
