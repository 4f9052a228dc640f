"""docs/guides/guard-receipts.md: its programs and commands do what it says."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "server"))

from served import served

from kiff_guard.cli import main

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "guard-receipts.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
COMMANDS = [
    shlex.split(line)[1:]
    for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line.startswith("kiff-guard ")
]


def test_the_page_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with served(tmp_path / "data") as shop:
        monkeypatch.setenv("KIFF_API_KEY", shop.keys["agent"])
        monkeypatch.setenv("KIFF_URL", shop.serving.url)
        names: dict[str, object] = {}
        for program in PROGRAMS:
            exec(compile(program, "guard-receipts.md", "exec"), names)
        guard = shop.post("/v1/guard/connect", {"adapter": "python", "mode": "observe"}, "agent").body["runtime_id"]
        assert "issue_refund" in str(shop.get(f"/v1/guard/observations/{guard}", "owner").body)
    capsys.readouterr()
    assert [main([*command, "--once"] if command[0] == "watch" else command) for command in COMMANDS] == [0, 0, 0]
    shown = capsys.readouterr().out
    assert shown.count("issue_refund\tsupport\tsucceeded") == 2
    assert "3 receipts, 0 calls without an end" in shown
    assert "  - name: issue_refund\n" in Path("kiff.yaml").read_text()


def test_the_table_names_every_member_of_a_line() -> None:
    named = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert named == {"seq", "kind", "at", "receipt", "prev", "hash"}
