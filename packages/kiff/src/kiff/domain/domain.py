"""A domain: one governed entity, as the gate and the step read it.

Whichever way it was written, a domain is made from its normal form, and its digest names exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from kiff import canonical
from kiff.canonical import Canonical
from kiff.domain import loader
from kiff.domain.adapter import Adapter
from kiff.domain.document import (
    Json,
    Transition,
    adapter_of,
    contract_of,
    normal_form,
    written,
    written_transition,
)
from kiff.domain.issue import Finding, Issue, in_order, issues_of
from kiff.domain.parameters import ParameterCheck, compile_parameters
from kiff.domain.problems import problems
from kiff.domain.schedule import Schedule, schedule_of
from kiff.domain.sensitive import Marks
from kiff.domain.soundness import soundness
from kiff.domain.terms import Terms, terms_of
from kiff.domain.way import Timeout, Way, timeouts_of, ways_of
from kiff.errors import InvalidDomain, InvalidJson
from kiff.protocol.action import ActionContract

MAX_CONTENT_BYTES = 1_048_576
"""What a domain may take with everything written out."""

Functions = Mapping[str, Callable[..., Any]]
Issues = tuple[Issue, ...]

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, init=False, eq=False, repr=False, slots=True)
class Domain:
    """An entity type's events, states, transitions, actions and roles.

    Two domains are equal when their content is.

    Args:
        name: the slug, e.g. `refund-ops`.
        entity: the entity type as people write it, e.g. `Order`.
        events, states, final: names, in the order people should see them.
        transitions: see `Transition`.
        actions: contracts; an executor given as a function counts as its name.
        roles: role -> permissions.
        version: e.g. `v2`; None names the version after the content.
        description: for people.
        audit, adapters, attributes, payloads, timeouts, schedules, grants, separate: as in a kiff.yaml.

    Raises:
        InvalidDomain: the parts do not fit together; `issues` lists every problem.

    Attributes:
        entity_type: `entity` in lower case, as references write it.
        version: the full label, e.g. `refund-ops-v2`, or `refund-ops-` and the first 12 digits of the digest.
        content: canonical bytes of the normal form; what a store keeps.
        digest: the name of `content`.
        transitions: (state, event) -> the ways it opens, one of which is taken; the state is None before the first
            event. A missing key refuses.
        attributes: attribute -> schema.
        defaults: attribute -> its value until an event sets it; one that is not here is absent until then.
        payloads: event -> field -> schema; what else a payload holds, nothing reads.
        timeouts: state -> the events that come by themselves in it.
        actions: name -> contract, everything stated.
        parameter_checks: action name -> what is wrong with the parameters of a call.
        terms: action name -> what its contract asks beyond its tables, compiled.
        schedules: name -> time window.
        separate: permissions that no caller may hold together.
        attribute_check: what is wrong with new values of attributes.
        payload_checks: event -> what is wrong with the declared fields of its payload.
        executors: executor name -> function, for contracts written in Python.
        adapters: name -> adapter.
        sensitive: which parameters are sealed in the vault.
        activation_issues: what keeps the domain a draft; empty for a complete one.
    """

    name: str
    entity: str
    entity_type: str
    version: str
    description: str
    digest: str
    content: bytes
    events: tuple[str, ...]
    states: tuple[str, ...]
    final: tuple[str, ...]
    transitions: Mapping[tuple[str | None, str], tuple[Way, ...]]
    attributes: Mapping[str, Json]
    defaults: Mapping[str, Any]
    payloads: Mapping[str, Mapping[str, Json]]
    timeouts: Mapping[str, tuple[Timeout, ...]]
    actions: Mapping[str, ActionContract]
    roles: Mapping[str, frozenset[str]]
    parameter_checks: Mapping[str, ParameterCheck]
    terms: Mapping[str, Terms]
    schedules: Mapping[str, Schedule]
    separate: tuple[tuple[str, ...], ...]
    attribute_check: ParameterCheck
    payload_checks: Mapping[str, ParameterCheck]
    executors: Mapping[str, Callable[..., Any]]
    adapters: Mapping[str, Adapter]
    sensitive: Marks
    activation_issues: tuple[Issue, ...]

    def __init__(
        self,
        *,
        name: str,
        entity: str,
        events: Sequence[str] = (),
        states: Sequence[str] = (),
        transitions: Iterable[Transition] = (),
        actions: Iterable[ActionContract] = (),
        roles: Mapping[str, Iterable[str]] | None = None,
        version: str | None = None,
        description: str = "",
        final: Sequence[str] = (),
        audit: Mapping[str, Any] | None = None,
        adapters: Sequence[Mapping[str, Any]] = (),
        attributes: Mapping[str, Mapping[str, Any]] | None = None,
        payloads: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None,
        timeouts: Sequence[Mapping[str, str]] = (),
        schedules: Mapping[str, Mapping[str, Any]] | None = None,
        grants: Sequence[Mapping[str, Any]] = (),
        separate: Sequence[Sequence[str]] = (),
    ) -> None:
        contracts = list(actions)
        written_out: Json = {
            "domain": name,
            "entity": entity,
            "description": description,
            "events": list(events),
            "states": list(states),
            "final": list(final),
            "transitions": [written_transition(t) for t in transitions],
            "actions": [written(contract) for contract in contracts],
            "permissions": {
                "roles": {role: list(held) for role, held in (roles or {}).items()},
                "grants": [dict(grant) for grant in grants],
                "separate": [list(apart) for apart in separate],
            },
            "audit": dict(audit or {}),
            "adapters": [dict(adapter) for adapter in adapters],
            "attributes": dict(attributes or {}),
            "payloads": dict(payloads or {}),
            "timeouts": [dict(timeout) for timeout in timeouts],
            "schedules": dict(schedules or {}),
        }
        if version is not None:
            written_out["version"] = version
        try:
            document = canonical.admit(written_out, max_bytes=MAX_CONTENT_BYTES).value
        except InvalidJson as error:
            issue = Issue("not_json", error.field, 0, error.message)
            raise _invalid((issue,), "the domain") from None
        unread = loader.Document(document, {}, [])
        normal, issues = _normal(unread, problems(unread)[0])
        if normal is None:
            raise _invalid(issues, "the domain")
        functions = {c.name: c.executor for c in contracts if not isinstance(c.executor, str)}
        _fill(self, normal, issues, functions)

    @classmethod
    def from_content(cls, content: bytes) -> Domain:
        """The domain whose `content` this is.

        Raises:
            InvalidDomain: these bytes are not the content of a domain.
        """
        try:
            document = canonical.parse(content, max_bytes=MAX_CONTENT_BYTES).value
        except InvalidJson as error:
            raise InvalidDomain(f"the stored domain cannot be read: {error.message}") from error
        domain, issues = _examine(loader.Document(document, {}, []))
        if domain is None:
            raise _invalid(issues, "the stored domain")
        if domain.content != content:
            raise InvalidDomain("the stored domain is not in its normal form")
        return domain

    def permits(self, roles: Iterable[str], permission: str) -> bool:
        """Whether one of these roles holds the permission. A role nobody declared holds nothing."""
        for role in roles:  # noqa: SIM110  every decision asks, and a generator costs twice as much
            if permission in self.roles.get(role, _NOTHING):
                return True
        return False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Domain) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Domain {self.version} {self.entity} {self.digest[:19]}>"


def load(text: bytes | str, source: str = "kiff.yaml") -> Domain:
    """Read a domain document.

    Args:
        text: YAML (or JSON, which is YAML).
        source: what messages call it.

    Raises:
        InvalidDomain: it cannot be loaded; `issues` lists every problem, in document order.

    Returns:
        The domain. `activation_issues` says what it still needs before it can govern anything.
    """
    try:
        domain, issues = _examine(loader.read(text))
    except InvalidDomain as error:
        domain, issues = None, error.issues
    if domain is None:
        raise _invalid(issues, source)
    return domain


def check(text: bytes | str, *, executors: Collection[str] | None = None) -> tuple[Domain | None, Issues]:
    """Read a domain document and say all about it: the domain (None on errors) and every issue, warnings too.

    Args:
        text: as for `load`.
        executors: the names that are registered; None asks nothing about them.
    """
    try:
        document = loader.read(text)
    except InvalidDomain as error:
        return None, error.issues
    findings, left = problems(document)
    doubts = soundness(left, findings, executors) if isinstance(left, dict) else []
    domain, issues = _made(document, findings)
    return domain, in_order(issues + issues_of(doubts, document.lines))


def _examine(document: loader.Document) -> tuple[Domain | None, Issues]:
    return _made(document, problems(document)[0])


def _made(document: loader.Document, findings: list[Finding]) -> tuple[Domain | None, Issues]:
    normal, issues = _normal(document, findings)
    if normal is None:
        return None, issues
    domain = Domain.__new__(Domain)
    _fill(domain, normal, issues, {})
    return domain, issues


def _normal(document: loader.Document, findings: list[Finding]) -> tuple[Canonical | None, Issues]:
    """The normal form, unless there are errors, and every issue."""
    if any(finding.level == "error" for finding in findings):
        return None, issues_of(findings, document.lines)
    try:
        normal = canonical.admit(normal_form(document.value), max_bytes=MAX_CONTENT_BYTES)
    except InvalidJson as error:
        return None, issues_of([Finding((), "too_large", error.message)], document.lines)
    return normal, issues_of(findings, document.lines)


def _fill(domain: Domain, normal: Canonical, issues: Issues, functions: Functions) -> None:
    """Set the attributes. `functions`: the executors that were given as functions, by action."""
    document, content = normal
    digest = canonical.digest(content)
    actions = {action["name"]: contract_of(action) for action in document["actions"]}
    for name, function in functions.items():
        actions[name] = msgspec.structs.replace(actions[name], executor=function)
    label = document.get("version") or digest.removeprefix("sha256:")[:12]
    values = {
        "name": document.get("domain", ""),
        "entity": document.get("entity", ""),
        "entity_type": document.get("entity", "").lower(),
        "version": "-".join(filter(None, (document.get("domain"), label))),
        "description": document.get("description", ""),
        "digest": digest,
        "content": content,
        "events": tuple(document["events"]),
        "states": tuple(document["states"]),
        "final": tuple(document["final"]),
        "transitions": ways_of(document),
        "attributes": document.get("attributes", {}),
        "defaults": {n: each["default"] for n, each in document.get("attributes", {}).items() if "default" in each},
        "payloads": document.get("payloads", {}),
        "timeouts": timeouts_of(document),
        "actions": actions,
        "roles": {role: frozenset(held) for role, held in document["permissions"]["roles"].items()},
        "parameter_checks": {
            name: compile_parameters(contract.required_parameters, contract.parameters)
            for name, contract in actions.items()
        },
        "terms": {
            name: terms_of(document, contract, written_action)
            for written_action, (name, contract) in zip(document["actions"], actions.items(), strict=True)
        },
        "schedules": {name: schedule_of(name, each) for name, each in document.get("schedules", {}).items()},
        "separate": tuple(tuple(each) for each in document["permissions"].get("separate", ())),
        "attribute_check": compile_parameters((), document.get("attributes", {})),
        "payload_checks": {event: _payload_check(fields) for event, fields in document.get("payloads", {}).items()},
        "executors": {actions[name].executor_name: function for name, function in functions.items()},
        "adapters": {adapter["name"]: adapter_of(adapter) for adapter in document["adapters"]},
        "sensitive": Marks(actions),
        "activation_issues": issues,
    }
    for field, value in values.items():
        object.__setattr__(domain, field, value)


def _payload_check(fields: Json) -> ParameterCheck:
    return compile_parameters([name for name, schema in fields.items() if not schema.get("optional")], fields)


def _invalid(issues: Issues, source: str) -> InvalidDomain:
    errors = [issue for issue in issues if issue.level == "error"]
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return InvalidDomain(f"{source} cannot be used: {errors[0]}{more}", issues=issues)
