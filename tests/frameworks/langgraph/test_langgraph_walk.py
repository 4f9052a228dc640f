"""docs/guides/guard-quickstart.md, walked by a newcomer from the first line to the last, against a real KIFF."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from langgraph_driver import script_of
from pages import GUIDES, run_page
from towers import Tower, kiff_program

from kiff_guard.conformance import ToolCall

PAGE = GUIDES / "guard-quickstart.md"
CANCEL = {"subscription_id": "sub_1", "reason": "too expensive"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The kiff.yaml that the page fills in, where its reader saves it."""
    [text] = blocks("yaml")
    Path(tmp_path, "kiff.yaml").write_text(text, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "kiff.yaml"


def test_the_walk_ends_with_a_held_call_that_a_person_let_run(
    own_tower: Tower, filled_in: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIFF_URL", own_tower.url)
    for name, key in (("KIFF_API_KEY", "agent"), ("KIFF_OWNER_KEY", "owner"), ("KIFF_REVIEWER_KEY", "reviewer")):
        monkeypatch.setenv(name, own_tower.keys[key])
    turns = [part for number in range(3) for part in ([ToolCall("cancel_subscription", CANCEL, f"c{number}")], [])]

    page = run_page(PAGE, {"model": script_of(turns)})

    assert page["guard"].mode == "enforce"
    told = [(each.outcome, each.execution) for each in page["guard"].receipts]
    assert told == [("approval_required", "not_run")] * 2 + [("allowed", "succeeded")]
    assert own_tower.get("/v1/entities/sub_1/state")["state"] == "CANCELLED"


def test_the_guard_is_five_lines() -> None:
    [lines] = [block for block in blocks("python") if 'Guard(mode="observe")' in block and "import" in block]
    assert len([line for line in lines.splitlines() if line.strip()]) == 5


def test_the_check_of_the_walk_finds_nothing(filled_in: Path) -> None:
    if not kiff_program().is_file():
        pytest.skip(f"needs KIFF: {kiff_program()} is missing; `make test` makes it, or set KIFF_BIN")
    assert "kiff check kiff.yaml\n" in blocks("sh")
    told = subprocess.run([kiff_program(), "check", "kiff.yaml"], capture_output=True, text=True)
    assert (told.returncode, "no findings" in told.stderr + told.stdout) == (0, True), told
