"""A domain with rules, limits, grants and conditions about which there is nothing to say, to be spoilt one by one."""

from __future__ import annotations

from kiff.domain import Issue, check

GOVERNED = """\
domain: parcels
entity: Parcel
attributes:
  value: {type: number, unit: USD}
  sent: {type: integer, default: 0}
  weight: {type: number, default: 0}
  note: {type: string, maxLength: 200, optional: true}
events: [PACKED, SENT, LOST, NOTED]
payloads:
  PACKED: {value: {type: number, unit: USD}}
  NOTED: {note: {type: string, maxLength: 200}}
states: [READY, GONE, MISSING]
groups: {HERE: [READY]}
final: [GONE, MISSING]
transitions:
  - {on: PACKED, to: READY, set: {value: event.value}}
  - {on: SENT, from: READY, to: GONE, when: entity.sent < 3, set: {sent: entity.sent + 1}}
  - {on: SENT, from: READY, to: MISSING, when: entity.sent >= 3}
  - {on: LOST, from: HERE, to: MISSING}
  - {on: NOTED, from: HERE, set: {note: event.note}}
timeouts: [{in: HERE, after: 72h, emit: LOST}]
schedules: {office: {hours: "08:00-20:00", days: [mon, tue]}}
actions:
  - name: SEND
    allowed_states: [READY]
    required_parameters: [fee, code]
    required_permissions: [parcels.send]
    risk: high
    approval: conditional
    parameters:
      fee: {type: number, minimum: 0, unit: USD}
      code: {type: string, maxLength: 40, sensitive: true}
      memo: {type: string, maxLength: 40}
    when: parameters.fee <= entity.value
    otherwise: KEEP
    rules:
      - {id: dear, when: parameters.fee > 50, then: require_approval, quorum: 2, roles: [boss, clerk]}
      - {id: heavy, when: entity.weight > 30.5, then: deny}
      - {id: late, when: "!schedule.office", then: require_approval, mode: shadow}
      - {id: noted, when: has(entity.note) && entity.note.contains("x"), then: deny}
    limits:
      - {id: calls, kind: rate, max: 5, per: 1h, burst: 2, key: actor.id}
      - {id: fees, kind: budget, max: 500, per: day, timezone: Etc/UTC, amount: parameters.fee, over: require_approval}
      - {id: running, kind: concurrency, max: 2, key: entity.version}
    lock: {key: actor.id, ttl: 30s}
    emits: {success: [SENT], failure: [LOST]}
    compensate: FETCH
  - name: KEEP
    allowed_states: [HERE]
    required_permissions: [parcels.keep]
    risk: low
    approval: never
    limits:
      - {id: fees, kind: budget, max: 500, per: day, timezone: Etc/UTC, amount: entity.value}
    emits: []
  - name: FETCH
    allowed_states: [GONE, MISSING]
    required_permissions: [parcels.fetch]
    risk: low
    approval: required
    emits: []
permissions:
  roles:
    sender: [parcels.send, parcels.keep]
    boss: [parcels.approve]
    clerk: [parcels.approve]
    scanner: [events.ingest]
  grants:
    - {role: sender, permissions: [parcels.fetch], when: schedule.office}
  separate: [[parcels.send, parcels.approve]]
"""

Said = tuple[int, str, str]
"""Line, code and path of a finding."""


def spoilt(*edits: tuple[str, str], text: str = GOVERNED) -> str:
    for old, new in edits:
        assert text.count(old) == 1, f"`{old}` is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def issues(*edits: tuple[str, str]) -> list[Issue]:
    return list(check(spoilt(*edits))[1])


def said(*edits: tuple[str, str], level: str = "error") -> list[Said]:
    """Every finding of this level."""
    return [(issue.line, issue.code, issue.path) for issue in issues(*edits) if issue.level == level]


def line_of(text: str) -> int:
    """The line of the sound domain that this is on."""
    assert GOVERNED.count(text) == 1
    return GOVERNED[: GOVERNED.index(text)].count("\n") + 1
