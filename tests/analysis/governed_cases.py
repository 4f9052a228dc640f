"""A domain with a little of everything that conditions can do, for what looks at it without running it."""

from __future__ import annotations

from kiff import Domain, load

TEXT = """\
domain: refunds
version: v1
entity: Order
attributes:
  total: {type: number, minimum: 0, maximum: 10000, unit: USD, default: 0}
  refunded: {type: number, minimum: 0, unit: USD, default: 0}
  currency: {type: string, enum: [USD, EUR], default: USD}
  risk: {type: integer, minimum: 0, maximum: 100, optional: true}
payloads:
  PLACED: {total: {type: number, minimum: 0, maximum: 10000, unit: USD}}
  REFUNDED: {amount: {type: number, minimum: 0, unit: USD}}
  SCORED: {risk: {type: integer, minimum: 0, maximum: 100}}
events: [PLACED, PAID, SCORED, REFUNDED, CLOSED]
states: [OPEN, PAID, PARTLY, DONE, SHUT]
final: [DONE, SHUT]
transitions:
  - {on: PLACED, to: OPEN, set: {total: event.total}}
  - {on: PAID, from: OPEN, to: PAID}
  - {on: SCORED, from: [OPEN, PAID], set: {risk: event.risk}}
  - on: REFUNDED
    from: [PAID, PARTLY]
    to: DONE
    when: entity.refunded + event.amount >= entity.total
    set: {refunded: entity.refunded + event.amount}
  - on: REFUNDED
    from: [PAID, PARTLY]
    to: PARTLY
    when: entity.refunded + event.amount < entity.total
    set: {refunded: entity.refunded + event.amount}
  - {on: CLOSED, from: OPEN, to: SHUT}
schedules:
  office: {timezone: America/New_York, days: [mon, tue, wed, thu, fri], hours: "08:00-20:00"}
actions:
  - name: REFUND
    allowed_states: [PAID, PARTLY]
    required_permissions: [orders.refund]
    required_parameters: [amount, reference]
    risk: high
    approval: conditional
    executor: shop.refund
    emits: [REFUNDED]
    parameters:
      amount: {type: number, exclusiveMinimum: 0, maximum: 5000, unit: USD}
      reference: {type: string, pattern: "^re_[a-z0-9]+$", maxLength: 20}
      note: {type: string, maxLength: 40}
    when: entity.currency == "USD"
    rules:
      - {id: too_much, when: parameters.amount > entity.total - entity.refunded, then: deny}
      - {id: large, when: parameters.amount > 50, then: require_approval}
      - {id: larger, when: parameters.amount > 1000, then: require_approval, quorum: 2, roles: [boss, finance]}
      - {id: risky, when: has(entity.risk) && entity.risk >= 60, then: require_approval}
      - {id: late, when: "!schedule.office && parameters.amount > 20", then: require_approval}
    limits:
      - {id: spend, kind: budget, max: 2000, per: day, amount: parameters.amount, key: actor.id}
  - name: VOID
    allowed_states: [PARTLY, DONE]
    required_permissions: [orders.refund]
    risk: high
    approval: required
    executor: shop.void
    emits: []
    parameters: {}
permissions:
  roles:
    {agent: [orders.refund], boss: [orders.refund, orders.approve], finance: [orders.approve], feed: [events.ingest]}
"""


def changed(*edits: tuple[str, str], text: str = TEXT) -> Domain:
    """The domain with texts exchanged; each must be there."""
    for old, new in edits:
        assert old in text, old
        text = text.replace(old, new)
    return load(text)


DOMAIN = changed()


def one_action(
    rules: str, *, when: str = "", parameters: str = "amount: {type: number, minimum: 1, maximum: 500, unit: USD}"
) -> str:
    """A domain of one action with these rules, each in a line of its own."""
    written = "\n".join(f"      - {rule.strip()}" for rule in rules.strip().splitlines())
    return f"""\
domain: shop
version: v1
entity: Order
attributes:
  tier: {{type: string, enum: [gold, silver], default: gold}}
events: [PLACED, REFUNDED]
states: [OPEN, BACK]
final: [BACK]
transitions:
  - {{on: PLACED, to: OPEN}}
  - {{on: REFUNDED, from: OPEN, to: BACK}}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    required_parameters: [{parameters.partition(":")[0].strip()}]
    risk: high
    approval: conditional
    executor: shop.refund
    emits: [REFUNDED]
    parameters:
      {parameters}
{f"    when: {when}" if when else ""}
    rules:
{written}
      - {{id: asks, when: entity.tier == "silver", then: require_approval, roles: [boss]}}
permissions:
  roles: {{agent: [orders.refund], boss: [orders.approve], feed: [events.ingest]}}
"""
