"""The tower of a new project speaks the wire: the shapes and statuses of the protocol, and no authority from a body."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from project_cases import TEMPLATE, imported

import kiff

REPLY = {"text": "See our help page."}
CREDIT = {"amount": 40.0, "reason": "charged twice"}
REFUSAL = {"error", "action", "code", "message", "reasons", "receipt_id", "trace_id"}


class Desk:
    """A tower over a new database, and a key for everybody; `post` is as whom, where, what."""

    def __init__(self, tower: Any) -> None:
        self.tower = tower
        self.keys = {name: tower.key(name) for name in ("support-agent", "team-lead", "helpdesk")}

    def post(self, who: str, path: str, **body: Any) -> tuple[int, dict[str, Any]]:
        answer: tuple[int, dict[str, Any]] = self.tower.post(path, self.keys.get(who, who), body)
        assert json.loads(json.dumps(answer[1])) == answer[1], "it can travel"
        return answer

    def happened(self, *events: str) -> None:
        for event in events:
            assert self.event(event)[0] == 201

    def event(self, event: str, who: str = "helpdesk", **more: Any) -> tuple[int, dict[str, Any]]:
        body = {"type": event, "source": "helpdesk", "entity_type": "ticket", "entity_id": "tkt_1"} | more
        return self.post(who, "/v1/events", **body)

    def ask(self, action: str, parameters: Any, who: str = "support-agent", **more: Any) -> tuple[int, dict[str, Any]]:
        body = {"entity_type": "ticket", "parameters": parameters} | more
        return self.post(who, f"/v1/entities/tkt_1/actions/{action}/execute", **body)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setenv("OUTSIDE_FILE", str(tmp_path / "outside.jsonl"))
    domain = kiff.load((TEMPLATE / "kiff.yaml").read_text("utf-8"))
    with imported("actions", "tower") as [actions, tower]:
        runtime = kiff.open_runtime(tmp_path / "kiff.db", domains=[domain], executors=actions.EXECUTORS)
        with runtime:
            yield Desk(tower.Tower(runtime, TEMPLATE / "principals.toml"))


@pytest.fixture
def agreed(desk: Desk) -> Desk:
    desk.happened("TICKET_RECEIVED", "CONSENT_RECORDED")
    return desk


def refused(answer: tuple[int, dict[str, Any]]) -> tuple[int, str]:
    assert {"error", "code"} <= answer[1].keys()
    return answer[0], answer[1]["code"]


def test_a_key_of_nobody_is_401(desk: Desk) -> None:
    assert refused(desk.post("kiff_test_default_guess", "/v1/events", type="TICKET_RECEIVED")) == (401, "unauthorized")


def test_keys_are_new_each_time_and_are_of_the_test_side(desk: Desk) -> None:
    again = desk.tower.key("support-agent")
    assert again != desk.keys["support-agent"]
    assert again.startswith("kiff_test_default_")


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/events/", "/v1/entities/a/b/actions/X/execute", ""])
def test_a_path_that_is_none_is_404(desk: Desk, path: str) -> None:
    assert refused(desk.post("helpdesk", path)) == (404, "not_found")


@pytest.mark.parametrize("field", ["roles", "state", "approved", "kiff_role", "reason"])
def test_a_field_that_the_wire_does_not_know_is_400(agreed: Desk, field: str) -> None:
    assert refused(agreed.ask("SEND_REPLY", REPLY, **{field: "x"})) == (400, "invalid")


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_a_body_that_is_no_object_is_400(desk: Desk, body: Any) -> None:
    assert refused(desk.tower.post("/v1/events", desk.keys["helpdesk"], body)) == (400, "invalid")


@pytest.mark.parametrize("actor", ["support-agent", [], {"id": "support-agent", "person": "ada"}])
def test_an_actor_that_is_none_is_400(agreed: Desk, actor: Any) -> None:
    assert refused(agreed.ask("SEND_REPLY", REPLY, actor=actor)) == (400, "invalid")


@pytest.mark.parametrize("actor", [{"id": "team-lead"}, {"id": "support-agent", "type": "human"}, {"id": None}])
def test_an_actor_other_than_the_keys_is_403(agreed: Desk, actor: Any) -> None:
    assert refused(agreed.ask("SEND_REPLY", REPLY, actor=actor)) == (403, "actor_not_key_holder")


def test_roles_of_a_body_are_display_only(agreed: Desk) -> None:
    actor = {"id": "team-lead", "type": "human", "roles": ["support_agent"]}
    answer = agreed.ask("SEND_REPLY", REPLY, "team-lead", actor=actor)
    assert refused(answer) == (403, "permission_denied")


@pytest.mark.parametrize(
    ("action", "parameters", "more", "answer"),
    [
        ("NOTHING", {}, {}, (404, "unknown_action")),
        ("SEND_REPLY", REPLY, {"entity_type": "order"}, (404, "unknown_entity_type")),
        ("SEND_REPLY", {}, {}, (400, "missing_parameter")),
        ("SEND_REPLY", {"text": 7}, {}, (400, "invalid_parameter")),
        ("SEND_REPLY", {"text": "x", "roles": []}, {}, (400, "invalid")),
        ("SEND_REPLY", [], {}, (400, "invalid")),
        ("SEND_REPLY", REPLY, {"id": 7}, (400, "invalid")),
        ("SEND_REPLY", REPLY, {"entity_type": None}, (404, "unknown_entity_type")),
        ("SEND%20REPLY", REPLY, {}, (400, "invalid")),
        ("SEND_REPLY", REPLY, {"approval_id": "appr_none"}, (422, "approval_mismatch")),
    ],
)
def test_what_is_not_well_formed_or_unknown_has_its_status(
    agreed: Desk, action: str, parameters: Any, more: dict[str, Any], answer: tuple[int, str]
) -> None:
    assert refused(agreed.ask(action, parameters, **more)) == answer


def test_the_same_id_with_other_content_is_409(agreed: Desk) -> None:
    agreed.ask("SEND_REPLY", REPLY, id="call-1")
    assert refused(agreed.ask("SEND_REPLY", {"text": "other"}, id="call-1")) == (409, "idempotency_conflict")


def test_a_state_that_is_not_allowed_is_422_and_says_which_are(desk: Desk) -> None:
    desk.happened("TICKET_RECEIVED")
    status, body = desk.ask("SEND_REPLY", REPLY)
    assert (status, body["error"], body["action"]) == (422, "state not allowed", "SEND_REPLY")
    assert (body["current_state"], body["allowed_states"]) == ("RECEIVED", ["CONSENTED"])
    assert body.keys() == REFUSAL | {"current_state", "allowed_states"}


def test_what_needs_a_person_is_422_with_the_approval(agreed: Desk) -> None:
    status, body = agreed.ask("ISSUE_CREDIT", CREDIT)
    assert (status, body["error"], body["code"]) == (422, "action requires approval", "approval_required")
    assert body.keys() == REFUSAL | {"approval_id"}


def test_an_execution_is_200_with_the_result_of_the_wire(agreed: Desk) -> None:
    status, body = agreed.ask("SEND_REPLY", REPLY, actor={"id": "support-agent", "type": "agent", "roles": []})
    result = body["result"]
    assert (status, body.keys()) == (200, {"result"})
    assert (result["action_name"], result["entity_id"], result["status"]) == ("SEND_REPLY", "tkt_1", "succeeded")
    assert (result["executed"], result["message"]) == (True, "reply to tkt_1 sent")
    assert result.keys() - {"output"} == {
        "action_name",
        "entity_id",
        "status",
        "executed",
        "message",
        "operation_id",
        "receipt_id",
        "trace_id",
    }


def test_a_grant_is_200_with_the_approval_and_the_call_comes_back_with_it(agreed: Desk) -> None:
    held = agreed.ask("ISSUE_CREDIT", CREDIT, id="call-1")[1]
    actor = {"id": "team-lead", "type": "human"}
    status, body = agreed.post(
        "team-lead", f"/v1/approvals/{held['approval_id']}/grant", actor=actor, reason="looked at it"
    )
    approval = body["approval"]
    assert (status, approval["status"], approval["reviewed_by"]) == (200, "granted", "team-lead")
    assert (approval["action_name"], approval["entity_id"]) == ("ISSUE_CREDIT", "tkt_1")
    assert agreed.ask("ISSUE_CREDIT", CREDIT, id="call-1", approval_id=held["approval_id"])[0] == 200


def test_a_second_review_is_409(agreed: Desk) -> None:
    held = agreed.ask("ISSUE_CREDIT", CREDIT)[1]
    path = f"/v1/approvals/{held['approval_id']}"
    assert agreed.post("team-lead", f"{path}/deny", reason="no")[0] == 200
    assert refused(agreed.post("team-lead", f"{path}/grant", reason="yes")) == (409, "approval_decided")


@pytest.mark.parametrize(
    ("who", "approval", "body", "answer"),
    [
        ("team-lead", "appr_none", {"reason": "yes"}, (404, "not_found")),
        ("team-lead", "", {}, (400, "invalid")),
        ("team-lead", "", {"reason": 7}, (400, "invalid")),
        ("team-lead", "", {"reason": "yes", "actor": {"id": "owner"}}, (403, "actor_not_key_holder")),
        ("helpdesk", "", {"reason": "yes"}, (403, "permission_denied")),
    ],
)
def test_a_review_that_does_not_count_has_its_status(
    agreed: Desk, who: str, approval: str, body: dict[str, Any], answer: tuple[int, str]
) -> None:
    held = agreed.ask("ISSUE_CREDIT", CREDIT)[1]["approval_id"]
    assert refused(agreed.post(who, f"/v1/approvals/{approval or held}/grant", **body)) == answer


def test_the_proposer_does_not_review(agreed: Desk) -> None:
    held = agreed.ask("ISSUE_CREDIT", CREDIT)[1]["approval_id"]
    assert agreed.post("support-agent", f"/v1/approvals/{held}/grant", reason="yes")[0] == 403


def test_an_event_is_201_and_moves_the_state(desk: Desk) -> None:
    status, body = desk.event("TICKET_RECEIVED", id="evt_1", payload={"channel": "mail"})
    assert (status, body["event"]["event_id"], body["event"]["state"]) == (201, "evt_1", "RECEIVED")


@pytest.mark.parametrize("event", ["CONSENT_RECORDED", "SOMETHING"])
def test_an_event_that_leads_nowhere_is_422(desk: Desk, event: str) -> None:
    assert refused(desk.event(event))[0] == 422


def test_an_event_of_somebody_who_may_not_report_is_403(desk: Desk) -> None:
    assert refused(desk.event("TICKET_RECEIVED", "support-agent")) == (403, "permission_denied")


@pytest.mark.parametrize("more", [{"type": ""}, {"type": None}, {"entity_id": "a b"}, {"payload": []}, {"to": "x"}])
def test_an_event_that_is_none_is_400(desk: Desk, more: dict[str, Any]) -> None:
    assert refused(desk.event("TICKET_RECEIVED", **more)) == (400, "invalid")
