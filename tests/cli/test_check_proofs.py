"""`kiff check --prove`: proofs among the findings, invariants from the command line and from a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_cases import domain_text

from kiff.cli.exits import Exit

HELD = "parameters.amount > 100 => withheld"
BROKEN = "parameters.amount > 50 => withheld"


@pytest.fixture
def sound(folder: Path) -> Path:
    """A folder in which `kiff check` has no errors."""
    (folder / "actions.py").unlink()
    return folder


def findings(ran: Any) -> list[Any]:
    return [
        each
        for each in json.loads(ran.out)["findings"]
        if each["code"] not in ("undescribed_parameter", "shared_duties")
    ]


def test_a_plain_check_proves_nothing(kiff: Any, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    assert kiff("check").code == Exit.DONE


def test_without_the_solver_it_is_said_how_to_get_it(kiff: Any, sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "z3", None)
    ran = kiff("check", "--prove")
    assert (ran.code, "`pip install 'kiff[prove]'`" in ran.err) == (Exit.FAILED, True)


def test_an_invariant_that_holds_adds_nothing(kiff: Any, sound: Path) -> None:
    ran = kiff("check", "--invariant", HELD, "--json")
    assert (ran.code, findings(ran)) == (Exit.DONE, [])


def test_a_broken_invariant_is_an_error_with_a_call_that_shows_it(kiff: Any, sound: Path) -> None:
    ran = kiff("check", "--invariant", BROKEN, "--json")
    [found] = findings(ran)
    assert ran.code == Exit.FAILED
    assert (found["level"], found["code"]) == ("error", "invariant_broken")
    [case] = found["example"]["cases"]
    assert case["propose"]["parameters"]["amount"] > 50
    assert case["expect"] == {"outcome": "allowed"}


def test_invariants_are_read_from_a_file_too(kiff: Any, sound: Path) -> None:
    (sound / "always.txt").write_text(f"# refunds\n{BROKEN}\n\nMARK_PAID: true => allowed  \n")
    ran = kiff("check", "--invariants", "always.txt", "--json")
    assert [each["code"] for each in findings(ran)] == ["invariant_broken"]
    assert "cannot be read" in kiff("check", "--invariants", "none.txt").err


def test_a_rule_that_does_nothing_is_found_on_its_line(kiff: Any, sound: Path) -> None:
    text = domain_text().replace(
        "    executor: refund.issue_refund\n", f"    executor: refund.issue_refund\n{RULES}", 1
    )
    (sound / "dead.yaml").write_text(text)
    ran = kiff("check", "dead.yaml", "--prove", "--json")
    [found] = [each for each in findings(ran) if each["code"] == "dead_rule"]
    assert text.splitlines()[found["line"] - 1].strip().startswith("- {id: never")
    assert (found["level"], found["message"]) == ("warning", "`never` is never true")
    assert kiff("check", "dead.yaml", "--prove").code == Exit.DONE
    assert kiff("check", "dead.yaml", "--prove", "--strict").code == Exit.FAILED


RULES = """\
    rules:
      - {id: never, when: parameters.amount > 100, then: deny}
"""


def test_text_shows_the_example_below_the_finding(kiff: Any, sound: Path) -> None:
    ran = kiff("check", "--invariant", BROKEN, "-o", "text")
    assert f"    `{BROKEN}` does not hold: `AUTO_REFUND` is allowed" in ran.out
    assert '        cases:\n          - name: "breaks: ' in ran.out
