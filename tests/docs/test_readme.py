"""README's first screen is run as it is printed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def block(kind: str) -> str:
    found = re.search(rf"^```{kind}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    assert found is not None, f"README has no {kind} block"
    return found[1]


def test_the_first_screen_does_what_it_shows(tmp_path: Path) -> None:
    (tmp_path / "kiff.yaml").write_text(block("yaml"), "utf-8")
    ran = subprocess.run(
        [sys.executable, "-c", block("python")], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == block("text")
    command, _, shown = block("console").partition("\n")
    kiff = Path(sys.executable).with_name("kiff")
    verified = subprocess.run(
        [kiff, *command.removeprefix("$ kiff ").split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert verified.stdout == shown


def test_the_guard_needs_nothing_but_python(tmp_path: Path) -> None:
    """Its lines run without a server, a key or a network."""
    [_, lines] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    receipts, _, draft = ran.stdout.partition("\n")
    assert receipts == ("[('refund', {'amount': 49, 'order_id': 'ord_001', 'reason': ''}, 'succeeded')]")
    assert "domain: my-domain" in draft and "- name: refund" in draft


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)$", README, re.MULTILINE)) <= targets


def test_every_page_it_names_is_there() -> None:
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert links
    assert [target for target in links if not (ROOT / target).exists()] == []
