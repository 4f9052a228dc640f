"""The device flow (RFC 8628): a program shows a code, a signed-in person answers, and one session comes of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from auth_cases import (
    FREE,
    SteppedClock,
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
from served import TENANT, Served, served

from kiff.analysis.verify import verify_store
from kiff.ledger.keys import parse_jwks
from kiff.protocol.instant import rfc3339
from kiff.runtime.rows import NoteRow
from kiff.server.devices import HOME, INTERVAL_SECONDS, LETTERS, SECONDS
from kiff.server.logins import SESSION_SECONDS
from kiff.server.secrets import is_tenant
from kiff.server.settings import Limits

pytestmark = pytest.mark.slow

DEVICE = "/v1/auth/device"


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("free"), FREE) as shop:
        yield shop


def start(shop: Served, **said: Any) -> dict[str, Any]:
    told = shop.post(f"{DEVICE}/start", said, None)
    assert told.status == 200, told
    body: dict[str, Any] = told.body
    return body


def poll(shop: Served, begun: dict[str, Any]) -> Any:
    return shop.post(f"{DEVICE}/token", {"device_code": begun["device_code"]}, None)


def answer(shop: Served, begun: dict[str, Any], verdict: str = "approve", key: str = "reviewer") -> Any:
    return shop.post(f"{DEVICE}/{begun['user_code']}/{verdict}", None, key)


def codes(told: Any) -> tuple[int, str, str]:
    return told.status, told.body["error"], told.body["code"]


# What the program is told


def test_a_code_that_was_never_given_is_of_no_use(free: Served) -> None:
    for code in ("", "x", "0000.AAAA", "§", f"{start(free)['device_code']}x"):
        told = free.post(f"{DEVICE}/token", {"device_code": code}, None)
        assert codes(told) == (400, "expired_token", "expired_token")


def test_while_nobody_answered_the_error_is_the_code_of_the_rfc(free: Served) -> None:
    told = poll(free, start(free))
    assert codes(told) == (400, "authorization_pending", "authorization_pending")
    assert told.body["interval"] == INTERVAL_SECONDS
    assert {"message", "trace_id", "docs"} <= told.body.keys()


def test_asking_too_often_makes_the_interval_grow_by_five_seconds_each_time(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        begun = start(shop)
        assert codes(poll(shop, begun))[1] == "authorization_pending"
        clock.pass_seconds(INTERVAL_SECONDS - 1)
        assert (codes(told := poll(shop, begun))[1], told.body["interval"]) == ("slow_down", 10)
        clock.pass_seconds(INTERVAL_SECONDS)
        assert (codes(told := poll(shop, begun))[1], told.body["interval"]) == ("slow_down", 15)
        clock.pass_seconds(15)
        assert (codes(told := poll(shop, begun))[1], told.body["interval"]) == ("authorization_pending", 15)


def test_a_code_expires(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        unanswered, approved = start(shop), start(shop)
        clock.pass_seconds(SECONDS - 1)
        assert answer(shop, approved).status == 200
        clock.pass_seconds(1)
        assert [codes(poll(shop, each))[1] for each in (unanswered, approved)] == ["expired_token"] * 2
        assert answer(shop, unanswered).status == 404


def test_a_denied_login_brings_no_session(free: Served) -> None:
    begun = start(free)
    assert answer(free, begun, "deny").status == 200
    assert codes(poll(free, begun)) == (400, "access_denied", "access_denied")
    assert answer(free, begun, "approve", "owner").status == 404
    assert codes(poll(free, begun))[1] == "access_denied"


def test_an_approved_login_is_a_session_of_the_person_who_approved(free: Served) -> None:
    begun = start(free, client="kiff on laptop")
    assert answer(free, begun).body["status"] == "approved"
    told = poll(free, begun)
    assert (told.status, told.body["tenant"], told.body["member"]) == (200, TENANT, "ops-human")
    who = free.get("/v1/me", told.body["session"]).body
    assert (who["principal"]["id"], who["key"]["kind"]) == ("ops-human", "session")
    assert who["key"]["label"] == "device login: kiff on laptop"
    assert who["key"]["expires_at"] == told.body["expires_at"]


def test_a_code_brings_one_session(free: Served) -> None:
    begun = start(free)
    answer(free, begun)
    assert poll(free, begun).status == 200
    assert codes(poll(free, begun))[1] == "expired_token"
    assert answer(free, begun).status == 404


def test_twenty_polls_at_once_bring_one_session(free: Served) -> None:
    begun = start(free)
    answer(free, begun)
    told = at_once(20, lambda _: poll(free, begun))
    assert sorted(each.status for each in told) == [200] + [400] * 19
    assert {each.body["error"] for each in told if each.status == 400} == {"expired_token"}


def test_polls_and_an_approval_at_once_lose_nothing(free: Served) -> None:
    begun = start(free)
    told = at_once(12, lambda number: answer(free, begun) if number == 6 else poll(free, begun))
    assert told[6].status == 200
    polls = [*told[:6], *told[7:], poll(free, begun)]
    assert [each.status for each in polls].count(200) == 1


# What the person is asked


def test_what_is_asked_is_shown_to_a_person_and_the_code_is_read_in_any_way_it_is_written(free: Served) -> None:
    begun = start(free, client="kiff on laptop")
    code = begun["user_code"]
    for written in (code, code.lower(), code.replace("-", "")):
        told = free.get(f"{DEVICE}/{written}", "reviewer")
        shown = {name: told.body[name] for name in ("status", "client", "address")}
        assert shown == {"status": "waiting", "client": "kiff on laptop", "address": "127.0.0.1"}
        assert told.body["asked_at"] < told.body["expires_at"]


@pytest.mark.parametrize("verb", ["GET", "approve", "deny"])
def test_nobody_but_a_person_answers(free: Served, verb: str) -> None:
    begun = start(free)
    path = f"{DEVICE}/{begun['user_code']}" + ("" if verb == "GET" else f"/{verb}")
    unbound = free.post("/v1/keys", {"label": "unbound", "roles": ["tenant_owner"]}, "owner").body["secret"]
    method = "GET" if verb == "GET" else "POST"
    for key, status in ((None, 401), ("agent", 403), (unbound, 403)):
        assert free.ask(method, path, key=key).status == status
    assert codes(poll(free, begun))[1] == "authorization_pending"


@pytest.mark.parametrize("code", ["BBBB-BBBB", "x", "BCDF-GHJ", "AAAA-AAAA", "BCDF--GHJK"])
def test_a_code_under_which_nothing_waits_is_not_found(free: Served, code: str) -> None:
    for method, path in (("GET", code), ("POST", f"{code}/approve"), ("POST", f"{code}/deny")):
        assert free.ask(method, f"{DEVICE}/{path}", key="reviewer").status == 404


def test_the_first_answer_stands_and_may_be_repeated(free: Served) -> None:
    begun = start(free)
    assert answer(free, begun).status == 200
    assert (answer(free, begun).status, answer(free, begun, "deny").status) == (200, 404)
    assert answer(free, begun, "deny", "owner").status == 404
    assert poll(free, begun).body["member"] == "ops-human"


def test_of_two_people_who_answer_at_once_one_is_heard(free: Served) -> None:
    for _ in range(5):
        begun = start(free)
        told = at_once(2, lambda number, begun=begun: answer(free, begun, key=("reviewer", "owner")[number]))
        assert sorted(each.status for each in told) == [200, 404]
        first = ("ops-human", "owner")[[each.status for each in told].index(200)]
        assert poll(free, begun).body["member"] == first


def test_a_login_for_one_tenant_is_approved_by_nobody_of_another(free: Served) -> None:
    other = free.found("other-shop")
    begun = start(free, tenant="other-shop")
    unknown = free.get(f"{DEVICE}/BBBB-BBBB", "reviewer").body["message"]
    told = answer(free, begun)
    assert (told.status, told.body["message"]) == (404, unknown)
    assert answer(free, begun, key=other["reviewer"]).status == 200
    assert poll(free, begun).body["tenant"] == "other-shop"


def test_a_person_may_approve_with_a_session(free: Served) -> None:
    begun = start(free)
    assert answer(free, begun, key=log_in(free)).status == 200
    assert poll(free, begun).body["member"] == "owner"


def test_a_session_can_do_no_more_than_the_key_that_approved_it(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        enrol(shop, "chief", "human", "tenant_owner,auditor")
        soon = "2099-01-01T00:00:00Z"
        narrow = key_of(shop, "chief", roles=["auditor"], domain="refund-ops", expires_at=soon)
        begun = start(shop)
        answer(shop, begun, key=narrow)
        session = poll(shop, begun).body["session"]
        who = shop.get("/v1/me", session).body
        assert (who["principal"]["roles"], who["key"]["domain"]) == (["auditor"], "refund-ops")
        assert shop.get("/v1/keys", session).status == 403
        clock.pass_seconds(SESSION_SECONDS)
        assert shop.get("/v1/me", session).status == 401


def test_a_session_ends_with_the_key_that_approved_it(tmp_path: Path) -> None:
    with timed_shop(tmp_path / "data") as (shop, clock):
        key = key_of(shop, "ops-human", expires_at=_in_seconds(clock, 1800))
        begun = start(shop)
        answer(shop, begun, key=key)
        session = poll(shop, begun).body["session"]
        clock.pass_seconds(1799)
        assert shop.get("/v1/me", session).status == 200
        clock.pass_seconds(2)
        assert shop.get("/v1/me", session).status == 401


def _in_seconds(clock: SteppedClock, seconds: int) -> str:
    return rfc3339(clock.now() + seconds * 1000)


def test_an_approval_by_somebody_who_lost_their_authority_since_is_none(free: Served) -> None:
    enrol(free, "leaver", "human", "auditor")
    keys = [key_of(free, "leaver"), key_of(free, "leaver")]
    begun = [start(free), start(free)]
    for each, key in zip(begun, keys, strict=True):
        assert answer(free, each, key=key).status == 200
    key_id = free.get("/v1/me", keys[0]).body["key"]["id"]
    assert free.ask("DELETE", f"/v1/keys/{key_id}", key="owner").status == 200
    assert codes(poll(free, begun[0]))[1] == "access_denied"
    switch_off(free, "leaver")
    assert codes(poll(free, begun[1]))[1] == "access_denied"


def test_a_revoked_key_approves_nothing_on_the_very_next_request(free: Served) -> None:
    key = key_of(free, "ops-human")
    begun = start(free)
    assert free.get(f"{DEVICE}/{begun['user_code']}", key).status == 200
    key_id = free.get("/v1/me", key).body["key"]["id"]
    assert free.ask("DELETE", f"/v1/keys/{key_id}", key="owner").status == 200
    assert answer(free, begun, key=key).status == 401


# What may be said at the start, and what is kept


@pytest.mark.parametrize("client", ["a" * 81, "bell\x07", "\x1b[2J", "two\nlines", "right\u202eleft"])
def test_a_label_that_could_play_tricks_on_a_screen_is_refused(free: Served, client: str) -> None:
    told = free.post(f"{DEVICE}/start", {"client": client}, None)
    assert (told.status, told.body["field"]) == (400, "client")


def test_a_start_says_where_to_go_and_the_page_there_what_to_do(free: Served) -> None:
    begun = start(free)
    assert set(begun["user_code"]) <= {*LETTERS, "-"}
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    assert begun["verification_uri"] == f"http://{free.host}/v1/auth/device"
    assert begun["verification_uri_complete"] == f"{begun['verification_uri']}?user_code={begun['user_code']}"
    told = free.get(begun["verification_uri_complete"].removeprefix(f"http://{free.host}"), None)
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert f"kiff login --url http://{free.host} --approve {begun['user_code']}" in told.raw.decode()


def test_the_page_repeats_nothing_that_is_no_code(free: Served) -> None:
    told = free.get(f"{DEVICE}?user_code=%3Cscript%3E", None)
    assert (told.status, b"script" in told.raw) == (200, False)


def test_a_public_address_is_what_people_are_sent_to(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        told = shop.post(f"{DEVICE}/start", {}, None, headers={"Host": "evil.example/x"})
        assert "evil" not in told.body["verification_uri"]
        shop.tower.settings = _at(shop.tower.settings, "https://kiff.example/")
        assert start(shop)["verification_uri"] == "https://kiff.example/v1/auth/device"


def _at(settings: Any, url: str) -> Any:
    return structs.replace(settings, public_url=url)


def test_the_database_holds_no_code_and_no_session(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        waiting, used = start(shop), start(shop)
        answer(shop, used)
        session = poll(shop, used).body["session"]
        poll(shop, waiting)
        secrets = list(parts(session))
        for begun in (waiting, used):
            code = begun["user_code"]
            secrets += [begun["device_code"], begun["device_code"].partition(".")[2], code, code.replace("-", "")]
        assert gives_away(tmp_path / "data", *secrets) == []
    assert gives_away(tmp_path / "data", *secrets) == []


def test_a_login_begun_before_a_restart_is_finished_after_it(tmp_path: Path) -> None:
    with served(tmp_path / "data", FREE) as shop:
        begun, approved = start(shop), start(shop)
        answer(shop, approved)
    with served(tmp_path / "data", FREE) as shop:
        assert poll(shop, approved).body["member"] == "ops-human"
        answer(shop, begun, key="owner")
        assert poll(shop, begun).body["member"] == "owner"


def test_no_tenant_has_the_name_under_which_logins_wait(free: Served) -> None:
    assert not is_tenant(HOME)
    start(free)
    assert free.tower.store.count(NoteRow, HOME) >= 1, "the control: that is where they are"


def test_logins_that_wait_are_nothing_that_an_auditor_misses_a_log_of(own_shop: Served) -> None:
    start(own_shop)
    verdict = verify_store(own_shop.tower.store, parse_jwks(own_shop.tower.keys.public()))
    assert (verdict.tenants, [each for each in verdict.problems if HOME in each.where]) == (1, [])


def test_the_place_of_a_login_is_used_again(free: Served) -> None:
    begun = start(free)
    answer(free, begun)
    assert poll(free, begun).status == 200
    place = f"device:{begun['device_code'].partition('.')[0]}"
    note = free.tower.store.row(NoteRow, HOME, place)
    assert note is not None and note.body == b""


def test_logins_that_wait_fill_a_bounded_number_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiff.server.devices.PLACES", 1)
    with timed_shop(tmp_path / "data") as (shop, clock):
        begun = start(shop)
        told = shop.post(f"{DEVICE}/start", {}, None)
        assert (told.status, told.body["code"]) == (503, "overloaded")
        clock.pass_seconds(SECONDS)
        start(shop)
        assert codes(poll(shop, begun))[1] == "expired_token"
        assert shop.tower.store.count(NoteRow, HOME) == 1


def test_trying_codes_out_is_slowed_down_for_each_key(tmp_path: Path) -> None:
    with served(tmp_path / "data", Limits(code_rate=0.01, code_burst=3)) as shop:
        told = [shop.get(f"{DEVICE}/BBBB-BBBB", "reviewer") for _ in range(4)]
        assert [each.status for each in told] == [404, 404, 404, 429]
        assert answer(shop, start(shop), key="owner").status == 200, "others go on"


def test_beginning_logins_is_slowed_down_for_each_address(tmp_path: Path) -> None:
    with served(tmp_path / "data", Limits(client_rate=0.01, client_burst=3)) as shop:
        told = [shop.post(f"{DEVICE}/start", {}, None).status for _ in range(4)]
    assert told == [200, 200, 200, 429]
