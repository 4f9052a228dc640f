"""Logging in at another provider, against a real one on this machine, as a browser does it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from auth_cases import FREE, enrol, gives_away, parts, switch_off, timed_shop
from msgspec import structs
from oidc_provider import CLIENT, SECRET, LoginProvider, login_provider
from served import TENANT, Served, served

from kiff.cli import server_options
from kiff.errors import InvalidInput
from kiff.server.oidc import LOGIN_SECONDS
from kiff.server.settings import Oidc

pytestmark = pytest.mark.slow

ANN = "ann:example.com"
"""How the address ann@example.com is written as an id."""
LONG_AGO, FAR_AHEAD = 1_700_000_000, 4_000_000_000
"""In seconds since 1970."""
TRUST = "the login provider's word cannot be trusted"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def provider() -> Iterator[LoginProvider]:
    with login_provider() as provider:
        yield provider


@pytest.fixture
def honest(provider: LoginProvider) -> LoginProvider:
    """The provider as it is before it is told to lie."""
    provider.be_honest()
    return provider


def settings(provider: LoginProvider, **more: Any) -> Oidc:
    return structs.replace(Oidc(provider.url, CLIENT, SECRET, TENANT), **more)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, provider: LoginProvider) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("oidc"), FREE, oidc=settings(provider)) as shop:
        enrol(shop, ANN, "human", "auditor")
        yield shop


class Browser:
    """Keeps cookies and goes where it is sent, one step at a time."""

    def __init__(self, shop: Served) -> None:
        self._url = f"http://{shop.host}"
        self._client = httpx.Client(trust_env=False, timeout=20.0)

    def open(self, path: str) -> httpx.Response:
        return self._client.get(path if path.startswith("http") else self._url + path)

    def back(self) -> str:
        """Logs in, up to where the provider sends it back to."""
        there = self.open("/v1/auth/oidc/login")
        assert there.status_code == 302, there.text
        back = self.open(there.headers["location"])
        assert back.status_code == 302, back.text
        return str(back.headers["location"])

    def log_in(self) -> httpx.Response:
        return self.open(self.back())

    def cookie(self, name: str) -> str | None:
        return self._client.cookies.get(name)

    def close(self) -> None:
        self._client.close()


@contextmanager
def browser(shop: Served) -> Iterator[Browser]:
    one = Browser(shop)
    try:
        yield one
    finally:
        one.close()


def refused(shop: Served, told: httpx.Response, status: int) -> dict[str, Any]:
    """The body of a login that failed: no session was set, and none was issued."""
    assert (told.status_code, told.headers.get("set-cookie")) == (status, None), told.text
    keys = shop.get("/v1/keys", "owner").body["keys"]
    assert [key for key in keys if key["kind"] == "session"] == []
    body: dict[str, Any] = told.json()
    return body


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, provider: LoginProvider) -> Iterator[Served]:
    """A server on which nobody ever logged in."""
    with served(tmp_path_factory.mktemp("fresh"), FREE, oidc=settings(provider)) as shop:
        enrol(shop, ANN, "human", "auditor")
        yield shop


# How it should go


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_person_whom_the_tenant_knows_is_logged_in(shop: Served, honest: LoginProvider, alg: str) -> None:
    honest.alg = alg
    with browser(shop) as one:
        told = one.log_in()
        assert (told.status_code, told.headers["location"]) == (302, "/")
        who = one.open("/v1/me").json()
    assert (who["tenant"], who["principal"]["id"], who["key"]["kind"]) == (TENANT, ANN, "session")


def test_the_cookies_are_out_of_reach_of_scripts_and_of_other_sites(shop: Served, honest: LoginProvider) -> None:
    with browser(shop) as one:
        begun = one.open("/v1/auth/oidc/login").headers["set-cookie"].split("; ")
        ended = one.log_in().headers["set-cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Lax", "Path=/v1/auth/oidc", f"Max-Age={LOGIN_SECONDS}"} <= set(begun)
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(ended)
    assert "Secure" not in begun + ended, "this is plain HTTP on one machine"


def test_behind_tls_the_cookie_is_secure_and_the_provider_is_told_the_public_address(
    shop: Served, honest: LoginProvider
) -> None:
    before, shop.tower.settings = (
        shop.tower.settings,
        structs.replace(shop.tower.settings, public_url="https://kiff.example"),
    )
    try:
        with browser(shop) as one:
            told = one.open("/v1/auth/oidc/login")
    finally:
        shop.tower.settings = before
    asked = httpx.URL(told.headers["location"]).params
    assert asked["redirect_uri"] == "https://kiff.example/v1/auth/oidc/callback"
    assert told.headers["set-cookie"].endswith("; Secure")


def test_what_goes_through_the_browser_holds_no_secret(shop: Served, honest: LoginProvider) -> None:
    with browser(shop) as one:
        told = one.open("/v1/auth/oidc/login")
        sealed = one.cookie("kiff_login") or ""
    asked = httpx.URL(told.headers["location"]).params
    assert SECRET not in told.text + str(told.headers)
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert not any(asked[name] in sealed for name in ("state", "nonce", "code_challenge"))


def test_the_person_behind_an_identity_is_found(shop: Served, honest: LoginProvider) -> None:
    honest.claims = {**honest.claims, "email": "Bob@Example.com"}
    enrol(shop, "bob-at-work", "human", "auditor", "bob:example.com")
    with browser(shop) as one:
        assert one.log_in().status_code == 302
        assert one.open("/v1/me").json()["principal"]["id"] == "bob-at-work"


def test_the_database_holds_nothing_that_logs_in(tmp_path: Path, honest: LoginProvider) -> None:
    with served(tmp_path / "data", FREE, oidc=settings(honest)) as shop:
        enrol(shop, ANN, "human", "auditor")
        with browser(shop) as one:
            back = httpx.URL(one.back())
            assert one.open(str(back)).status_code == 302
            session, sealed = one.cookie("kiff_session") or "", one.cookie("kiff_login") or ""
        held = [SECRET, back.params["code"], back.params["state"], *honest.tokens, sealed, *parts(session)]
        assert all(held)
        assert gives_away(tmp_path / "data", *held) == []


# The way there and back


def test_a_server_without_a_provider_has_no_such_login(own_shop: Served) -> None:
    for path in ("login", "callback?state=x&code=y"):
        assert own_shop.get(f"/v1/auth/oidc/{path}", None).status == 404


def test_a_wrong_state_is_refused_before_the_provider_is_asked(fresh: Served, honest: LoginProvider) -> None:
    with browser(fresh) as one:
        back = httpx.URL(one.back())
        for state in ("", "x", "é", back.params["state"] + "x"):
            told = one.open(str(back.copy_set_param("state", state)))
            assert refused(fresh, told, 401)["code"] == "unauthorized"
    assert "/token" not in honest.asked


def test_what_one_browser_began_another_does_not_finish(fresh: Served, honest: LoginProvider) -> None:
    with browser(fresh) as one, browser(fresh) as other:
        back = one.back()
        refused(fresh, other.open(back), 401)
        other.back()
        refused(fresh, other.open(back), 401)


def test_a_code_of_another_login_is_refused_by_its_challenge(fresh: Served, honest: LoginProvider) -> None:
    with browser(fresh) as one, browser(fresh) as other:
        mine, theirs = httpx.URL(one.back()), httpx.URL(other.back())
        refused(fresh, one.open(str(mine.copy_set_param("code", theirs.params["code"]))), 401)
    assert "/token" in honest.asked and honest.tokens == []


def test_a_login_that_took_too_long_is_refused(tmp_path: Path, honest: LoginProvider) -> None:
    with timed_shop(tmp_path / "data", oidc=settings(honest)) as (shop, clock), browser(shop) as one:
        enrol(shop, ANN, "human", "auditor")
        back = one.back()
        clock.pass_seconds(LOGIN_SECONDS + 1)
        refused(shop, one.open(back), 401)
    assert "/token" not in honest.asked


@pytest.mark.parametrize("lax", [False, True])
def test_a_login_that_was_finished_is_not_finished_again(shop: Served, honest: LoginProvider, lax: bool) -> None:
    """Whether the provider takes its code again or not."""
    honest.lax = lax
    with browser(shop) as one:
        back = one.back()
        assert one.open(back).status_code == 302
        again = one.open(back)
    assert (again.status_code, again.headers.get("set-cookie")) == (401, None)
    assert len(honest.tokens) == (2 if lax else 1)


def test_a_person_whom_the_provider_sends_back_with_an_error_is_not_logged_in(
    fresh: Served, honest: LoginProvider
) -> None:
    honest.refuses = "access_denied"
    with browser(fresh) as one:
        refused(fresh, one.log_in(), 401)


def test_an_answer_of_another_provider_is_refused(fresh: Served, honest: LoginProvider) -> None:
    with browser(fresh) as one:
        back = httpx.URL(one.back()).copy_set_param("iss", "https://evil.example")
        refused(fresh, one.open(str(back)), 401)
    assert "/token" not in honest.asked


# What the provider says


@pytest.mark.parametrize(
    "lies",
    [
        {"nonce": "of another login"},
        {"nonce": None},
        {"aud": "another-client"},
        {"aud": "another-client", "azp": CLIENT},
        {"aud": None},
        {"aud": [CLIENT, "another-client"]},
        {"aud": [CLIENT, "another-client"], "azp": "another-client"},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"exp": LONG_AGO},
        {"exp": None},
        {"exp": "never"},
        {"iat": FAR_AHEAD},
        {"nbf": FAR_AHEAD},
        {"sub": None},
        {"at_hash": "of-another-token"},
    ],
    ids=str,
)
def test_an_id_token_that_is_not_for_this_login_is_refused(
    fresh: Served, honest: LoginProvider, lies: dict[str, Any]
) -> None:
    honest.lies = lies
    with browser(fresh) as one:
        assert TRUST in refused(fresh, one.log_in(), 401)["message"]


@pytest.mark.parametrize("alg", ["none", "HS256"])
def test_an_id_token_that_anybody_could_have_made_is_refused(fresh: Served, honest: LoginProvider, alg: str) -> None:
    honest.alg = alg
    with browser(fresh) as one:
        assert TRUST in refused(fresh, one.log_in(), 401)["message"]


def test_an_id_token_signed_with_a_key_that_is_not_the_providers_is_refused(
    fresh: Served, honest: LoginProvider
) -> None:
    honest.forged = True
    with browser(fresh) as one:
        assert TRUST in refused(fresh, one.log_in(), 401)["message"]


def test_a_provider_that_does_not_answer_is_said_to_be_unavailable(tmp_path: Path, honest: LoginProvider) -> None:
    honest.broken = True
    with served(tmp_path / "data", FREE, oidc=settings(honest)) as shop:
        told = shop.get("/v1/auth/oidc/login", None)
    assert (told.status, told.body["code"]) == (503, "login_unavailable")


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example"},
        {"token_endpoint": "http://evil.example/token"},
        {"jwks_uri": 7},
    ],
    ids=str,
)
def test_a_provider_that_is_not_who_it_should_be_is_not_gone_to(
    tmp_path: Path, honest: LoginProvider, metadata: dict[str, Any]
) -> None:
    honest.metadata = metadata
    with served(tmp_path / "data", FREE, oidc=settings(honest)) as shop:
        told = shop.get("/v1/auth/oidc/login", None)
    assert (told.status, told.body["code"]) == (503, "login_unavailable")


# Whom the tenant knows


@pytest.mark.parametrize("verified", [False, None, "true", 1])
def test_an_address_that_the_provider_did_not_verify_says_nothing(
    fresh: Served, honest: LoginProvider, verified: Any
) -> None:
    honest.claims = {**honest.claims, "email_verified": verified}
    with browser(fresh) as one:
        body = refused(fresh, one.log_in(), 403)
    assert (body["claim"], body["value"]) == ("email", "ann@example.com")


@pytest.mark.parametrize(
    ("email", "id"),
    [
        ("mallory@example.com", None),
        ("ann@evil.example", None),
        ("ann:example.com", None),
        ("ann@example.com@evil.example", None),
        ("", None),
        (7, None),
        ("agent@example.com", "agent:example.com"),
        ("left@example.com", "left:example.com"),
    ],
)
def test_whom_the_tenant_does_not_know_as_an_active_person_is_not_let_in(
    fresh: Served, honest: LoginProvider, email: Any, id: str | None
) -> None:
    """Nor is anybody enrolled by trying."""
    enrol(fresh, "agent:example.com", "agent", "auditor")
    enrol(fresh, "left:example.com", "human", "auditor", active=False)
    before = fresh.get("/v1/members", "owner").body
    honest.claims = {**honest.claims, "email": email}
    with browser(fresh) as one:
        body = refused(fresh, one.log_in(), 403)
    assert (body["code"], body["claim"]) == ("permission_denied", "email")
    assert fresh.get("/v1/members", "owner").body == before


def test_an_address_that_stands_behind_two_people_is_nobodys(fresh: Served, honest: LoginProvider) -> None:
    honest.claims = {**honest.claims, "email": "bob@example.com"}
    for id in ("bob-at-work", "bob-at-home"):
        enrol(fresh, id, "human", "auditor", "bob:example.com")
    with browser(fresh) as one:
        assert "several people" in refused(fresh, one.log_in(), 403)["message"]


def test_a_long_claim_is_shown_in_part(fresh: Served, honest: LoginProvider) -> None:
    honest.claims = {**honest.claims, "email": f"{'a' * 5000}@example.com"}
    with browser(fresh) as one:
        told = one.log_in()
    assert (told.status_code, len(told.json()["value"])) == (403, 200)
    assert len(told.content) < 2_000


def test_another_claim_may_name_the_member(tmp_path: Path, honest: LoginProvider) -> None:
    honest.claims = {"sub": "owner"}
    with served(tmp_path / "data", FREE, oidc=settings(honest, claim="sub")) as shop, browser(shop) as one:
        assert one.log_in().status_code == 302
        assert one.open("/v1/me").json()["principal"]["id"] == "owner"


def test_a_person_who_is_switched_off_is_out_on_the_next_request(shop: Served, honest: LoginProvider) -> None:
    honest.claims = {**honest.claims, "email": "leaver@example.com"}
    enrol(shop, "leaver:example.com", "human", "auditor")
    with browser(shop) as one:
        one.log_in()
        assert one.open("/v1/me").status_code == 200
        switch_off(shop, "leaver:example.com")
        assert one.open("/v1/me").status_code == 401


# oidc.toml

SAID = {
    "issuer": "https://login.example",
    "client_id": CLIENT,
    "client_secret": SECRET,
    "tenant": TENANT,
    "claim": "sub",
}


def write(folder: Path, said: dict[str, Any], mode: int = 0o600) -> None:
    file = folder / "oidc.toml"
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in said.items()))
    file.chmod(mode)


def test_without_the_file_there_is_no_provider(tmp_path: Path) -> None:
    assert server_options.login_provider(tmp_path) is None


def test_the_file_says_who_the_provider_is(tmp_path: Path) -> None:
    write(tmp_path, SAID)
    assert server_options.login_provider(tmp_path) == Oidc(**SAID)


@pytest.mark.parametrize(
    ("said", "mode", "told"),
    [
        (SAID, 0o640, "chmod 600"),
        ({"issuer": "https://login.example"}, 0o600, "client_id"),
        ({**SAID, "clientid": "x"}, 0o600, "clientid"),
        ({**SAID, "issuer": "http://login.example"}, 0o600, "https://"),
        ({**SAID, "issuer": "login.example"}, 0o600, "https://"),
        ({**SAID, "client_secret": "short"}, 0o600, "client_secret"),
        ({**SAID, "claim": ""}, 0o600, "claim"),
    ],
)
def test_a_file_that_would_not_keep_logins_safe_is_refused(
    tmp_path: Path, said: dict[str, Any], mode: int, told: str
) -> None:
    write(tmp_path, said, mode)
    with pytest.raises(InvalidInput) as raised:
        server_options.login_provider(tmp_path)
    assert told in raised.value.message
    assert SECRET not in raised.value.message
