"""Evidence over HTTP, checked with nothing but what is served: receipts, their proofs, the records, operations."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc import jws
from joserfc.jwk import KeySet
from served import TENANT, Served, Told, served

from kiff.ledger import parse_jwks, verify_bundle, verify_receipt
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.authority import Member
from kiff.server.routes import evidence, log, operations, stream
from kiff.server.routes.evidence import Record, SignedReceipt

pytestmark = pytest.mark.slow

NEIGHBOUR = "neighbour"
ABSENT = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
OF_A_RECEIPT = ("", ".json", ".jws", "/proof", "/bundle")
MINE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
"""A trace that two agents share."""


class Street(Served):
    """A shop with a neighbour in another tenant, and a second agent who sees as little as the first."""

    def __init__(self, data: Path, **more: Any) -> None:
        super().__init__(data, **more)
        self.next_door = self.found(NEIGHBOUR)
        self.tower.found(TENANT, [Member(TENANT, "other-agent", "agent", "owner", None, "ops_agent", True)])
        self.keys["other"] = self.tower.mint(TENANT, "other-agent", "other")

    def decided(self, order: str, **more: Any) -> dict[str, Any]:
        """A paid order, and the body of the agent's allowed call on it."""
        self.paid(order, key=self.next_door["owner"] if more.get("key") == self.next_door["agent"] else "owner")
        told = self.decide(order, **more)
        assert told.body["outcome"] == "allowed", told
        body: dict[str, Any] = told.body
        return body

    def lost(self, order: str) -> str:
        """The id of an operation whose end nobody knows."""
        self.paid(order)
        self.outside.behaviour = "raise"
        try:
            told = self.execute(order)
        finally:
            self.outside.behaviour = "succeed"
        assert told.body["result"]["status"] == "unknown", told
        return str(told.body["result"]["operation_id"])

    def public_keys(self) -> Any:
        return parse_jwks(self.get("/.well-known/jwks.json", None).raw)


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Street]:
    street = Street(tmp_path_factory.mktemp("data"))
    try:
        yield street
    finally:
        street.close()


def as_if_absent(told: Told, id: str) -> tuple[int, Any]:
    """An error without what differs between any two: the id that was asked for, and the trace."""
    text = json.dumps({name: value for name, value in told.body.items() if name != "trace_id"})
    return told.status, text.replace(id, "<id>")


# --- refusals


@pytest.mark.parametrize(
    "route",
    [each for module in (evidence, log, operations, stream) for each in module.ROUTES if each.access != "public"],
    ids=lambda route: f"{route.method} {route.path}",
)
def test_without_a_key_there_is_no_evidence(street: Street, route: Any) -> None:
    path = re.sub(r"{tile:path}", "000", re.sub(r"{(\w+)}", "rcpt_1", route.path))
    body = {} if route.body is not None else None
    assert street.ask(route.method, path, body, None).status == 401


@pytest.mark.parametrize("rest", OF_A_RECEIPT)
@pytest.mark.parametrize("whose", ["another tenant's owner", "another agent"])
def test_a_receipt_of_somebody_else_is_answered_like_none(street: Street, whose: str, rest: str) -> None:
    key = street.next_door["owner"] if whose == "another tenant's owner" else "other"
    receipt_id = street.decided(f"ord_r{len(whose)}{len(rest)}")["receipt_id"]
    absent = f"rcpt_{ABSENT}"
    told, none = street.get(f"/v1/receipts/{receipt_id}{rest}", key), street.get(f"/v1/receipts/{absent}{rest}", key)
    assert as_if_absent(told, receipt_id) == as_if_absent(none, absent)
    assert told.status == 404
    assert street.get(f"/v1/receipts/{receipt_id}{rest}").status == 200


@pytest.mark.parametrize("verb", ["show", "settle"])
@pytest.mark.parametrize("whose", ["another tenant's owner", "another tenant's reviewer", "another agent"])
def test_an_operation_of_somebody_else_is_answered_like_none(street: Street, whose: str, verb: str) -> None:
    key = "other" if whose == "another agent" else street.next_door[whose.rsplit(" ", 1)[1]]
    operation_id = street.lost(f"ord_o{len(whose)}{verb}")
    absent = f"clr_{ABSENT}"

    def ask(id: str) -> Told:
        if verb == "show":
            return street.get(f"/v1/operations/{id}", key)
        return street.post(f"/v1/operations/{id}/settle", {"status": "succeeded", "reason": "seen"}, key)

    told = ask(operation_id)
    assert told.status == 404
    assert as_if_absent(told, operation_id) == as_if_absent(ask(absent), absent)
    assert street.get(f"/v1/operations/{operation_id}").body["operation"]["status"] == "unknown"


@pytest.mark.parametrize("path", ["/v1/records", "/v1/operations"])
def test_a_list_holds_nothing_of_another_tenant(street: Street, path: str) -> None:
    street.decided(f"ord_l{len(path)}")
    street.decided(f"ord_l{len(path)}", key=street.next_door["agent"])
    told = street.get(f"{path}?limit=200", street.next_door["owner"]).body
    ours, theirs = street.tower.store.records(TENANT), street.tower.store.records(NEIGHBOUR)
    if path == "/v1/records":
        assert [each["seq"] for each in told["records"]] == [row.seq for row in theirs][:200]
        assert {each["tenant"] for each in told["records"]} == {NEIGHBOUR}
    else:
        text = b"".join(row.body for row in ours)
        assert told["operations"]
        assert not [each["id"] for each in told["operations"] if each["id"].encode() in text]


def test_an_agent_reads_only_the_records_of_its_own_proposals(street: Street) -> None:
    street.decided("ord_a1")
    street.decided("ord_a2", key="other")
    told = street.get("/v1/records?after=-1", "other").body["records"]
    assert {each["actor"]["id"] for each in told} == {"other-agent"}
    assert "order:ord_a2" in {each["entity"] for each in told}


def test_a_shared_trace_shows_an_agent_nothing_of_another(street: Street) -> None:
    theirs = street.decided("ord_t1", headers=MINE)
    street.decide("ord_t1", key="other", headers=MINE)
    told = street.get("/v1/records?entity=order:ord_t1", "other").body["records"]
    assert {each["trace_id"] for each in told} == {theirs["trace_id"]}
    assert {each["actor"]["id"] for each in told} == {"other-agent"}


def test_a_bundle_holds_no_record_that_the_caller_may_not_see(street: Street) -> None:
    street.decided("ord_t2", headers=MINE)
    receipt_id = street.decide("ord_t2", key="other", headers=MINE).body["receipt_id"]
    told = street.get(f"/v1/receipts/{receipt_id}/bundle", "other")
    assert {each["record"]["actor"]["id"] for each in told.body["records"]} == {"other-agent"}
    assert verify_bundle(told.raw, street.public_keys()).status == "valid"
    everything = street.get(f"/v1/receipts/{receipt_id}/bundle", "owner").body["records"]
    assert len(everything) > len(told.body["records"])


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("after=-2", "after"),
        ("after=9007199254740992", "after"),
        ("after=99999999999999999999999", "after"),
        ("after=x", "after"),
        ("kind=nothing_happened", "kind"),
        ("entity=order:a%20b", "entity"),
        ("colour=red", "colour"),
    ],
)
def test_a_question_about_records_that_makes_no_sense_is_refused(street: Street, query: str, field: str) -> None:
    told = street.get(f"/v1/records?{query}", "owner")
    assert (told.status, told.body["field"]) == (400, field)


@pytest.mark.parametrize(
    ("query", "field"), [("status=lost", "status"), ("limit=0", "limit"), ("after=" + "x" * 129, "after")]
)
def test_a_question_about_operations_that_makes_no_sense_is_refused(street: Street, query: str, field: str) -> None:
    told = street.get(f"/v1/operations?{query}", "owner")
    assert (told.status, told.body["field"]) == (400, field)


def test_an_agent_does_not_settle_what_an_executor_ran_for_it(street: Street) -> None:
    operation_id = street.lost("ord_s1")
    told = street.post(f"/v1/operations/{operation_id}/settle", {"status": "succeeded", "reason": "I say so"})
    assert (told.status, told.body["code"]) == (403, "permission_denied")
    assert street.get(f"/v1/operations/{operation_id}").body["operation"]["status"] == "unknown"


def test_nobody_settles_in_somebody_elses_name(street: Street) -> None:
    operation_id = street.lost("ord_s2")
    body = {"status": "succeeded", "reason": "seen", "actor": {"id": "owner", "type": "human"}}
    told = street.post(f"/v1/operations/{operation_id}/settle", body, "reviewer")
    assert (told.status, told.body["code"]) == (403, "actor_not_key_holder")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"status": "finished"}, "status"),
        ({"reason": "seen"}, "status"),
        ({"status": "failed", "reason": "a", "message": "b"}, "message"),
        ({"status": "failed", "approved": True}, "approved"),
        ({"status": "failed", "events": "ORDER_REFUNDED"}, "events"),
        ({"status": "failed", "reason": "x" * 2001}, "message"),
    ],
)
def test_a_settlement_that_makes_no_sense_is_refused(street: Street, body: dict[str, Any], field: str) -> None:
    operation_id = street.decided(f"ord_s3{len(json.dumps(body))}{field}")["clearance_id"]
    told = street.post(f"/v1/operations/{operation_id}/settle", body, "reviewer")
    assert (told.status, told.body["field"]) == (400, field)
    assert street.get(f"/v1/operations/{operation_id}").body["operation"]["status"] == "open"


def test_a_contradiction_is_refused_and_recorded(street: Street) -> None:
    operation_id = street.lost("ord_s4")
    path = f"/v1/operations/{operation_id}/settle"
    assert street.post(path, {"status": "succeeded", "reason": "the bank says so"}, "reviewer").status == 200
    told = street.post(path, {"status": "failed", "reason": "it did not"}, "reviewer")
    assert (told.status, told.body["code"]) == (409, "operation_settled")
    assert street.get(f"/v1/operations/{operation_id}").body["operation"]["disputed"] is True


def test_a_receipt_signed_together_with_others_has_no_jws_of_its_own(tmp_path: Path) -> None:
    with served(tmp_path, options={"receipts": "batch"}) as shop:
        shop.paid("ord_1")
        receipt_id = shop.decide("ord_1").body["receipt_id"]
        told = shop.get(f"/v1/receipts/{receipt_id}.jws")
        assert (told.status, told.body["code"]) == (409, "conflict")
        assert "no JWS of its own" in told.body["message"]
        bundle = shop.get(f"/v1/receipts/{receipt_id}/bundle").raw
        assert verify_bundle(bundle, parse_jwks(shop.get("/.well-known/jwks.json", None).raw)).status == "valid"


# --- what is given


@pytest.mark.parametrize("rest", ["", ".json"])
def test_a_receipt_is_the_flat_json_that_its_signature_covers(street: Street, rest: str) -> None:
    decided = street.decided(f"ord_f{len(rest)}")
    told = street.get(f"/v1/receipts/{decided['receipt_id']}{rest}").body
    assert (told["proposal_id"], told["decision"], told["tenant"]) == (decided["proposal_id"], "allowed", TENANT)
    assert verify_receipt(told, street.public_keys()).rungs[0].ok
    assert verify_receipt(told | {"decision": "blocked"}, street.public_keys()).status == "invalid"


def test_the_reference_names_every_member_of_a_receipt(street: Street) -> None:
    street.paid("ord_m")
    held = street.decide("ord_m", "REFUND_ORDER", 500.0).body
    denied = street.post(f"/v1/approvals/{held['approval_id']}/deny", {"reason": "no"}, "reviewer").body["receipt_id"]
    told: set[str] = set()
    for receipt_id in (held["receipt_id"], denied):
        told |= street.get(f"/v1/receipts/{receipt_id}").body.keys()
    assert told == set(SignedReceipt.__struct_fields__)


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize("asked", ["by its suffix", "by Accept"])
def test_a_jose_library_verifies_a_receipt_with_the_served_keys(street: Street, asked: str) -> None:
    receipt_id = street.decided(f"ord_j{len(asked)}")["receipt_id"]
    suffix = asked == "by its suffix"
    headers = {} if suffix else {"Accept": "application/jose"}
    told = street.get(f"/v1/receipts/{receipt_id}{'.jws' if suffix else ''}", headers=headers)
    assert told.headers["content-type"] == "application/jose"
    key_set = KeySet.import_key_set(street.get("/.well-known/jwks.json", None).body)
    payload = jws.deserialize_compact(told.raw, key_set, algorithms=["EdDSA"]).payload
    flat = street.get(f"/v1/receipts/{receipt_id}").body
    assert json.loads(payload) == {
        name: value for name, value in flat.items() if name not in ("signature", "anchor", "proofs")
    }


def test_a_receipt_is_proved_as_soon_as_it_is_there(street: Street) -> None:
    receipt_id = street.decided("ord_p")["receipt_id"]
    proof = street.get(f"/v1/receipts/{receipt_id}/proof")
    assert proof.status == 200
    flat = street.get(f"/v1/receipts/{receipt_id}").body
    verdict = verify_receipt(flat | {"proofs": proof.body}, street.public_keys())
    assert [(rung.name, rung.ok) for rung in verdict.rungs[:2]] == [("SIGNED", True), ("INCLUDED", True)]


def test_a_bundle_is_verified_with_the_served_keys_alone(street: Street) -> None:
    street.paid("ord_b")
    receipt_id = street.execute("ord_b").body["result"]["receipt_id"]
    told = street.get(f"/v1/receipts/{receipt_id}/bundle")
    kinds = [each["record"]["kind"] for each in told.body["records"]]
    assert kinds == ["decision_recorded", "action_validated", "action_executed", "event_ingested", "state_changed"]
    verdict = verify_bundle(told.raw, street.public_keys())
    assert (verdict.status, verdict.rungs[1].ok) == ("valid", True)
    changed = told.raw.replace(b"customer request", b"customer reproof")
    assert verify_bundle(changed, street.public_keys()).status == "invalid"


def test_a_bundle_with_deeply_nested_evidence_is_verified_too(street: Street) -> None:
    deep: Any = "the end"
    for _ in range(28):
        deep = [deep]
    receipt_id = street.decided("ord_deep", evidence=deep)["receipt_id"]
    told = street.get(f"/v1/receipts/{receipt_id}/bundle")
    assert verify_bundle(told.raw, street.public_keys()).status == "valid"


def test_a_bundle_finds_its_records_however_much_happened_to_the_entity_before(street: Street) -> None:
    agent = Caller(Principal("ops-agent", "agent"), ("ops_agent",), TENANT)
    for _ in range(4):
        pending = [
            street.tower.runtime.propose(agent, entity="order:ord_hot", action="AUTO_REFUND") for _ in range(130)
        ]
        for each in pending:
            each.result()
    told = street.decide("ord_hot")
    bundle = street.get(f"/v1/receipts/{told.body['receipt_id']}/bundle")
    kinds = [each["record"]["kind"] for each in bundle.body["records"]]
    assert bundle.body["records"][0]["inclusion"]["index"] > 1000
    assert kinds == ["decision_recorded", "action_blocked"]
    assert verify_bundle(bundle.raw, street.public_keys()).status == "valid"


def test_a_bundle_holds_together_while_the_log_grows_and_heads_are_signed(street: Street) -> None:
    receipt_id = street.decided("ord_grown")["receipt_id"]
    stop = threading.Event()

    def write() -> None:
        for number in count():
            if stop.is_set():
                return
            street.paid(f"ord_w{number}")
            street.tower.runtime.checkpoint(TENANT).result()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        bundles = [street.get(f"/v1/receipts/{receipt_id}/bundle", "owner").raw for _ in range(60)]
    finally:
        stop.set()
        writer.join()
    keys = street.public_keys()
    assert len({json.loads(bundle)["checkpoint"] for bundle in bundles}) > 1, "no head was signed meanwhile"
    assert {verify_bundle(bundle, keys).status for bundle in bundles} == {"valid"}


def test_the_reference_names_every_member_of_a_record(street: Street) -> None:
    street.decided("ord_members")
    for told in street.get("/v1/records", "owner").body["records"]:
        assert told.keys() == set(Record.__struct_fields__)


def test_pages_of_records_are_the_log(street: Street) -> None:
    street.decided("ord_pages")
    size = street.get("/v1/log").body["size"]
    found: list[Any] = []
    after = -1
    while True:
        told = street.get(f"/v1/records?limit=7&after={after}", "owner").body
        found += told["records"]
        if "next" not in told:
            break
        assert len(told["records"]) == 7
        after = told["next"]
    assert [each["seq"] for each in found[:size]] == list(range(size))
    rows = street.tower.store.records(TENANT, limit=size)
    assert found[:size] == [msgspec.json.decode(row.body) for row in rows]


def test_records_are_found_by_kind_and_entity(street: Street) -> None:
    street.decided("ord_k1")
    street.decided("ord_k2")
    told = street.get("/v1/records?entity=order:ord_k1", "owner").body["records"]
    assert {each["entity"] for each in told} == {"order:ord_k1"}
    told = street.get("/v1/records?entity=ord_k1&kind=decision_recorded", "owner").body["records"]
    assert [(each["entity"], each["kind"]) for each in told] == [("order:ord_k1", "decision_recorded")]


def test_a_page_that_found_nothing_yet_says_where_to_go_on(own_shop: Served) -> None:
    for number in range(260):  # four records each: more than one answer looks through
        own_shop.paid(f"ord_{number}")
    own_shop.decide("ord_0")
    told = own_shop.get("/v1/records?kind=decision_recorded", "owner").body
    assert (told["records"], told["next"]) == ([], 999)
    told = own_shop.get(f"/v1/records?kind=decision_recorded&after={told['next']}", "owner").body
    assert [each["kind"] for each in told["records"]] == ["decision_recorded"]
    assert "next" not in told


def test_operations_are_listed_by_how_they_stand(street: Street) -> None:
    lost, open_ = street.lost("ord_u1"), street.decided("ord_u2")["clearance_id"]
    street.paid("ord_u3")
    done = street.execute("ord_u3").body["result"]["operation_id"]
    for status, id in (("unknown", lost), ("open", open_), ("succeeded", done)):
        told = street.get(f"/v1/operations?status={status}", "owner").body["operations"]
        assert {each["status"] for each in told} == {status}
        assert id in {each["id"] for each in told}


@pytest.mark.parametrize("status", ["", "&status=open"])
def test_pages_of_operations_are_all_of_them(street: Street, status: str) -> None:
    for number in range(5):
        street.decided(f"ord_q{len(status)}{number}")
    everything = street.get(f"/v1/operations?limit=200{status}", "owner").body["operations"]
    found: list[Any] = []
    after = ""
    while True:
        told = street.get(f"/v1/operations?limit=2&after={after}{status}", "owner").body
        found += told["operations"]
        if "next" not in told:
            break
        after = told["next"]
    assert [each["id"] for each in found] == [each["id"] for each in everything]
    assert len(found) >= 5


def test_a_person_settles_what_nobody_knew_the_end_of(street: Street) -> None:
    operation_id = street.lost("ord_x")
    body = {"status": "succeeded", "reason": "the bank shows it", "actor": {"id": "ops-human", "type": "human"}}
    told = street.post(f"/v1/operations/{operation_id}/settle", body, "reviewer")
    assert (told.status, told.body["state"], told.body["late"]) == (200, "REFUNDED", True)
    assert told.body["operation"]["settled_by"] == "person"
    last = [
        each for each in street.get("/v1/records?entity=ord_x").body["records"] if each["kind"] == "action_executed"
    ]
    assert (last[-1]["actor"]["id"], last[-1]["data"]["message"]) == ("ops-human", "the bank shows it")
    again = street.post(f"/v1/operations/{operation_id}/settle", body, "reviewer")
    assert (again.status, again.body["confirmed"]) == (200, True)


def test_the_public_keys_are_there_for_everybody_and_may_be_kept(street: Street) -> None:
    told = street.get("/.well-known/jwks.json", None)
    assert (told.status, told.headers["cache-control"]) == (200, "public, max-age=300")
    assert told.headers["content-type"] == "application/jwk-set+json"
    assert all(key.keys() == {"alg", "crv", "kid", "kty", "use", "x"} for key in told.body["keys"])
