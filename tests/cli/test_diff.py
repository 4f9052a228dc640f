"""`kiff diff`: what a version lets through more, as text and as data, and a code that a pipeline can branch on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_cases import domain_text

from kiff.cli.exits import Exit

WIDER = "wider.yaml"


def as_json(ran: Any) -> Any:
    return json.loads(ran.out)


def narrower(folder: Path) -> str:
    (folder / "narrower.yaml").write_text(domain_text().replace("maximum: 100,", "maximum: 50,"))
    return "narrower.yaml"


def test_more_access_ends_with_1_where_it_is_asked_to(kiff: Any) -> None:
    assert kiff("diff", "kiff.yaml", WIDER, "--no-new-access").code == Exit.FAILED
    assert kiff("diff", "kiff.yaml", WIDER).code == Exit.DONE


def test_less_access_is_no_reason_to_stop(kiff: Any, folder: Path) -> None:
    ran = kiff("diff", "kiff.yaml", narrower(folder), "--no-new-access")
    assert ran.code == Exit.DONE
    assert ran.err == "nothing was found that narrower.yaml lets through and kiff.yaml does not; --prove makes sure\n"


def test_text_shows_a_call_that_can_be_pasted_into_a_test(kiff: Any) -> None:
    ran = kiff("diff", "kiff.yaml", WIDER, "-o", "text")
    assert "new_access     `AUTO_REFUND` runs in PAID where it was refused: invalid_parameter `amount`" in ran.out
    assert (
        '        cases:\n          - name: "AUTO_REFUND: invalid_parameter"\n            propose: {"action"' in ran.out
    )
    assert "changed        actions.AUTO_REFUND.parameters.amount.maximum  100 -> 250" in ran.out
    assert ran.err == "wider.yaml lets more through than kiff.yaml in 3 ways\n"


def test_json_has_the_calls_the_moves_and_the_differences(kiff: Any) -> None:
    told = as_json(kiff("diff", "kiff.yaml", WIDER, "--json"))
    assert (told["kiff"], told["before"], told["after"]) == ("v1", "refund-ops-v2", "refund-ops-v3")
    assert [(each["kind"], each["action"]) for each in told["access"]] == [
        ("new_access", "AUTO_REFUND"),
        ("new_access", "AUTO_REFUND"),
        ("approvable", "REFUND_ORDER"),
    ]
    assert told["moves"] == []
    assert {each["change"] for each in told["differences"]} == {"added", "changed"}
    assert "proved" not in told


def test_a_pipe_gets_a_line_for_each_way(kiff: Any) -> None:
    lines = kiff("diff", "kiff.yaml", WIDER).out.splitlines()
    assert lines[0] == "kind\taction\treason\tbefore\tafter\tmessage"
    assert lines[1].startswith("new_access\tAUTO_REFUND\tpermission_denied\tblocked\tallowed\t")
    assert len(lines) == 4


def test_an_event_that_leads_on_is_a_move_and_is_more(kiff: Any, folder: Path) -> None:
    text = domain_text()
    assert "{on: ORDER_PAID, from: CREATED, to: PAID}" in text
    (folder / "loop.yaml").write_text(
        text.replace("ORDER_PAID, from: CREATED,", "ORDER_PAID, from: [CREATED, REFUNDED],")
    )
    ran = kiff("diff", "kiff.yaml", "loop.yaml", "--no-new-access", "--json")
    [move] = as_json(ran)["moves"]
    assert ran.code == Exit.FAILED
    assert (move["from"], move["event"], move["to"], move["before"]) == ("REFUNDED", "ORDER_PAID", "PAID", None)


def test_a_published_version_is_compared_with_a_file(kiff: Any) -> None:
    ran = kiff("diff", "refund-ops-v2", WIDER, "--db", "shop.db", "--json")
    assert [each["kind"] for each in as_json(ran)["access"]] == ["new_access", "new_access", "approvable"]


def test_a_change_of_the_policy_is_looked_at_with_one_domain_twice(kiff: Any, folder: Path) -> None:
    house = (folder / "house.yaml").read_text()
    (folder / "lenient.yaml").write_text(house.replace("parameters.amount > 40", "parameters.amount > 60"))
    asked = ("diff", "kiff.yaml", "kiff.yaml", "--no-new-access", "--policy", "house.yaml")
    assert kiff(*asked).code == Exit.DONE
    ran = kiff(*asked, "--new-policy", "lenient.yaml", "--json")
    [found] = as_json(ran)["access"]
    assert (ran.code, found["kind"], found["action"], found["reason"]) == (1, "new_access", "AUTO_REFUND", "large")
    assert found["case"]["policy"] == "lenient.yaml"


def test_a_name_that_is_neither_a_file_nor_a_version_says_so(kiff: Any) -> None:
    ran = kiff("diff", "kiff.yaml", "refund-ops-v9", "--db", "shop.db")
    assert (ran.code, "[not_found]" in ran.err) == (Exit.FAILED, True)
    ran = kiff("diff", "kiff.yaml", "refund-ops-v9", "--db", "nowhere.db")
    assert "`refund-ops-v9` is no file, and there is no database" in ran.err


def test_a_file_that_cannot_be_loaded_is_not_compared(kiff: Any, folder: Path) -> None:
    (folder / "broken.yaml").write_text(domain_text().replace("risk: low", "risk: tiny"))
    ran = kiff("diff", "kiff.yaml", "broken.yaml", "--no-new-access")
    assert (ran.code, "[invalid_domain]" in ran.err) == (Exit.FAILED, True)


def test_a_proof_says_that_it_is_one(kiff: Any, folder: Path) -> None:
    ran = kiff("diff", "kiff.yaml", narrower(folder), "--no-new-access", "--prove")
    assert ran.code == Exit.DONE
    assert ran.err == "proved: no call gets further under narrower.yaml than under kiff.yaml\n"
    assert as_json(kiff("diff", WIDER, "kiff.yaml", "--prove", "--json"))["proved"] is True


def test_what_is_not_known_is_said_and_stops(kiff: Any, folder: Path) -> None:
    """Nobody decides an equation of cubes in a tenth of a second."""
    cube = "parameters.{0} * parameters.{0} * parameters.{0}"
    equation = f"{cube.format('x')} + {cube.format('y')} == {cube.format('z')}"
    number = "{type: integer, minimum: 2, maximum: 1000000}"
    plain = domain_text().replace("[amount, reason]", "[amount, reason, x, y, z]", 1)
    plain = plain.replace(
        "    parameters:\n", "    parameters:\n" + "".join(f"      {n}: {number}\n" for n in "xyz"), 1
    )
    rule = f"    rules:\n      - {{id: cubes, when: {equation}, then: deny}}\n    emits: [ORDER_REFUNDED]"
    (folder / "plain.yaml").write_text(plain)
    (folder / "cubes.yaml").write_text(plain.replace("    emits: [ORDER_REFUNDED]", rule, 1))
    ran = kiff("diff", "cubes.yaml", "plain.yaml", "--no-new-access", "--prove", "--timeout", "0.1")
    assert ran.code == Exit.FAILED
    assert ran.err.startswith("not known: `AUTO_REFUND`, whether it runs where it did not: not decided in 0.1 s")
    assert "proved" not in ran.err


def test_without_the_solver_nothing_is_proved(kiff: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    ran = kiff("diff", "kiff.yaml", WIDER, "--prove")
    assert ran.code == Exit.FAILED
    assert "`pip install 'kiff[prove]'`" in ran.err
    assert kiff("diff", "kiff.yaml", WIDER).code == Exit.DONE


def test_what_is_shown_fails_as_a_test_of_the_later_version(kiff: Any, folder: Path) -> None:
    for each in as_json(kiff("diff", "kiff.yaml", WIDER, "--json"))["access"]:
        (folder / "shown_test.yaml").write_text(json.dumps(each["case"]))
        assert kiff("test", "shown_test.yaml", "--domain", WIDER).code == Exit.FAILED
        if each["reason"] == "invalid_parameter":  # the others have a role that is new
            assert kiff("test", "shown_test.yaml", "--domain", "kiff.yaml").code == Exit.DONE
