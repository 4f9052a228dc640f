"""Reads spec/scenarios: files of cases, as data. What the format does not know is refused, never skipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import Struct

from kiff import Domain, load
from kiff.domain.loader import read

FOLDER = Path(__file__).resolve().parents[2] / "spec" / "scenarios"

FILE_KEYS = {"about", "domain", "principals", "given", "cases"}
CASE_KEYS = {"name", "steps", "trail", "effects", "state", "approvals", "operations"}
CALLS: dict[str, set[str]] = {
    "ingest": {"type", "entity", "payload", "source", "id", "actor_id", "occurred_at"},
    "execute": {"entity", "action", "parameters", "id", "approval_id", "reasoning_summary"},
    "decide": {"entity", "action", "parameters", "id", "approval_id", "reasoning_summary", "settles"},
    "grant": {"approval_id", "reason", "key"},
    "deny": {"approval_id", "reason", "key"},
    "settle": {"operation_id", "status", "message", "output", "events"},
}
CALL_KEYS = {"expect", "save", "times", "together", "tally", "in_flight"}
OTHER_KEYS = {
    "answer": {"expect"},
    "advance": {"sweep"},
    "set_back": set[str](),
    "executor": set[str](),
    "release": set[str](),
}
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Case(Struct, frozen=True):
    """One story: who is there, what happens step by step, and what must be true at the end."""

    file: str
    name: str
    domain: Domain
    principals: dict[str, dict[str, Any]]
    steps: list[dict[str, Any]]
    trail: dict[str, list[str]]
    effects: dict[str, int]
    state: dict[str, str]
    approvals: list[str] | None
    operations: list[str] | None


def cases(folder: Path = FOLDER) -> list[Case]:
    """Every case of every file, in order."""
    return [case for path in sorted(folder.glob("*.yaml")) for case in cases_of(path.stem, path.read_text(), folder)]


def cases_of(name: str, text: str, folder: Path = FOLDER) -> list[Case]:
    """The cases of one file.

    Raises:
        ValueError: the file says something that the format does not know.
    """
    document = read(text)
    if document.findings:
        raise ValueError(f"{name}: {document.findings}")
    file = document.value
    _only(file, FILE_KEYS, name)
    domain = load((folder / "domains" / file["domain"]).read_text(), source=file["domain"])
    found = [_case(name, file, domain, case) for case in file["cases"]]
    names = [case.name for case in found]
    if len(names) != len(set(names)):
        raise ValueError(f"{name}: two cases have one name")
    return found


def seconds(duration: str) -> int:
    """`24h` as 86400."""
    return int(duration[:-1]) * SECONDS[duration[-1]]


def _case(name: str, file: dict[str, Any], domain: Domain, case: dict[str, Any]) -> Case:
    _only(case, CASE_KEYS, f"{name}: {case.get('name')}")
    steps = [*file.get("given", []), *case["steps"]]
    for step in steps:
        _check(step, f"{name}: {case['name']}")
    return Case(
        name,
        case["name"],
        domain,
        file["principals"],
        steps,
        case.get("trail", {}),
        case.get("effects", {}),
        case.get("state", {}),
        case.get("approvals"),
        case.get("operations"),
    )


def _check(step: dict[str, Any], where: str) -> None:
    [verb] = step.keys() & (CALLS.keys() | OTHER_KEYS.keys()) or {None}
    if verb is None:
        raise ValueError(f"{where}: no verb in {step}")
    if verb not in CALLS:
        _only(step, {verb, *OTHER_KEYS[verb]}, where)
        return
    _only(step, {verb, *CALL_KEYS}, where)
    _only(step[verb], {"as", *CALLS[verb]}, where)
    if not step.keys() & {"expect", "tally", "in_flight"}:
        raise ValueError(f"{where}: {verb} expects nothing, so it tests nothing")


def _only(found: dict[str, Any], known: set[str], where: str) -> None:
    strange = found.keys() - known
    if strange:
        raise ValueError(f"{where}: the format does not know {sorted(strange)}")
