"""One-time tokens, sessions, cookies, and whose authority ends when."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from auth_cases import (
    FORWARDED,
    FREE,
    at_once,
    enrol,
    gives_away,
    key_of,
    log_in,
    parts,
    switch_off,
    timed_shop,
)
from msgspec import structs
from served import PATIENCE_SECONDS, TENANT, Served, served

from kiff.server.logins import SESSION_SECONDS, TOKEN_SECONDS
from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

WRONG = f"{TENANT}.{'A' * 43}"
CALL = {"entity_type": "order", "parameters": {"amount": 999.0, "reason": "customer request"}}


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("free"), FREE) as shop:
        yield shop


def said(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "trace_id"}


def present(shop: Served, token: str, **more: Any) -> Any:
    return shop.post("/v1/auth/session", {"token": token}, None, **more)


def me(shop: Served, secret: str) -> int:
    return shop.get("/v1/me", secret).status


# One-time tokens


def test_a_wrong_token_opens_nothing(free: Served) -> None:
    assert [present(free, token).status for token in (WRONG, "", "x", "nobody.x", "§.§")] == [401] * 5


@pytest.mark.parametrize(
    "headers",
    [
        FORWARDED,
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Via": "1.1 proxy"},
        {"Host": "kiff.example"},
        {"Host": "127.0.0.1.rebound.example:8480"},
    ],
)
def test_a_token_from_elsewhere_is_answered_like_a_wrong_one_and_is_not_used_up(
    free: Served, headers: dict[str, str]
) -> None:
    token = free.tower.logins.token(TENANT, "owner")
    told = present(free, token, headers=headers)
    assert (told.status, said(told.body)) == (401, said(present(free, WRONG).body))
    assert present(free, token).status == 200


def test_a_token_opens_one_session_and_the_second_use_is_answered_like_a_wrong_token(free: Served) -> None:
    token = free.tower.logins.token(TENANT, "owner")
    told = present(free, token)
    assert told.status == 200
    assert {name: told.body[name] for name in ("tenant", "member")} == {"tenant": TENANT, "member": "owner"}
    assert told.body["session"].startswith(f"kiff_session_{TENANT}_")
    assert free.get("/v1/me", told.body["session"]).body["key"]["expires_at"] == told.body["expires_at"]
    again = present(free, token)
    assert (again.status, said(again.body)) == (401, said(present(free, WRONG).body))


def test_twenty_uses_at_once_open_one_session(free: Served) -> None:
    token = free.tower.logins.token(TENANT, "owner")
    told = at_once(20, lambda _: present(free, token))
    assert sorted(each.status for each in told) == [200] + [401] * 19


def test_a_token_whose_time_is_up_opens_nothing(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        late, timely = shop.tower.logins.token(TENANT, "owner"), shop.tower.logins.token(TENANT, "owner")
        clock.pass_seconds(TOKEN_SECONDS - 1)
        assert present(shop, timely).status == 200
        clock.pass_seconds(1)
        assert present(shop, late).status == 401


def test_a_token_of_somebody_who_is_not_active_opens_nothing_and_says_no_more(free: Served) -> None:
    enrol(free, "gone", "human", "auditor")
    token = free.tower.logins.token(TENANT, "gone")
    switch_off(free, "gone")
    told = present(free, token)
    assert (told.status, said(told.body)) == (401, said(present(free, WRONG).body))


def test_guessing_tokens_is_slowed_down(tmp_path: Path) -> None:
    with served(tmp_path / "data", Limits(client_rate=0.01, client_burst=3)) as shop:
        told = [present(shop, WRONG) for _ in range(4)]
    assert [each.status for each in told] == [401, 401, 401, 429]
    assert int(told[-1].headers["retry-after"]) >= 1


def test_behind_a_proxy_a_token_is_used_at_the_servers_own_address(own_shop: Served) -> None:
    serving = own_shop.serving
    serving.settings = structs.replace(serving.settings, public_url="https://kiff.example")
    assert (serving.url, serving.local_url) == ("https://kiff.example", f"http://{own_shop.host}")


# Sessions


def test_a_session_does_what_its_member_may_and_nothing_else(free: Served) -> None:
    enrol(free, "reader", "human", "auditor")
    session = log_in(free, "reader")
    assert free.get("/v1/me", session).body["principal"]["roles"] == ["auditor"]
    assert free.get("/v1/keys", session).status == 403


def test_a_session_ends_when_it_logs_out_and_others_go_on(free: Served) -> None:
    session, other = log_in(free), log_in(free)
    assert free.post("/v1/auth/logout", None, session).status == 200
    assert [me(free, session), free.post("/v1/auth/logout", None, session).status] == [401, 401]
    assert me(free, other) == 200


def test_a_key_is_not_logged_out(free: Served) -> None:
    assert free.post("/v1/auth/logout", None, "reviewer").status == 400
    assert me(free, "reviewer") == 200


def test_a_session_ends_with_its_time(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        session = log_in(shop)
        clock.pass_seconds(SESSION_SECONDS - 1)
        assert me(shop, session) == 200
        clock.pass_seconds(1)
        assert me(shop, session) == 401


def test_a_session_that_an_owner_revoked_is_refused_on_the_next_request(free: Served) -> None:
    session = log_in(free)
    key_id = free.get("/v1/me", session).body["key"]["id"]
    assert free.ask("DELETE", f"/v1/keys/{key_id}", key="owner").status == 200
    assert me(free, session) == 401


def test_a_session_of_a_member_who_is_not_active_any_more_is_refused_on_the_next_request(free: Served) -> None:
    enrol(free, "leaver", "human", "tenant_owner")
    session = log_in(free, "leaver")
    assert me(free, session) == 200
    switch_off(free, "leaver")
    assert me(free, session) == 401
    assert free.post("/v1/keys", {"label": "late"}, session).status == 401


def test_the_database_holds_no_secret_that_could_be_used(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        token = shop.tower.logins.token(TENANT, "owner")
        session = present(shop, token).body["session"]
        minted = key_of(shop, "ops-agent")
        assert me(shop, session) == 200
        secrets = [token, token.rpartition(".")[2]]
        for each in (session, minted, *shop.keys.values()):
            secrets += parts(each)
        running = gives_away(tmp_path / "data", *secrets)
    assert (running, gives_away(tmp_path / "data", *secrets)) == ([], [])
    key_id = f"ses_{parts(session)[1][:10]}"
    assert gives_away(tmp_path / "data", key_id) == [key_id], "the control: what is kept is found"


# Cookies


def with_cookie(shop: Served, method: str, path: str, session: str, body: Any = None, **headers: str) -> Any:
    sent = {"Cookie": f"kiff_session={session}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return shop.ask(method, path, body, None, headers=sent)


def test_a_cookie_reads_without_a_header(free: Served) -> None:
    told = with_cookie(free, "GET", "/v1/me", log_in(free))
    assert (told.status, told.body["principal"]["id"]) == (200, "owner")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Sec_Fetch_Site": "none"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site", "Origin": "ours"},
    ],
)
def test_a_cookie_changes_nothing_for_a_page_of_another_site(free: Served, headers: dict[str, str]) -> None:
    session = log_in(free)
    if headers.get("Origin") == "ours":
        headers = {**headers, "Origin": f"http://{free.host}"}
    told = with_cookie(free, "POST", "/v1/keys", session, {"label": "forged"}, **headers)
    assert (told.status, told.body["code"]) == (403, "forbidden")
    assert "forged" not in [key["label"] for key in free.get("/v1/keys", "owner").body["keys"]]


def test_a_cookie_changes_things_for_a_page_of_this_server(free: Served) -> None:
    session = log_in(free)
    for headers in ({"Sec_Fetch_Site": "same-origin"}, {"Origin": f"http://{free.host}"}):
        assert with_cookie(free, "POST", "/v1/keys", session, {"label": "ours"}, **headers).status == 201


def test_a_key_in_the_header_goes_before_the_cookie(free: Served) -> None:
    session = log_in(free)
    told = free.get("/v1/me", "agent", headers={"Cookie": f"kiff_session={session}"})
    assert told.body["principal"]["id"] == "ops-agent"
    assert free.get("/v1/me", "nonsense", headers={"Cookie": f"kiff_session={session}"}).status == 401


def test_logging_out_takes_the_cookie_back(free: Served) -> None:
    session = log_in(free)
    told = with_cookie(free, "POST", "/v1/auth/logout", session, Sec_Fetch_Site="same-origin")
    assert told.status == 200
    assert told.headers["set-cookie"].startswith("kiff_session=; Path=/; Max-Age=0")
    assert with_cookie(free, "GET", "/v1/me", session).status == 401


# Tenants


def make(shop: Served, tenant: str, owner: str = "ann", key: str = "owner", **more: Any) -> Any:
    return shop.post("/v1/tenants", {"tenant": tenant, "owner": {"id": owner}}, key, **more)


@pytest.mark.parametrize("key", ["agent", "reviewer"])
def test_a_tenant_takes_the_role_operator(free: Served, key: str) -> None:
    told = make(free, "not-made", key=key)
    assert (told.status, told.body["missing_roles"]) == (403, ["operator"])


def test_an_owner_of_another_tenant_is_no_operator(free: Served) -> None:
    told = make(free, "owned")
    session = present(free, told.body["login_token"]).body["session"]
    assert make(free, "not-made", key=session).status == 403


@pytest.mark.parametrize("name", ["", "Upper", "a_b", "-a", "a" * 64, "acme:test", "kiff:logins", "../keys", "a.b"])
def test_no_tenant_is_called_so(free: Served, name: str) -> None:
    told = make(free, name)
    assert (told.status, told.body["field"]) == (400, "tenant")


def test_a_new_tenant_has_an_owner_a_log_and_nothing_of_the_others(free: Served) -> None:
    told = make(free, "acme")
    assert (told.status, told.body["tenant"], told.body["owner"]) == (201, "acme", "ann")
    session = present(free, told.body["login_token"]).body["session"]
    who = free.get("/v1/me", session).body
    assert (who["tenant"], who["principal"]["id"], who["principal"]["roles"]) == ("acme", "ann", ["tenant_owner"])
    assert [each["id"] for each in free.get("/v1/members", session).body["members"]] == ["ann"]
    assert [each["kind"] for each in free.get("/v1/keys", session).body["keys"]] == ["session"]


def test_a_tenant_that_is_there_is_not_made_again(free: Served) -> None:
    assert make(free, "first").status == 201
    told = make(free, "first", "mallory")
    assert (told.status, told.body["code"]) == (409, "conflict")
    assert make(free, TENANT, "mallory").status == 409
    assert free.get("/v1/members/mallory", "owner").status == 404


def test_of_twenty_who_make_a_tenant_at_once_one_owns_it(free: Served) -> None:
    told = at_once(20, lambda number: make(free, "contested", f"owner-{number}"))
    assert sorted(each.status for each in told) == [201] + [409] * 19
    won = next(each.body for each in told if each.status == 201)
    session = present(free, won["login_token"]).body["session"]
    assert [each["id"] for each in free.get("/v1/members", session).body["members"]] == [won["owner"]]


def test_many_tenants_at_once_all_have_their_key_in_the_published_set(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        before = len(json.loads(shop.tower.keys.public())["keys"])
        told = at_once(8, lambda number: make(shop, f"tenant-{number}"))
        assert [each.status for each in told] == [201] * 8
        assert len(json.loads(shop.tower.keys.public())["keys"]) == before + 8


def test_a_lost_answer_is_asked_for_again_with_its_idempotency_key(free: Served) -> None:
    headers = {"Idempotency-Key": "make-lost"}
    lost = make(free, "lost", headers=headers)
    again = make(free, "lost", headers=headers)
    assert (lost.status, again.status) == (201, 201)
    assert make(free, "lost", "mallory", headers=headers).status == 409
    assert make(free, "lost").status == 409
    assert present(free, again.body["login_token"]).status == 200
    assert make(free, "lost", headers=headers).status == 409, "its owner is in"


def test_an_operator_whose_key_was_revoked_makes_no_tenant(free: Served) -> None:
    key = key_of(free, "owner")
    assert make(free, "by-key", key=key).status == 201
    revoke(free, key)
    assert make(free, "by-revoked-key", key=key).status == 401


def test_only_an_owner_changes_what_the_tenant_asks_of_itself(free: Served) -> None:
    told = free.ask("PUT", "/v1/me/tenant", {"separation_of_duties": True}, "reviewer")
    assert told.status == 403


def test_a_sandbox_is_a_tenant_of_its_own_with_its_owner_alone(free: Served) -> None:
    told = make(free, "boxed")
    session = present(free, told.body["login_token"]).body["session"]
    made = free.post("/v1/me/sandbox", None, session)
    assert (made.status, made.body["tenant"], made.body["sandbox"], made.body["member"]) == (201, "boxed", True, "ann")
    assert made.body["secret"].startswith("kiff_test_boxed_")
    who = free.get("/v1/me", made.body["secret"]).body
    assert (who["tenant"], who["sandbox"], who["principal"]["roles"]) == ("boxed", True, ["tenant_owner"])
    assert free.post("/v1/me/sandbox", None, session).status == 409
    assert free.post("/v1/me/sandbox", None, made.body["secret"]).status == 400


def test_a_sandbox_makes_nobody_an_operator(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        secret = shop.post("/v1/me/sandbox", None, "owner").body["secret"]
        assert shop.get("/v1/me", "owner").body["principal"]["roles"][-1] == "operator"
        assert "operator" not in shop.get("/v1/me", secret).body["principal"]["roles"]
        assert make(shop, "by-sandbox", key=secret).status == 403


def test_a_sandbox_takes_an_owner_and_a_member(free: Served) -> None:
    assert free.post("/v1/me/sandbox", None, "reviewer").status == 403
    unbound = free.post("/v1/keys", {"label": "unbound", "roles": ["tenant_owner"]}, "owner").body["secret"]
    assert free.post("/v1/me/sandbox", None, unbound).status == 403


# Threat 5: approving one's own proposal under a second identity


def held(shop: Served, order: str, key: str) -> str:
    """A call that waits for a person."""
    shop.paid(order)
    told = shop.post(f"/v1/entities/{order}/actions/REFUND_ORDER/execute", CALL, key)
    assert (told.status, told.body["code"]) == (422, "approval_required"), told
    return str(told.body["approval_id"])


def grant(shop: Served, approval_id: str, key: str) -> Any:
    return shop.post(f"/v1/approvals/{approval_id}/grant", {"reason": "looks right"}, key)


def test_two_accounts_of_one_person_do_not_review_each_other(free: Served) -> None:
    enrol(free, "ann-work", "human", "admin", "ann")
    enrol(free, "ann-home", "human", "admin", "Ann")
    enrol(free, "bob", "human", "admin")
    work, home = log_in(free, "ann-work"), log_in(free, "ann-home")
    for order, asks, answers in (("ord_a1", work, home), ("ord_a2", home, work)):
        approval_id = held(free, order, asks)
        told = grant(free, approval_id, answers)
        assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")
        assert grant(free, approval_id, key_of(free, "bob")).status == 200, "the control: somebody else may"


def test_a_session_got_with_a_key_that_somebody_else_minted_counts_as_theirs(free: Served) -> None:
    """A proposes; a login approved with the key that A minted for B is A's yes under B's name."""
    enrol(free, "minter", "human", "admin,tenant_owner")
    enrol(free, "puppet", "human", "admin")
    minter = log_in(free, "minter")
    puppet = key_of(free, "puppet", minter)
    started = free.post("/v1/auth/device/start", {}, None).body
    assert free.post(f"/v1/auth/device/{started['user_code']}/approve", None, puppet).status == 200
    session = free.post("/v1/auth/device/token", {"device_code": started["device_code"]}, None).body["session"]
    approval_id = held(free, "ord_puppet", minter)
    assert grant(free, approval_id, puppet).status == 403
    told = grant(free, approval_id, session)
    assert (told.status, told.body["code"]) == (403, "proposer_is_reviewer")
    assert grant(free, approval_id, log_in(free, "puppet")).status == 200, "the control: B's own session"


def test_with_separation_whoever_minted_the_agents_key_does_not_review_it(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        enrol(shop, "carol", "human", "admin,tenant_owner")
        carol = log_in(shop, "carol")
        agent = key_of(shop, "ops-agent", carol)
        assert grant(shop, held(shop, "ord_s1", agent), carol).status == 200, "the control: without separation"
        told = shop.ask("PUT", "/v1/me/tenant", {"separation_of_duties": True}, "owner")
        assert (told.status, told.body["separation_of_duties"]) == (200, True)
        approval_id = held(shop, "ord_s2", agent)
        refused = grant(shop, approval_id, carol)
        assert (refused.status, refused.body["code"]) == (403, "proposer_is_reviewer")
        assert grant(shop, approval_id, "reviewer").status == 200


# Threat 6: a stolen key


def revoke(shop: Served, secret: str) -> None:
    key_id = shop.get("/v1/me", secret).body["key"]["id"]
    assert shop.ask("DELETE", f"/v1/keys/{key_id}", key="owner").status == 200


@contextmanager
def stream(shop: Served, key: str) -> Iterator[socket.socket]:
    """An open event stream, its head read."""
    host, port = shop.host.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as line:
        head = (f"Host: {shop.host}", f"Authorization: Bearer {key}", "Connection: close")
        line.sendall("\r\n".join(["GET /v1/stream HTTP/1.1", *head, "", ""]).encode())
        assert b" 200 " in line.recv(65_536).split(b"\r\n")[0]
        yield line


def test_a_revoked_key_decides_nothing_on_the_very_next_request(free: Served) -> None:
    free.paid("ord_k1", "ord_k2")
    key = key_of(free, "ops-agent")
    assert free.decide("ord_k1", key=key).status == 200
    revoke(free, key)
    told = free.decide("ord_k2", key=key)
    assert (told.status, told.body["outcome"]) == (401, "invalid")
    kinds = [each["kind"] for each in free.get("/v1/entities/order:ord_k2/timeline", "owner").body["records"]]
    assert "decision_recorded" not in kinds


def test_a_revoked_key_reads_nothing_on_the_very_next_request(free: Served) -> None:
    key = key_of(free, "ops-human")
    assert free.get("/v1/approvals", key).status == 200
    revoke(free, key)
    assert free.get("/v1/approvals", key).status == 401


def test_a_revoked_key_opens_no_stream_and_an_open_one_tells_it_nothing_more(free: Served) -> None:
    key = key_of(free, "ops-human")
    with stream(free, key) as line:
        revoke(free, key)
        free.paid("ord_after_revocation")
        seen = b""
        while data := line.recv(65_536):  # until the server ends it
            seen += data
    assert b"ord_after_revocation" not in seen
    assert free.get("/v1/stream", key).status == 401
