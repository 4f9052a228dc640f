"""Organisation policy: rules and limits over many domains, in a bundle with a version of its own.

It can only tighten: its rules object beside those of the contracts, so in which order they are asked never matters.
There is no rule that allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kiff import canonical
from kiff.canonical import Canonical
from kiff.domain import loader
from kiff.domain.document import Json
from kiff.domain.domain import MAX_CONTENT_BYTES, Domain, Issues
from kiff.domain.issue import Finding, Issue, in_order, issues_of
from kiff.domain.policy_document import PolicyLimit, PolicyRule, limits_of, normal_policy, rules_of
from kiff.domain.policy_fit import unfit_parts
from kiff.domain.policy_problems import policy_structure
from kiff.domain.policy_schema import POLICY
from kiff.domain.policy_terms import Place, limit_over, qualified, rule_over
from kiff.domain.problems import problems
from kiff.domain.schedule import Schedule, schedule_of
from kiff.domain.terms import Terms, with_more
from kiff.errors import InvalidDomain, InvalidJson, InvalidPolicy


@dataclass(frozen=True, init=False, eq=False, repr=False, slots=True)
class Policy:
    """Rules and limits over the actions of many domains. Made by `load_policy`, or from `content`.

    Two policies are equal when their content is.

    Attributes:
        name: the slug, e.g. `inventory`.
        version: the full label, e.g. `inventory-v2`, or `inventory-` and the first 12 digits of the digest.
        description: for people.
        digest: the name of `content`.
        content: canonical bytes of the normal form; what a store keeps.
        rules, limits: each with the actions it is about.
        schedules: its time windows, by what facts call them (`inventory.office`).
    """

    name: str
    version: str
    description: str
    digest: str
    content: bytes
    rules: tuple[PolicyRule, ...]
    limits: tuple[PolicyLimit, ...]
    schedules: Mapping[str, Schedule]
    _written_schedules: Mapping[str, Json]
    _over: dict[tuple[str, str], Terms]

    @classmethod
    def from_content(cls, content: bytes) -> Policy:
        """The policy whose `content` this is.

        Raises:
            InvalidPolicy: these bytes are not the content of a policy.
        """
        try:
            document = canonical.parse(content, max_bytes=MAX_CONTENT_BYTES).value
        except InvalidJson as error:
            raise InvalidPolicy(f"the stored policy cannot be read: {error.message}") from error
        policy, issues = _made(loader.Document(document, {}, []))
        if policy is None:
            raise _invalid(issues, "the stored policy")
        if policy.content != content:
            raise InvalidPolicy("the stored policy is not in its normal form")
        return policy

    def over(self, domain: Domain, action: str) -> Terms:
        """The terms of an action with what the policy adds to them. Worked out once for each."""
        terms = self._over.get((domain.digest, action))
        return self._bound(domain, action) if terms is None else terms

    def _bound(self, domain: Domain, action: str) -> Terms:
        own, place = domain.terms[action], self._place(domain, action)
        taken = {bound.code for bound in own.rules} | {bound.code for bound in own.limits}
        rules = [rule_over(each, self._code(each.rule.id, taken), place) for each in self.rules if place.is_among(each)]
        limits = [
            limit_over(each, self._code(each.limit.id, taken), place) for each in self.limits if place.is_among(each)
        ]
        terms = with_more(own, rules, limits) if rules or limits else own
        self._over[domain.digest, action] = terms
        return terms

    def _code(self, id: str, taken: set[str]) -> str:
        """The reason on the receipt: the id, under the policy's name where the contract uses it already."""
        code = id
        others = {each.rule.id for each in self.rules} | {each.limit.id for each in self.limits}
        while code in taken or (code != id and code in others):
            code = f"{self.name}.{code}"
        return code

    def _place(self, domain: Domain, action: str) -> Place:
        return Place(self.name, self._written_schedules, domain, domain.actions[action])

    def places(self, domain: Domain) -> list[Place]:
        """Every action of a domain, as the policy is asked about it."""
        return [self._place(domain, action) for action in domain.actions]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Policy) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<Policy {self.version} {self.digest[:19]}>"


def load_policy(text: bytes | str, source: str = "policy.yaml") -> Policy:
    """Read a policy document.

    Args:
        text: YAML (or JSON, which is YAML).
        source: what messages call it.

    Raises:
        InvalidPolicy: it cannot be loaded; `issues` lists every problem, in document order.
    """
    policy, issues = check_policy(text)
    if policy is None:
        raise _invalid(issues, source)
    return policy


def check_policy(text: bytes | str, domains: Iterable[Domain] = ()) -> tuple[Policy | None, Issues]:
    """Read a policy document and say all about it: the policy (None on errors) and every issue, warnings too.

    Args:
        text: as for `load_policy`.
        domains: what it is to hold for. A rule or a limit that does not fit an action that it is about withholds it,
            and so does one that asks for a person where nobody may say yes: an issue of the level `activation`. One
            that is about none of their actions has a warning.
    """
    try:
        document = loader.read(text)
    except InvalidDomain as error:
        return None, error.issues
    policy, issues = _made(document)
    if policy is None:
        return None, issues
    places = [place for domain in domains for place in policy.places(domain)]
    unfit = unfit_parts(policy.rules, policy.limits, places)
    return policy, in_order(issues + issues_of(unfit, document.lines))


def _made(document: loader.Document) -> tuple[Policy | None, Issues]:
    """The policy, unless there are errors, and every issue."""
    findings, _ = problems(document, POLICY, policy_structure)
    issues = issues_of(findings, document.lines)
    if any(finding.level == "error" for finding in findings):
        return None, issues
    try:
        normal = canonical.admit(normal_policy(document.value), max_bytes=MAX_CONTENT_BYTES)
    except InvalidJson as error:
        return None, issues_of([Finding((), "too_large", error.message)], document.lines)
    return _filled(normal), issues


def _filled(normal: Canonical) -> Policy:
    document, content = normal
    digest = canonical.digest(content)
    schedules = document.get("schedules", {})
    slug = document["policy"]
    values = {
        "name": slug,
        "version": f"{slug}-{document.get('version') or digest.removeprefix('sha256:')[:12]}",
        "description": document.get("description", ""),
        "digest": digest,
        "content": content,
        "rules": rules_of(document),
        "limits": limits_of(document),
        "schedules": {qualified(slug, name): schedule_of(name, each) for name, each in schedules.items()},
        "_written_schedules": schedules,
        "_over": {},
    }
    policy = Policy.__new__(Policy)
    for field, value in values.items():
        object.__setattr__(policy, field, value)
    return policy


def _invalid(issues: tuple[Issue, ...], source: str) -> InvalidPolicy:
    errors = [issue for issue in issues if issue.level == "error"]
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return InvalidPolicy(f"{source} cannot be used: {errors[0]}{more}", issues=issues)
