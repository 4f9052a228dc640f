"""README's first screen is run as it is printed."""

from __future__ import annotations

import os
import re
import socket
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
    [_, lines, _] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    receipts, _, draft = ran.stdout.partition("\n")
    assert receipts == ("[('refund', {'amount': 49, 'order_id': 'ord_001', 'reason': ''}, 'succeeded')]")
    assert "domain: my-domain" in draft and "- name: refund" in draft


def test_with_one_line_changed_the_same_guard_asks_and_holds_what_nobody_allows(tmp_path: Path) -> None:
    [_, lines, enforces] = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and it does not listen
        variables = {"KIFF_API_KEY": "kiff_live_key", "KIFF_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}"}
        ran = subprocess.run(
            [sys.executable, "-c", lines.replace('guard = Guard(mode="observe")\n', enforces)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, env={**os.environ, **variables},
        )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "kiff_guard.decision.Hold" in ran.stderr and "refund" in ran.stderr


def test_the_page_of_the_guards_package_runs(tmp_path: Path) -> None:
    page = (ROOT / "packages/kiff-guard/README.md").read_text("utf-8")
    [lines] = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ran = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "[('refund', {'amount': 49, 'order_id': 'ord_001'}, 'succeeded')]\n"


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)$", README, re.MULTILINE)) <= targets


def test_every_page_it_names_is_there() -> None:
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert links
    assert [target for target in links if not (ROOT / target).exists()] == []
