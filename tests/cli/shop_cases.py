"""A project folder as a user has it, and the program run in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import kiff
from kiff.cli import run

DOMAIN = Path(kiff.__file__).parent / "templates" / "refund-ops" / "kiff.yaml"
PRINCIPALS = """
[ops-agent]
type = "agent"
roles = ["ops_agent"]

[ops-human]
type = "human"
roles = ["ops_operator"]

[stripe]
type = "service"
roles = ["event_source"]

[ada]
type = "human"
roles = ["tenant_owner", "admin"]

[ada-agent]
type = "agent"
roles = ["ops_agent"]
person = "ops-human"
"""
ACTIONS = '''
"""Executors that write what they did into a file of their own."""
import json, os, pathlib
from kiff import ActionFailed

OUTSIDE = pathlib.Path(__file__).with_name("outside.jsonl")

def issue_refund(operation):
    if operation.parameters["reason"] == "refuse it":
        raise ActionFailed("the bank refused")
    with OUTSIDE.open("a") as file:
        file.write(json.dumps({"key": operation.id, "order": operation.entity_id}) + "\\n")
    if operation.parameters["reason"] == "lose it":
        raise RuntimeError("secret: the answer was lost")
    return {"status": "succeeded", "message": f"${operation.parameters['amount']:.2f} paid"}

def mark_paid(operation):
    return {"status": "succeeded"}

EXECUTORS = {"refund.issue_refund": issue_refund, "orders.mark_paid": mark_paid}
'''


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict[str, str]:
        """What was printed as `field<TAB>value`."""
        return dict(line.split("\t", 1) for line in self.out.splitlines()[1:])

    @property
    def rows(self) -> list[dict[str, str]]:
        names, *lines = [line.split("\t") for line in self.out.splitlines()]
        return [dict(zip(names, line, strict=True)) for line in lines]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shop:
    """A folder with kiff.yaml, principals.toml, actions.py and, once applied, kiff.db."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        (folder / "kiff.yaml").write_text(DOMAIN.read_text("utf-8"))
        (folder / "principals.toml").write_text(PRINCIPALS)
        (folder / "actions.py").write_text(ACTIONS)

    def __call__(self, *argv: str) -> Ran:
        self._capsys.readouterr()
        code = run(argv)
        out, err = self._capsys.readouterr()
        return Ran(int(code), out, err)

    def paid(self, *orders: str) -> Shop:
        assert self("domains", "apply", "--as", "ada").code == 0
        for order in orders:
            for event in ("ORDER_PLACED", "ORDER_PAID"):
                assert self("ingest", event, f"order:{order}", "--as", "stripe").code == 0
        return self

    def refund(self, order: str, amount: float, *more: str, reason: str = "customer request") -> Ran:
        action = "AUTO_REFUND" if amount <= 100 else "REFUND_ORDER"
        said = ("-p", f"amount={amount}", "-p", f"reason={reason}", "--as", "ops-agent")
        return self("execute", action, f"order:{order}", *said, *more)

    def effects(self) -> list[str]:
        """The orders that the outside was asked to pay for, as its own file says."""
        file = self.folder / "outside.jsonl"
        return [json.loads(line)["order"] for line in file.read_text().splitlines()] if file.exists() else []
