"""A small domain, and test files about it."""

from __future__ import annotations

from pathlib import Path

from kiff.analysis.cases import Library, Played, Suite, Unloadable, load_suite, play
from kiff.analysis.cases.expectation import Difference

DOCUMENTS = Path(__file__).with_name("documents")
ANNOTATED = Path(__file__).resolve().parents[1] / "domain" / "documents" / "annotated.yaml"
DOMAIN = """
domain: refunds
version: v1
entity: Order
attributes:
  total: {type: number, minimum: 0, unit: USD}
  refunded: {type: number, minimum: 0, unit: USD, default: 0}
events: [PAID, MONEY_RETURNED, FORGOTTEN]
payloads:
  PAID: {total: {type: number, unit: USD}}
  MONEY_RETURNED: {amount: {type: number, unit: USD}}
states: [OPEN, CLOSED]
final: [CLOSED]
transitions:
  - {on: PAID, to: OPEN, set: {total: event.total}}
  - on: MONEY_RETURNED
    from: OPEN
    when: entity.refunded + event.amount < entity.total
    set: {refunded: entity.refunded + event.amount}
  - on: MONEY_RETURNED
    from: OPEN
    to: CLOSED
    when: entity.refunded + event.amount >= entity.total
    set: {refunded: entity.refunded + event.amount}
  - {on: FORGOTTEN, from: OPEN, to: CLOSED}
timeouts:
  - {in: OPEN, after: 72h, emit: FORGOTTEN}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [orders.refund]
    risk: high
    approval: conditional
    executor: payments.refund
    parameters:
      amount: {type: number, exclusiveMinimum: 0, maximum: 100000, unit: USD}
    rules:
      - {id: more_than_left, when: parameters.amount > entity.total - entity.refunded, then: deny, message: Too much.}
      - {id: large, when: parameters.amount > 50, then: require_approval}
    limits:
      - {id: per_agent, kind: rate, max: 20, per: 1h, key: actor.id}
      - {id: in_flight, kind: concurrency, max: 2}
    emits: {success: [MONEY_RETURNED], failure: []}
permissions:
  roles:
    agent: [orders.refund]
    lead: [orders.approve, orders.refund]
    shop: [events.ingest]
"""
HEAD = """
now: "2026-11-18T15:00:00Z"
actors:
  bot: {type: agent, roles: [agent]}
  ada: {type: human, roles: [lead]}
  ben: {type: human, roles: [lead]}
entities:
  order: {state: OPEN, total: 120}
"""
SMALL = "{action: REFUND, as: bot, on: order, parameters: {amount: 20}}"
LARGE = "{action: REFUND, as: bot, on: order, parameters: {amount: 60}}"


def suite_of(folder: Path, cases: str, *, domain: str = DOMAIN, head: str = HEAD) -> Suite:
    """The suite of a test file beside a kiff.yaml."""
    (folder / "kiff.yaml").write_text(domain, "utf-8")
    (folder / "some_test.yaml").write_text(head + cases, "utf-8")
    return load_suite(folder / "some_test.yaml", Library())


def problems_of(folder: Path, cases: str, *, domain: str = DOMAIN, head: str = HEAD) -> list[tuple[str, str, int]]:
    """Why the file cannot be used: file, code, line."""
    try:
        suite_of(folder, cases, domain=domain, head=head)
    except Unloadable as error:
        return [(file.name, issue.code, issue.line) for file, issue in error.issues]
    return []


def played(suite: Suite) -> list[Played]:
    return [play(suite.subject, suite.now, case) for case in suite.cases]


def failures(suite: Suite) -> dict[str, list[Difference]]:
    """Case -> why it fails."""
    found = {each.case.name: each.failure for each in played(suite)}
    return {name: list(failure.differences) for name, failure in found.items() if failure is not None}


def one(folder: Path, case: str, **more: str) -> list[Difference]:
    """Why a case fails: one that is written in the flow of YAML, without its name."""
    found = failures(suite_of(folder, f"cases:\n  - {{name: it, {case}}}\n", **more))
    return found.get("it", [])
