"""`kiff policies` and `kiff domains shadow` on a database: what is refused, what is said, and what holds afterwards."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from shop_cases import Shop

from kiff import load_policy
from kiff.cli.exits import Exit
from kiff.stores.sqlite import SqliteStore

pytestmark = pytest.mark.slow

HOUSE = """\
policy: house-v1
rules:
  - id: large
    when: has(parameters.amount) && parameters.amount > 40
    then: require_approval
    match: {domain: refund-ops, action: [AUTO_REFUND]}
"""
TYPO = HOUSE.replace("has(parameters.amount) && parameters.amount", "parameters.amuont").replace("v1", "v2")


@pytest.fixture
def house(shop: Shop) -> Shop:
    """An order is paid, and a policy lies beside the domain."""
    (shop.folder / "house.yaml").write_text(HOUSE)
    (shop.folder / "typo.yaml").write_text(TYPO)
    return shop.paid("ord_1", "ord_2")


def edited(shop: Shop, *edits: tuple[str, str]) -> str:
    """Another version of the domain, in a file of its own."""
    text = (shop.folder / "kiff.yaml").read_text().replace("version: v2", "version: v3")
    for old, new in edits:
        text = text.replace(old, new)
    (shop.folder / "next.yaml").write_text(text)
    return "next.yaml"


class TestCheck:
    def test_what_is_wrong_is_said_with_its_line(self, house: Shop) -> None:
        (house.folder / "house.yaml").write_text(HOUSE.replace("require_approval", "ask"))
        ran = house("policies", "check", "house.yaml")
        assert ran.code == Exit.FAILED
        assert [(row["line"], row["level"], row["code"]) for row in ran.rows] == [("5", "error", "not_one_of")]
        assert "asked about no domain" in ran.err

    @pytest.mark.parametrize("over", [("--domain", "kiff.yaml"), ("--governing",)])
    def test_what_does_not_fit_a_domain_is_unfinished(self, house: Shop, over: tuple[str, ...]) -> None:
        assert house("policies", "check", "typo.yaml").code == Exit.DONE
        ran = house("policies", "check", "typo.yaml", *over)
        assert (ran.code, [row["level"] for row in ran.rows]) == (Exit.FAILED, ["unfinished"])
        assert "`AUTO_REFUND` of `refund-ops-v2` is withheld" in ran.rows[0]["message"]
        assert "asked about refund-ops-v2" in ran.err

    def test_what_fits_is_ready(self, house: Shop) -> None:
        ran = house("policies", "check", "house.yaml", "--domain", "kiff.yaml", "--json")
        assert (ran.code, ran.json["ok"], ran.json["policy"]) == (Exit.DONE, True, "house-v1")
        assert "house-v1 is ready" in ran.err

    def test_strict_ends_with_one_on_a_warning(self, house: Shop) -> None:
        (house.folder / "idle.yaml").write_text("policy: idle\n")
        assert house("policies", "check", "idle.yaml").code == Exit.DONE
        assert house("policies", "check", "idle.yaml", "--strict").code == Exit.FAILED

    def test_a_file_that_is_not_there_is_named(self, shop: Shop) -> None:
        ran = shop("policies", "check", "nowhere.yaml")
        assert (ran.code, "`nowhere.yaml`" in ran.err) == (Exit.FAILED, True)


class TestActivate:
    def test_only_a_tenant_owner_changes_it(self, house: Shop) -> None:
        for argv in (("activate", "house.yaml"), ("deactivate",)):
            ran = house("policies", *argv, "--as", "ops-human")
            assert (ran.code, "tenant_owner" in ran.err) == (Exit.BLOCKED, True)

    @pytest.mark.parametrize("argv", [(), ("house.yaml", "--published", "house-v1")])
    def test_one_thing_is_named(self, house: Shop, argv: tuple[str, ...]) -> None:
        assert house("policies", "activate", *argv, "--as", "ada").code == Exit.USAGE

    def test_a_database_is_not_made(self, shop: Shop) -> None:
        (shop.folder / "house.yaml").write_text(HOUSE)
        assert shop("policies", "activate", "house.yaml", "--as", "ada").code == Exit.FAILED
        assert not (shop.folder / "kiff.db").exists()

    def test_a_dry_run_writes_nothing(self, house: Shop) -> None:
        ran = house("policies", "activate", "house.yaml", "--as", "ada", "--dry-run")
        assert (ran.fields["dry_run"], ran.fields["version"]) == ("yes", "house-v1")
        assert house("policies").rows == []

    def test_a_broken_policy_names_check(self, house: Shop) -> None:
        (house.folder / "house.yaml").write_text("policy: house\nrules: [{}]\n")
        ran = house("policies", "activate", "house.yaml", "--as", "ada")
        assert (ran.code, "kiff policies check" in ran.err) == (Exit.FAILED, True)

    def test_it_holds_from_the_next_decision(self, house: Shop) -> None:
        ran = house("policies", "activate", "house.yaml", "--as", "ada")
        assert (ran.code, ran.fields["changed"], ran.err) == (Exit.DONE, "yes", "")
        assert [(row["version"], row["active"]) for row in house("policies").rows] == [("house-v1", "yes")]
        held = house.refund("ord_1", 49)
        assert (held.code, held.fields["reasons"]) == (Exit.HELD, "large")
        assert "rule   refund-ops-v2 with house-v1  actions/AUTO_REFUND/large" in held.err
        assert house.refund("ord_2", 30).code == Exit.DONE

    def test_what_becomes_of_pending_approvals_is_said(self, house: Shop) -> None:
        house("policies", "activate", "house.yaml", "--as", "ada")
        house.refund("ord_1", 49)
        ran = house("policies", "deactivate", "--as", "ada")
        assert (ran.fields["pending_approvals"], "1 pending approval stays" in ran.err) == ("1", True)
        ran = house("domains", "apply", edited(house), "--as", "ada")
        assert (ran.fields["pending_approvals"], "1 pending approval stays" in ran.err) == ("1", True)

    def test_what_it_would_withhold_is_said(self, house: Shop) -> None:
        ran = house("policies", "activate", "typo.yaml", "--as", "ada")
        assert (ran.code, "`AUTO_REFUND` of `refund-ops-v2` is withheld" in ran.err) == (Exit.DONE, True)
        assert house.refund("ord_1", 30).code == Exit.BLOCKED

    def test_a_published_version_holds_again(self, house: Shop) -> None:
        house("policies", "activate", "house.yaml", "--as", "ada")
        assert house("policies", "deactivate", "--as", "ada").fields["changed"] == "yes"
        assert [row["active"] for row in house("policies").rows] == ["no"]
        ran = house("policies", "activate", "--published", "house-v1", "--as", "ada")
        assert (ran.fields["version"], ran.fields["changed"]) == ("house-v1", "yes")
        assert house("policies", "activate", "--published", "house-v9", "--as", "ada").code == Exit.FAILED

    def test_a_version_is_shown_as_a_document_that_loads(self, house: Shop) -> None:
        assert house("policies", "show").code == Exit.FAILED
        house("policies", "activate", "house.yaml", "--as", "ada")
        shown = house("policies", "show").out
        assert load_policy(shown).digest == house("policies").rows[0]["digest"]
        assert house("policies", "show", "house-v1").out == shown

    def test_the_database_verifies_and_replays(self, house: Shop) -> None:
        house("policies", "activate", "house.yaml", "--as", "ada")
        house.refund("ord_1", 49)
        house("policies", "deactivate", "--as", "ada")
        assert house("verify").code == Exit.DONE
        assert house("replay").code == Exit.DONE


class TestShadow:
    @pytest.mark.parametrize("argv", [(), ("next.yaml", "--off", "refund-ops")])
    def test_one_thing_is_named(self, house: Shop, argv: tuple[str, ...]) -> None:
        assert house("domains", "shadow", *argv, "--as", "ada").code == Exit.USAGE

    def test_what_governs_is_no_shadow(self, house: Shop) -> None:
        assert house("domains", "shadow", "kiff.yaml", "--as", "ada").code == Exit.FAILED

    def test_it_is_asked_and_decides_nothing_until_it_is_off(self, house: Shop) -> None:
        file = edited(house, ("maximum: 100,", "maximum: 30,"))
        ran = house("domains", "shadow", file, "--as", "ada")
        assert (ran.code, ran.fields["version"], ran.fields["beside"]) == (Exit.DONE, "refund-ops-v3", "refund-ops-v2")
        assert {row["version"]: row["active"] for row in house("domains").rows} == {
            "refund-ops-v2": "yes",
            "refund-ops-v3": "shadow",
        }
        assert house.refund("ord_1", 49).code == Exit.DONE
        [said] = shadow_decisions(house)
        assert (said["version"], said["outcome"], said["reason"]) == ("refund-ops-v3", "invalid", "invalid_parameter")
        ran = house("domains", "shadow", "--off", "refund-ops", "--as", "ada")
        assert (ran.code, "version" in ran.fields, ran.fields["changed"]) == (Exit.DONE, False, "yes")
        assert house("verify").code == Exit.DONE


def shadow_decisions(shop: Shop) -> list[dict[str, str]]:
    with closing(SqliteStore(shop.folder / "kiff.db", read_only=True)) as store:
        told = [json.loads(row.body)["data"] for row in store.records("default")]
    return [data["shadow_decision"] for data in told if "shadow_decision" in data]
