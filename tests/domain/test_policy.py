"""A policy document: what is refused, what it means over an action, and what withholds because it does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest

from kiff.domain import Domain, Policy, check_policy, load, load_policy, policy_schema_json
from kiff.domain.expr import EvaluationError
from kiff.domain.loader import read
from kiff.domain.policy_schema import POLICY
from kiff.errors import InvalidPolicy

PUBLISHED = Path(__file__).parents[2] / "spec" / "schemas" / "policy-v1.json"

SHOP = load("""
domain: shop
version: v1
entity: Order
events: [PAID]
states: [OPEN]
attributes: {total: {type: number, unit: USD, default: 0}}
transitions: [{on: PAID, to: OPEN}]
schedules: {office: {hours: "08:00-20:00"}}
actions:
  - name: REFUND
    allowed_states: [OPEN]
    required_parameters: [amount]
    required_permissions: [orders.refund]
    parameters: {amount: {type: number, unit: USD}}
    risk: high
    approval: never
    executor: shop.refund
    rules: [{id: too_much, when: parameters.amount > 500, then: deny}]
  - name: LOOK
    allowed_states: [OPEN]
    required_permissions: [orders.refund]
    risk: low
    approval: required
    executor: shop.look
    approval_policy: {quorum: 3}
permissions: {roles: {agent: [orders.refund], human: [orders.approve]}}
""")
HOUSE = """
policy: house
version: v3
schedules: {office: {timezone: Europe/Berlin, hours: "09:00-17:00"}}
rules:
  - {id: large, when: has(parameters.amount) && parameters.amount > 50, then: require_approval, quorum: 2}
  - {id: too_much, when: "true", then: deny, match: {domain: shop, action: [REFUND], risk: high, entity: Order}}
  - {id: after_hours, when: "!schedule.office", then: require_approval, match: {risk: [medium, high]}}
limits:
  - {id: spent, kind: budget, max: 100.50, per: day, amount: parameters.amount, match: {action: REFUND}}
"""


def issues(text: str, *domains: Domain) -> list[tuple[str, str, str]]:
    return [(each.level, each.code, each.path) for each in check_policy(text, domains)[1]]


def one(rule: str) -> str:
    return f"policy: house\nrules:\n  - {rule}\n"


@pytest.mark.parametrize(
    ("text", "code", "path"),
    [
        ("rules: []", "missing_key", ""),
        ("policy: House", "malformed", "policy"),
        ("policy: house\ndomain: shop", "unknown_key", "domain"),
        ("policy: house-v2\nversion: v3", "version_twice", "version"),
        ("policy: house-v2\nversion: v2", "version_twice", "version"),
        (one("{id: a, when: 'true', then: allow}"), "not_one_of", "rules[0].then"),
        (one("{id: a, when: 'true', then: deny, unless: x}"), "unknown_key", "rules[0].unless"),
        (one("{id: a, when: 'true', then: deny, match: {actoin: x}}"), "unknown_key", "rules[0].match.actoin"),
        (one("{id: a, when: 'true', then: deny, match: {action: []}}"), "empty_list", "rules[0].match.action"),
        (one("{id: a, when: 'true', then: deny, match: {risk: huge}}"), "not_one_of", "rules[0].match.risk"),
        (
            one("{id: a, when: 'true', then: deny, match: {action: [A, A]}}"),
            "duplicate_name",
            "rules[0].match.action[1]",
        ),
        (one("{id: a, when: 'true', then: deny, quorum: 2}"), "bad_rule", "rules[0].quorum"),
        (one("{id: allowed, when: 'true', then: deny}"), "reserved_rule_id", "rules[0].id"),
        (one("{id: a, when: 'true ||', then: deny}"), "syntax_error", "rules[0].when"),
        (one("{id: a, when: actor.name == 'x', then: deny}"), "unknown_name", "rules[0].when"),
        (one("{id: a, when: schedule.office, then: deny}"), "unknown_name", "rules[0].when"),
        (one("{id: a, when: size(actor.roles), then: deny}"), "type_mismatch", "rules[0].when"),
        ("policy: house\nlimits: [{id: a, kind: rate, max: 1.5, per: 1h}]", "bad_limit", "limits[0].max"),
        ("policy: house\nlimits: [{id: a, kind: budget, max: 5, per: day}]", "missing_key", "limits[0].amount"),
        ("policy: house\nschedules: {s: {hours: '08:00-08:00'}}", "malformed", "schedules.s.hours"),
        (HOUSE.replace("id: large", "id: spent"), "duplicate_name", "limits[0].id"),
    ],
)
def test_refusals(text: str, code: str, path: str) -> None:
    assert ("error", code, path) in issues(text)
    with pytest.raises(InvalidPolicy) as refused:
        load_policy(text)
    assert refused.value.issues


def test_the_control_has_no_issues() -> None:
    assert issues(HOUSE) == []


def test_an_issue_says_where_and_what_to_do() -> None:
    [issue] = check_policy(one("{id: a, when: 'true', then: dney}"))[1]
    assert (issue.line, issue.fix) == (3, "did you mean `deny`?")


def test_a_policy_that_asks_for_nothing_is_told_so() -> None:
    assert issues("policy: house") == [("warning", "idle_policy", "")]


@pytest.mark.parametrize("content", [b"", b"[]", b'{"policy":"house"}', HOUSE.encode()])
def test_only_a_normal_form_is_content(content: bytes) -> None:
    with pytest.raises(InvalidPolicy):
        Policy.from_content(content)


def test_the_content_is_the_policy() -> None:
    policy = load_policy(HOUSE)
    again = Policy.from_content(policy.content)
    assert (again, again.version, hash(again)) == (policy, "house-v3", hash(policy))
    assert load_policy(policy.content) == policy


def test_a_name_that_ends_in_a_version_says_it() -> None:
    """The seeds' receipts say `inventory-v2`."""
    short, long = load_policy("policy: inventory-v2"), load_policy("policy: inventory\nversion: v2")
    assert (short.name, short.version) == ("inventory", "inventory-v2")
    assert short == long


def test_without_a_version_the_content_names_it() -> None:
    policy = load_policy("policy: inventory")
    assert policy.version == f"inventory-{policy.digest.removeprefix('sha256:')[:12]}"


def test_the_published_schema_is_the_source_and_agrees() -> None:
    assert PUBLISHED.read_text() == policy_schema_json(), f"write kiff.domain.policy_schema_json() to {PUBLISHED.name}"
    jsonschema_rs.meta.validate(POLICY)
    validator = jsonschema_rs.Draft202012Validator(POLICY)
    assert validator.is_valid(read(HOUSE).value)
    assert validator.is_valid(json.loads(load_policy(HOUSE).content))
    assert not validator.is_valid(read(HOUSE.replace("then: deny", "then: allow")).value)


class TestOver:
    """The terms of an action with the policy beside it."""

    def codes(self, policy: str, action: str = "REFUND") -> list[str]:
        terms = load_policy(policy).over(SHOP, action)
        return [bound.code for bound in terms.rules] + [bound.code for bound in terms.limits]

    def test_only_what_matches_every_word_is_added(self) -> None:
        assert self.codes(HOUSE) == ["too_much", "large", "house.too_much", "after_hours", "spent"]
        assert self.codes(HOUSE, "LOOK") == ["large"]

    @pytest.mark.parametrize("match", ["{domain: other}", "{action: LOOK}", "{risk: low}", "{entity: Invoice}"])
    def test_one_word_that_does_not_fit_is_enough(self, match: str) -> None:
        assert self.codes(one(f"{{id: a, when: 'true', then: deny, match: {match}}}")) == ["too_much"]

    def test_nothing_to_add_leaves_the_terms_as_they_are(self) -> None:
        assert (
            load_policy(one("{id: a, when: 'true', then: deny, match: {risk: medium}}")).over(SHOP, "LOOK")
            is (SHOP.terms["LOOK"])
        )

    def test_a_code_that_is_taken_goes_under_the_name_of_the_policy_until_it_is_free(self) -> None:
        taken = load(SHOP.content.replace(b'"id":"too_much"', b'"id":"house.a"'))
        policy = load_policy(one("{id: house.a, when: 'true', then: deny}"))
        assert [bound.code for bound in policy.over(taken, "REFUND").rules] == ["house.a", "house.house.a"]

    def test_a_limit_that_is_renamed_never_takes_the_code_of_another(self) -> None:
        """Of two limits under one code, one would be judged by what the other counted."""
        taken = load(SHOP.content.replace(b'"id":"too_much"', b'"id":"calls"'))
        limits = "[{id: calls, kind: rate, max: 2, per: 1h}, {id: house.calls, kind: rate, max: 1000, per: 1h}]"
        bound = load_policy(f"policy: house\nlimits: {limits}\n").over(taken, "REFUND").limits
        assert [(each.code, each.limit.max) for each in bound] == [("house.house.calls", 2), ("house.calls", 1000)]

    def test_a_quorum_is_at_least_the_contracts(self) -> None:
        policy = load_policy(HOUSE)
        assert policy.over(SHOP, "REFUND").demands["large"].quorum == 2
        assert policy.over(SHOP, "LOOK").demands["large"].quorum == 3

    def test_it_may_hold_what_a_contract_never_holds(self) -> None:
        assert "approval_required" not in SHOP.terms["REFUND"].demands
        assert list(load_policy(HOUSE).over(SHOP, "REFUND").demands) == ["large", "after_hours"]

    def test_the_contracts_own_demand_stays(self) -> None:
        assert "approval_required" in load_policy(HOUSE).over(SHOP, "LOOK").demands

    def test_limits_count_in_the_name_of_the_policy(self) -> None:
        [bound] = load_policy(HOUSE).over(SHOP, "REFUND").limits
        assert (bound.scope, bound.limit.unit) == ("policy:house", "USD")

    def test_schedules_are_its_own(self) -> None:
        """The domain has an `office` as well, which keeps other hours."""
        policy = load_policy(HOUSE)
        bound = policy.over(SHOP, "REFUND").rules[-1]
        assert list(policy.schedules) == ["house.office"]
        assert bound.condition.reads == ("schedule.house.office",)
        assert bound.condition({"schedule": {"office": True, "house.office": False}}) is True
        assert bound.condition({"schedule": {"office": False, "house.office": True}}) is False

    def test_it_is_worked_out_once(self) -> None:
        policy = load_policy(HOUSE)
        first = policy.over(SHOP, "REFUND")
        assert policy.over(load(SHOP.content), "REFUND") is first


class TestMisfits:
    """What is about an action and cannot be asked about it withholds, and `check_policy` says so."""

    ABSENT = one("{id: a, when: parameters.amount > 50, then: require_approval}")

    def test_a_rule_has_no_value(self) -> None:
        bound = load_policy(self.ABSENT).over(SHOP, "LOOK").rules[-1]
        assert bound.code == "a"
        with pytest.raises(EvaluationError, match="`parameters` has no field `amount`"):
            bound.condition({"parameters": {"amount": 1}})

    def test_where_it_fits_it_is_asked(self) -> None:
        bound = load_policy(self.ABSENT).over(SHOP, "REFUND").rules[-1]
        assert bound.condition({"parameters": {"amount": 51}}) is True

    @pytest.mark.parametrize(
        "limit",
        [
            "{id: a, kind: budget, max: 5, per: day, amount: parameters.amount, match: {action: LOOK}}",
            "{id: a, kind: budget, max: 5.5, per: day, amount: '1'}",
            "{id: a, kind: rate, max: 5, per: 1h, key: entity.nothing}",
            "{id: a, kind: concurrency, max: 5, key: entity.total}",
        ],
    )
    def test_a_limit_asks_for_what_cannot_be_told(self, limit: str) -> None:
        bound = load_policy(f"policy: house\nlimits: [{limit}]").over(SHOP, "LOOK").limits[-1]
        assert bound.amount is not None
        with pytest.raises(EvaluationError, match="it does not fit"):
            bound.amount({"entity": {"total": 1}})

    def test_check_names_the_action_and_the_version(self) -> None:
        [issue] = check_policy(self.ABSENT, [SHOP])[1]
        assert (issue.level, issue.code, issue.path, issue.line) == ("activation", "unknown_name", "rules[0].when", 3)
        assert issue.message == "`parameters` has no field `amount`, so `LOOK` of `shop-v1` is withheld"
        assert issue.excerpt.splitlines()[0] == "parameters.amount > 50"

    def test_what_fits_is_not_named(self) -> None:
        assert issues(HOUSE, SHOP) == []

    def test_check_says_what_is_about_nothing(self) -> None:
        text = one("{id: a, when: 'true', then: deny, match: {action: REFNUD}}")
        assert issues(text, SHOP) == [("warning", "matches_nothing", "rules[0].match")]
        assert issues(text) == []

    @pytest.mark.parametrize(
        ("rule", "path", "said"),
        [
            (
                "{id: a, when: 'true', then: require_approval}",
                "rules[0].then",
                "no role of `shop` holds `orders.approve`",
            ),
            ("{id: a, when: 'true', then: deny}", "", ""),
            ("{id: a, when: 'true', then: require_approval, mode: shadow}", "", ""),
        ],
    )
    def test_check_names_who_nobody_can_approve(self, rule: str, path: str, said: str) -> None:
        nobody = load(SHOP.content.replace(b'"human":["orders.approve"]', b'"human":["orders.see"]'))
        found = check_policy(one(rule), [nobody])[1]
        assert [each.path for each in found] == ([path, path] if path else [])
        assert all(each.code == "nobody_can_approve" and said in each.message for each in found)

    def test_check_names_roles_that_may_not_approve(self) -> None:
        text = one("{id: a, when: 'true', then: require_approval, roles: [%s], match: {action: LOOK}}")
        assert issues(text % "agent", SHOP) == [("activation", "nobody_can_approve", "rules[0].roles")]
        assert issues(text % "agent, human", SHOP) == []
        limit = "policy: house\nlimits: [{id: a, kind: rate, max: 1, per: 1h, over: require_approval}]"
        nobody = load(SHOP.content.replace(b'"human":["orders.approve"]', b'"human":["orders.see"]'))
        assert {path for _, _, path in issues(limit, nobody)} == {"limits[0].over"}
