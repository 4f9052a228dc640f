"""What this domain must always do. It runs with nothing but the standard library and kiff, and under pytest:

python -m unittest
"""

from __future__ import annotations

import os
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest.mock import patch

from actions import EXECUTORS
from outside import Outside
from tower import Tower

from kiff import load, open_runtime

HERE = Path(__file__).parent
DOMAIN = load((HERE / "kiff.yaml").read_text("utf-8"))
AGREED = ("TICKET_RECEIVED", "CONSENT_RECORDED")
REPLY = {"text": "See our help page."}
CREDIT = {"amount": 40, "reason": "charged twice"}


class Governed(unittest.TestCase):
    """A new database and a new outside for each test; `tkt_1` is the ticket."""

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.world = Outside(folder / "outside.jsonl")
        self.enterContext(patch.dict(os.environ, {"OUTSIDE_FILE": str(folder / "outside.jsonl")}))
        self.runtime = self.enterContext(open_runtime(folder / "kiff.db", domains=[DOMAIN], executors=EXECUTORS))
        self.tower = Tower(self.runtime, HERE / "principals.toml")
        self.keys = {name: self.tower.key(name) for name in ("support-agent", "team-lead", "helpdesk")}

    def happened(self, *events: str) -> None:
        for event in events:
            body = {"type": event, "source": "helpdesk", "entity_type": "ticket", "entity_id": "tkt_1"}
            self.assertEqual(self.tower.post("/v1/events", self.keys["helpdesk"], body)[0], 201)

    def ask(self, action: str, parameters: dict[str, Any], by: str = "support-agent", **more: Any) -> Any:
        body = {"entity_type": "ticket", "parameters": parameters} | more
        return self.tower.post(f"/v1/entities/tkt_1/actions/{action}/execute", self.keys[by], body)

    def answer(self, approval_id: str, verb: str, by: str) -> Any:
        return self.tower.post(f"/v1/approvals/{approval_id}/{verb}", self.keys[by], {"reason": "looked at it"})

    def assertRefused(self, answer: Any, status: int, code: str) -> None:
        self.assertEqual((answer[0], answer[1]["code"]), (status, code))

    def assertEffects(self, *actions: str) -> None:
        self.assertEqual([effect["action"] for effect in self.world.effects()], list(actions))

    def assertState(self, expected: str) -> None:
        found = self.runtime.read.state("ticket:tkt_1")
        self.assertEqual(None if found is None else found.state, expected)


class Refusals(Governed):
    """What does not happen."""

    def test_no_reply_without_consent(self) -> None:
        self.happened("TICKET_RECEIVED")
        answer = self.ask("SEND_REPLY", REPLY)
        self.assertRefused(answer, 422, "state_not_allowed")
        self.assertEqual(answer[1]["current_state"], "RECEIVED")
        self.assertEffects()

    def test_no_credit_before_a_person_said_yes(self) -> None:
        self.happened(*AGREED)
        self.assertRefused(self.ask("ISSUE_CREDIT", CREDIT), 422, "approval_required")
        self.assertEffects()

    def test_the_agent_cannot_say_yes_to_itself(self) -> None:
        self.happened(*AGREED)
        _, held = self.ask("ISSUE_CREDIT", CREDIT)
        self.assertEqual(self.answer(held["approval_id"], "grant", "support-agent")[0], 403)

    def test_no_credit_after_a_person_said_no(self) -> None:
        self.happened(*AGREED)
        _, held = self.ask("ISSUE_CREDIT", CREDIT)
        self.answer(held["approval_id"], "deny", "team-lead")
        self.assertRefused(self.ask("ISSUE_CREDIT", CREDIT, approval_id=held["approval_id"]), 422, "state_not_allowed")
        self.assertEffects()

    def test_a_yes_is_for_the_amount_that_was_asked_for(self) -> None:
        self.happened(*AGREED)
        _, held = self.ask("ISSUE_CREDIT", CREDIT)
        self.answer(held["approval_id"], "grant", "team-lead")
        answer = self.ask("ISSUE_CREDIT", CREDIT | {"amount": 400}, approval_id=held["approval_id"])
        self.assertRefused(answer, 422, "approval_mismatch")
        self.assertEffects()

    def test_nobody_acts_as_somebody_else(self) -> None:
        self.happened(*AGREED)
        answer = self.ask("SEND_REPLY", REPLY, actor={"id": "team-lead", "type": "human"})
        self.assertRefused(answer, 403, "actor_not_key_holder")
        self.assertEffects()

    def test_roles_in_a_body_are_worth_nothing(self) -> None:
        self.happened(*AGREED)
        lead = {"id": "team-lead", "type": "human", "roles": ["support_agent"]}
        self.assertRefused(self.ask("SEND_REPLY", REPLY, by="team-lead", actor=lead), 403, "permission_denied")
        self.assertEffects()

    def test_the_agent_cannot_say_that_the_customer_agreed(self) -> None:
        self.happened("TICKET_RECEIVED")
        body = {"type": "CONSENT_RECORDED", "source": "agent", "entity_type": "ticket", "entity_id": "tkt_1"}
        self.assertEqual(self.tower.post("/v1/events", self.keys["support-agent"], body)[0], 403)

    def test_an_unanswered_ticket_is_not_closed(self) -> None:
        self.happened(*AGREED)
        self.assertRefused(self.ask("CLOSE_TICKET", {}), 422, "state_not_allowed")
        self.assertEffects()


class Effects(Governed):
    """What happens, and how often."""

    def test_a_reply_that_is_asked_for_twice_is_sent_once(self) -> None:
        self.happened(*AGREED)
        first, again = (self.ask("SEND_REPLY", REPLY, id="call-1") for _ in range(2))
        self.assertEqual((first[0], first), (200, again))
        self.assertEffects("SEND_REPLY")
        self.assertState("ANSWERED")

    def test_a_granted_credit_is_issued_once(self) -> None:
        self.happened(*AGREED)
        _, held = self.ask("ISSUE_CREDIT", CREDIT)
        self.assertEqual(self.answer(held["approval_id"], "grant", "team-lead")[0], 200)
        answers = [self.ask("ISSUE_CREDIT", CREDIT, approval_id=held["approval_id"])[0] for _ in range(3)]
        self.assertEqual(answers, [200, 422, 422])
        self.assertEffects("ISSUE_CREDIT")
        self.assertState("CREDITED")

    def test_a_ticket_is_escalated_without_consent(self) -> None:
        self.happened("TICKET_RECEIVED")
        self.assertEqual(self.ask("ESCALATE", {"reason": "a lawyer"})[0], 200)
        self.assertEffects("ESCALATE")
        self.assertState("ESCALATED")

    def test_an_answered_ticket_is_closed(self) -> None:
        self.happened(*AGREED, "REPLY_SENT")
        self.assertEqual(self.ask("CLOSE_TICKET", {})[0], 200)
        self.assertEffects("CLOSE_TICKET")
        self.assertState("CLOSED")


class Parts(unittest.TestCase):
    """Whether the files fit together."""

    def test_the_domain_can_govern(self) -> None:
        self.assertEqual(DOMAIN.activation_issues, ())

    def test_every_action_has_its_executor(self) -> None:
        self.assertEqual({action.executor_name for action in DOMAIN.actions.values()}, EXECUTORS.keys())


if __name__ == "__main__":
    unittest.main()
