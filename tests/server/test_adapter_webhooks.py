"""Events from outside: a webhook by its signature alone, and no word of a key that may not give it (threat 32)."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from served import DOMAIN, PATIENCE_SECONDS, TENANT, Served, Told, served

from kiff import load
from kiff.cli.server_options import adapter_secrets
from kiff.errors import InvalidInput
from kiff.protocol.instant import rfc3339

pytestmark = pytest.mark.slow

ADAPTER = "stripe-webhook"
PATH = f"/v1/adapters/{TENANT}/{ADAPTER}"
NEW, OLD, FOREIGN = "whsec_the-new-one", "whsec_the-old-one", "whsec_of-the-other-tenant"
CREATED = 1_779_616_435


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose operator configured the adapter's secrets for two tenants; a third one has none."""
    secrets = {f"{TENANT}/{ADAPTER}": (NEW, OLD), f"other/{ADAPTER}": (FOREIGN,)}
    with served(tmp_path_factory.mktemp("data"), adapter_secrets=secrets) as shop:
        for tenant in ("other", "without"):
            shop.found(tenant)
        yield shop


def body_of(order: str, event: str = "evt_1", type: str = "checkout.session.completed", **more: Any) -> bytes:
    """What Stripe sends, and much more of it than anybody asked for."""
    thing = {"id": "cs_1", "metadata": {"order_id": order}, "amount_total": 4_900, "customer_email": "a@example.com"}
    said = {"id": event, "object": "event", "type": type, "created": CREATED, "data": {"object": thing}, **more}
    return json.dumps(said).encode()


def signature(body: bytes, secret: str = NEW, at: float | None = None) -> str:
    at = time.time() if at is None else at
    mac = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, "sha256").hexdigest()
    return f"t={int(at)},v1={mac}"


def send(shop: Served, body: bytes, signed: str | None = None, path: str = PATH) -> Told:
    headers = {} if signed is None else {"Stripe-Signature": signed}
    return shop.ask("POST", path, body, None, headers={"Content-Type": "application/json", **headers})


def signed_and_sent(shop: Served, body: bytes, **how: Any) -> Told:
    return send(shop, body, signature(body, **how))


def placed(shop: Served, order: str) -> str:
    told = shop.post("/v1/events", {"type": "ORDER_PLACED", "entity_id": order, "entity_type": "order"}, "owner")
    assert told.status == 201
    return order


def sizes(shop: Served) -> dict[str, int]:
    """How many records each tenant's log has."""
    return {head.tenant: head.size for head in shop.tower.store.heads()}


def state(shop: Served, order: str) -> str | None:
    told = shop.get(f"/v1/entities/order:{order}/state", "owner")
    return told.body["state"] if told.status == 200 else None


# --- refused, with nothing recorded ---


def an_hour_old(body: bytes) -> str:
    return signature(body, at=time.time() - 3_600)


def from_the_future(body: bytes) -> str:
    return signature(body, at=time.time() + 3_600)


REFUSED: dict[str, Callable[[bytes], str | None]] = {
    "no signature": lambda body: None,
    "an empty one": lambda body: "",
    "another secret's": lambda body: signature(body, "whsec_guess"),
    "another tenant's secret's": lambda body: signature(body, FOREIGN),
    "of an empty secret": lambda body: signature(body, ""),
    "of another body": lambda body: signature(body + b" "),
    "an hour old": an_hour_old,
    "from the future": from_the_future,
    "an old one with a new time": lambda body: an_hour_old(body).replace(
        an_hour_old(body)[:12], f"t={int(time.time())}"
    ),
    "of a scheme that is none": lambda body: signature(body).replace("v1=", "v0="),
    "cut short": lambda body: signature(body)[:-1],
    "in capitals": lambda body: signature(body).upper().replace("T=", "t=").replace("V1=", "v1="),
    "two times in one": lambda body: f"t={int(time.time())},{signature(body)}",
    "a key of the tenant": lambda body: "Bearer kiff_live_kiff-demo_0",
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_webhook_without_a_right_signature_is_nobodys(hooked: Served, how: str) -> None:
    order = placed(hooked, f"ord_r{list(REFUSED).index(how)}")
    body, before = body_of(order), sizes(hooked)
    told = send(hooked, body, REFUSED[how](body))
    assert (told.status, told.body["code"]) == (401, "signature_invalid")
    assert (sizes(hooked), state(hooked, order)) == (before, "CREATED")


def test_every_refusal_is_one_sentence_and_names_neither_secret_nor_reason(hooked: Served) -> None:
    body = body_of("ord_any")
    told = [send(hooked, body, make(body)).body for make in REFUSED.values()]
    assert {each["message"] for each in told} == {
        "the signature is missing, wrong, too old or from the future: check the secret and both clocks"
    }
    assert "whsec" not in json.dumps(told)


def test_a_signature_that_comes_twice_is_refused(hooked: Served) -> None:
    order = placed(hooked, "ord_twice")
    body = body_of(order)
    connection = HTTPConnection(hooked.host, timeout=PATIENCE_SECONDS)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", str(len(body)))
    for _ in range(2):
        connection.putheader("Stripe-Signature", signature(body))
    connection.endheaders(body)
    assert connection.getresponse().status == 401
    connection.close()
    assert state(hooked, order) == "CREATED"


def test_a_key_is_no_signature(hooked: Served) -> None:
    order = placed(hooked, "ord_key")
    for key in ("owner", "agent", "reviewer"):
        assert hooked.post(PATH, json.loads(body_of(order)), key).status == 401
    assert state(hooked, order) == "CREATED"


def test_a_tenant_whose_operator_configured_no_secret_takes_no_webhook(hooked: Served) -> None:
    body = body_of("ord_1")
    path = f"/v1/adapters/without/{ADAPTER}"
    for signed in (None, signature(body, ""), signature(body, NEW)):
        assert send(hooked, body, signed, path).status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"id":"evt_1","id":"evt_2"}', b"\xff", b'{"type":NaN}'])
def test_a_body_is_not_read_before_its_signature(hooked: Served, body: bytes) -> None:
    assert send(hooked, body, signature(body, "whsec_guess")).status == 401
    assert signed_and_sent(hooked, body).status == 400


def test_a_body_that_is_too_large_is_refused_signed_or_not(hooked: Served) -> None:
    body = body_of("ord_1", note="x" * 300_000)
    assert signed_and_sent(hooked, body).status == 413


# --- where it goes ---

NOWHERE = {
    "an unknown tenant": f"/v1/adapters/nobody/{ADAPTER}",
    "an unknown adapter": f"/v1/adapters/{TENANT}/paypal-webhook",
    "both": "/v1/adapters/nobody/paypal-webhook",
    "a name that no tenant can have": f"/v1/adapters/NOBODY/{ADAPTER}",
}


def test_an_unknown_tenant_and_an_unknown_adapter_are_answered_as_a_wrong_signature(hooked: Served) -> None:
    body = body_of("ord_1")
    told = [send(hooked, body, signature(body), path) for path in NOWHERE.values()]
    told.append(send(hooked, body, signature(body, "wrong")))
    assert {each.status for each in told} == {401}
    bodies = [{name: value for name, value in each.body.items() if name != "trace_id"} for each in told]
    assert all(each == bodies[0] for each in bodies)
    assert {tuple(sorted(each.headers)) for each in told} == {tuple(sorted(told[0].headers))}


def test_one_tenants_signature_moves_nothing_of_anothers(hooked: Served) -> None:
    order = placed(hooked, "ord_mine")
    body = body_of(order)
    path = f"/v1/adapters/other/{ADAPTER}"
    assert send(hooked, body, signature(body, NEW), path).status == 401
    told = send(hooked, body, signature(body, FOREIGN), path)
    assert told.status == 422, "in its own tenant nothing was placed"
    assert state(hooked, order) == "CREATED"


# --- taken ---


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_a_signed_webhook_moves_the_order(hooked: Served, secret: str) -> None:
    order = placed(hooked, f"ord_{'new' if secret == NEW else 'old'}")
    told = signed_and_sent(hooked, body_of(order, f"evt_{order}"), secret=secret)
    assert (told.status, told.body["event"]["state"]) == (201, "PAID")
    assert told.body["event"]["id"] == f"{ADAPTER}:evt_{order}"
    assert state(hooked, order) == "PAID"


def test_of_what_a_webhook_says_only_what_the_map_names_is_kept(hooked: Served) -> None:
    order = placed(hooked, "ord_kept")
    signed_and_sent(hooked, body_of(order, "evt_kept"))
    records = hooked.get(f"/v1/entities/order:{order}/timeline", "owner").body["records"]
    [ingested] = [each for each in records if each["kind"] == "event_ingested" and "paid" in str(each["data"])]
    assert ingested["actor"] == {"id": f"adapter:{ADAPTER}", "type": "service"}
    assert ingested["data"]["event"] == {
        "id": f"{ADAPTER}:evt_kept",
        "source": "stripe",
        "type": "ORDER_PAID",
        "payload": {"paid": 4_900},
        "occurred_at": rfc3339(CREATED * 1000),
    }
    assert "example.com" not in json.dumps(records)


def test_the_same_webhook_again_is_stored_once(hooked: Served) -> None:
    order = placed(hooked, "ord_again")
    body = body_of(order, "evt_again")
    first, before = signed_and_sent(hooked, body), sizes(hooked)
    again = [signed_and_sent(hooked, body), signed_and_sent(hooked, body, at=time.time() - 5)]
    assert [each.status for each in again] == [201, 201]
    assert all(each.body == first.body for each in again)
    assert sizes(hooked) == before


def test_the_same_id_with_other_content_is_a_conflict(hooked: Served) -> None:
    order, other = placed(hooked, "ord_conf1"), placed(hooked, "ord_conf2")
    signed_and_sent(hooked, body_of(order, "evt_conf"))
    told = signed_and_sent(hooked, body_of(other, "evt_conf"))
    assert (told.status, told.body["code"]) == (409, "idempotency_conflict")
    assert state(hooked, other) == "CREATED"


def test_a_type_that_the_map_does_not_name_is_ignored(hooked: Served) -> None:
    order = placed(hooked, "ord_ignored")
    before = sizes(hooked)
    told = signed_and_sent(hooked, body_of(order, type="customer.created"))
    assert (told.status, told.body) == (200, {"ignored": True})
    assert (sizes(hooked), state(hooked, order)) == (before, "CREATED")


@pytest.mark.parametrize("missing", ["id", "type", "data"])
def test_a_signed_body_that_lacks_what_the_map_names_says_which(hooked: Served, missing: str) -> None:
    said, before = json.loads(body_of("ord_1")), sizes(hooked)
    del said[missing]
    told = signed_and_sent(hooked, json.dumps(said).encode())
    assert (told.status, told.body["code"]) == (400, "invalid")
    assert told.body["field"].startswith(missing)
    assert sizes(hooked) == before


def test_a_webhook_that_leads_nowhere_is_recorded_and_moves_nothing(hooked: Served) -> None:
    order = placed(hooked, "ord_nowhere")
    told = signed_and_sent(hooked, body_of(order, "evt_nowhere", "charge.refunded"))
    assert (told.status, told.body["code"], told.body["current_state"]) == (422, "invalid_transition", "CREATED")
    assert state(hooked, order) == "CREATED"


def test_a_webhook_settles_the_refund_that_it_reports(hooked: Served) -> None:
    order = "ord_settled"
    hooked.paid(order)
    cleared = hooked.decide(order)
    assert cleared.body["outcome"] == "allowed"
    told = signed_and_sent(hooked, body_of(order, "evt_settled", "charge.refunded"))
    assert told.body["event"]["settled"] == cleared.body["clearance_id"]
    assert state(hooked, order) == "REFUNDED"


# --- threat 32: an agent that says it was paid passes its own state guard ---

CLAIMS: dict[str, Mapping[str, Any]] = {
    "plain": {},
    "in the adapter's name": {"adapter": ADAPTER, "source": "stripe"},
    "as the adapter": {"actor_id": f"adapter:{ADAPTER}"},
    "under the source's id": {"id": f"{ADAPTER}:evt_1"},
}


@pytest.mark.parametrize("route", ["/v1/events", "/v1/events/raw"])
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("key", ["agent", "reviewer"])
def test_a_key_without_the_permission_says_nothing_of_what_happened(
    hooked: Served, route: str, claim: str, key: str
) -> None:
    order = placed(hooked, f"ord_32{list(CLAIMS).index(claim)}{key[0]}{route[-1]}")
    before = sizes(hooked)
    for event in load(DOMAIN.read_text("utf-8")).events:
        said = {"type": event, "entity_id": order, "entity_type": "order", **CLAIMS[claim]}
        told = hooked.post(route, said, key)
        assert (told.status, told.body["code"]) == (403, "permission_denied"), (event, told)
    assert (sizes(hooked), state(hooked, order)) == (before, "CREATED")


def test_an_agent_with_an_open_clearance_reports_its_own_effect_and_nothing_else(hooked: Served) -> None:
    order = "ord_own"
    hooked.paid(order)
    assert hooked.decide(order).body["outcome"] == "allowed"
    said = {"entity_id": order, "entity_type": "order"}
    for event in ("ORDER_PLACED", "ORDER_PAID"):
        assert hooked.post("/v1/events", {"type": event, **said}, "agent").status == 403
    told = hooked.post("/v1/events", {"type": "ORDER_REFUNDED", **said}, "agent")
    assert (told.status, told.body["event"]["state"]) == (201, "REFUNDED")
    assert hooked.post("/v1/events", {"type": "ORDER_REFUNDED", **said}, "agent").status == 403, "it is not open now"


def test_an_agent_reports_no_effect_of_another_agents_clearance(hooked: Served) -> None:
    order = "ord_other"
    hooked.paid(order)
    assert hooked.decide(order, key="owner").body["outcome"] == "allowed"
    said = {"type": "ORDER_REFUNDED", "entity_id": order, "entity_type": "order"}
    assert hooked.post("/v1/events", said, "agent").status == 403
    assert state(hooked, order) == "PAID"


# --- where the secrets are ---

FILE = f'["{TENANT}/{ADAPTER}"]\nsecrets = ["{NEW}", "{OLD}"]\n'


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    file = tmp_path / "adapters.toml"
    file.write_text(FILE)
    file.chmod(0o600)
    return file


def test_secrets_are_read_from_the_data_folder(adapters: Path) -> None:
    assert adapter_secrets(adapters.parent) == {f"{TENANT}/{ADAPTER}": (NEW, OLD)}


def test_without_the_file_there_are_none(tmp_path: Path) -> None:
    assert adapter_secrets(tmp_path) == {}


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o777])
def test_a_file_that_others_can_open_is_refused_with_the_fix(adapters: Path, mode: int) -> None:
    adapters.chmod(mode)
    with pytest.raises(InvalidInput, match=f"chmod 600 {adapters}") as refused:
        adapter_secrets(adapters.parent)
    assert "whsec" not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "secrets = ",
        'secrets = ["whsec_x"]',
        '["stripe-webhook"]\nsecrets = ["whsec_x"]',
        '["kiff-demo/stripe-webhook"]\nsecrets = "whsec_x"',
        '["kiff-demo/stripe-webhook"]\nsecrets = []',
        '["kiff-demo/stripe-webhook"]\nsecrets = [""]',
        '["kiff-demo/stripe-webhook"]\nsecrets = [7]',
        '["kiff-demo/stripe-webhook"]\nsecret = "whsec_x"',
        '["kiff-demo/stripe-webhook"]\nsecrets = ["whsec_x"]\nsecret = "whsec_y"',
        '["kiff-demo/"]\nsecrets = ["whsec_x"]',
        '["/stripe-webhook"]\nsecrets = ["whsec_x"]',
    ],
)
def test_a_file_that_says_something_else_is_refused_without_repeating_a_secret(adapters: Path, text: str) -> None:
    adapters.write_text(text)
    with pytest.raises(InvalidInput) as refused:
        adapter_secrets(adapters.parent)
    assert str(adapters) in refused.value.message
    assert "whsec" not in refused.value.message


def test_a_server_that_read_its_secrets_from_the_file_takes_the_webhook(tmp_path: Path, adapters: Path) -> None:
    with served(tmp_path / "data", adapter_secrets=adapter_secrets(adapters.parent)) as shop:
        order = placed(shop, "ord_file")
        assert signed_and_sent(shop, body_of(order)).status == 201
        assert state(shop, order) == "PAID"
