"""`kiff approvals` where two people must say yes: each is told what is left; it is held until the last of them did."""

from __future__ import annotations

import pytest
from shop_cases import PRINCIPALS, Ran, Shop

from kiff.cli.exits import Exit

POLICY = "    approval: required\n"


@pytest.fixture
def panel(shop: Shop) -> Shop:
    """A shop whose large refunds take two people, and a second person."""
    file = shop.folder / "kiff.yaml"
    before, after = file.read_text("utf-8").split("  - name: REFUND_ORDER\n")
    assert POLICY in after
    after = after.replace(POLICY, f"{POLICY}    approval_policy: {{permissions: [orders.approve], quorum: 2}}\n", 1)
    file.write_text(f"{before}  - name: REFUND_ORDER\n{after}")
    (shop.folder / "principals.toml").write_text(f'{PRINCIPALS}\n[olga]\ntype = "human"\nroles = ["ops_operator"]\n')
    return shop.paid("ord_1")


def granted(shop: Shop, approval: str, who: str, *more: str) -> Ran:
    said = ("--reason", "looked at it", "--confirm", "order:ord_1", "--as", who)
    return shop("approvals", "grant", approval, *said, *more)


def test_the_first_yes_leaves_it_held_and_says_what_is_left(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    first = granted(panel, approval, "ops-human")
    assert (first.code, first.fields["status"]) == (Exit.HELD, "pending")
    assert "next   it takes 1 more of all reviewers" in first.err
    assert panel.refund("ord_1", 999, "--approval", approval).code == Exit.HELD
    assert panel.effects() == []


def test_the_same_person_again_changes_nothing(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    granted(panel, approval, "ops-human")
    again = granted(panel, approval, "ops-human")
    assert (again.code, "it takes somebody else" in again.err) == (Exit.FAILED, True)
    assert panel("approvals", "show", approval).fields["status"] == "pending"


def test_the_second_person_grants_it(panel: Shop) -> None:
    held = panel.refund("ord_1", 999).fields
    granted(panel, held["approval_id"], "ops-human")
    assert granted(panel, held["approval_id"], "olga").code == Exit.DONE
    ran = panel.refund("ord_1", 999, "--approval", held["approval_id"], "--id", held["proposal_id"])
    assert (ran.code, panel.effects()) == (Exit.DONE, ["ord_1"])


def test_a_dry_run_says_it_would_stay_held_and_counts_nothing(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    assert granted(panel, approval, "ops-human", "--dry-run").code == Exit.HELD
    assert granted(panel, approval, "ops-human").fields["status"] == "pending"


def test_show_tells_people_in_phrases_and_programs_in_members(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    granted(panel, approval, "ops-human")
    shown = panel("approvals", "show", approval)
    assert shown.fields["still_needed"] == "1 more of all reviewers"
    assert shown.fields["votes"].startswith("ops-human at ")
    told = panel("approvals", "show", approval, "--json").json
    assert (told["quorum"], told["still_needed"][0]["more"], told["votes"][0]["by"]) == (2, 1, "ops-human")


def test_the_timeline_names_each_yes(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    granted(panel, approval, "ops-human")
    assert "REFUND_ORDER one yes, 1 more needed" in panel("timeline", "order:ord_1").out


def test_what_two_people_granted_verifies(panel: Shop) -> None:
    approval = panel.refund("ord_1", 999).fields["approval_id"]
    for who in ("ops-human", "olga"):
        granted(panel, approval, who)
    assert panel("verify").code == Exit.DONE
