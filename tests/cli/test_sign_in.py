"""Signing in and out, whose credentials are kept where, and what an owner does from a shell."""

from __future__ import annotations

import functools
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from remote_cases import Remote, Served, clean_folder, served
from served import wait_for

from kiff.cli.exits import Exit
from kiff.client.login import Login

pytestmark = pytest.mark.slow

CREDENTIALS = Path("config/kiff/credentials.toml")
PROGRAM = "from kiff.cli import main; main()"


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("tower") / "data") as shop:
        yield shop


@pytest.fixture
def remote(
    tower: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Remote]:
    with clean_folder(tmp_path / "here", monkeypatch):
        yield Remote(tower, monkeypatch, capsys)


def sign_in(remote: Remote, member: str = "owner", tenant: str = "kiff-demo") -> Any:
    token = remote.shop.tower.logins.token(tenant, member)
    return remote("login", "--token", token, key=None)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[float], None]], None]:
    """What happens instead of waiting between two questions of a device login."""

    def instead(wait: Callable[[float], None]) -> None:
        monkeypatch.setattr(Login, "wait", functools.partialmethod(Login.wait, wait=wait))

    return instead


def code_of(remote: Remote) -> str:
    """The code that the waiting program was given, as a person reads it off its screen."""
    shown: str = remote._capsys.readouterr().err
    return shown.split("code   ")[1].split("\n")[0]


def test_a_token_makes_a_session_that_nobody_else_can_read(remote: Remote) -> None:
    ran = sign_in(remote)
    assert (ran.code, ran.fields["tenant"], ran.fields["member"]) == (Exit.DONE, "kiff-demo", "owner")
    assert stat.S_IMODE(CREDENTIALS.stat().st_mode) == 0o600
    assert "kiff_session_" not in ran.out + ran.err
    assert remote("members", key=None).code == Exit.DONE


def test_a_token_is_good_once(remote: Remote) -> None:
    token = remote.shop.tower.logins.token("kiff-demo", "owner")
    assert remote("login", "--token", token, key=None).code == Exit.DONE
    again = remote("login", "--token", token, key=None)
    assert (again.code, token in again.err) == (Exit.SIGN_IN, False)


def test_a_token_can_come_from_stdin(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.write(write, remote.shop.tower.logins.token("kiff-demo", "owner").encode() + b"\n")
    os.close(write)
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert remote("login", "--token", "-", key=None).code == Exit.DONE


def test_signing_out_ends_the_session_there_and_here(remote: Remote) -> None:
    sign_in(remote)
    session = CREDENTIALS.read_text().split('session = "')[1].split('"')[0]
    assert remote("logout", key=None).code == Exit.DONE
    assert remote("members", key=None).code == Exit.SIGN_IN
    assert remote("members", key=session).code == Exit.SIGN_IN
    assert "session" not in CREDENTIALS.read_text()


def test_a_session_that_ended_elsewhere_can_still_be_forgotten(remote: Remote) -> None:
    sign_in(remote)
    [row] = [row for row in remote("keys", "-o", "json", key="owner").json["keys"] if row["kind"] == "session"][-1:]
    assert remote("keys", "revoke", row["id"], key="owner").code == Exit.DONE
    assert remote("logout", key=None).code == Exit.DONE
    assert remote("logout", key=None).code == Exit.SIGN_IN


def test_the_environments_key_stands_above_the_file(remote: Remote) -> None:
    sign_in(remote)
    assert remote("members", key="agent").code == Exit.BLOCKED
    assert remote("members", key=None).code == Exit.DONE


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_credentials_that_others_can_read_are_refused(remote: Remote, mode: int) -> None:
    sign_in(remote)
    CREDENTIALS.chmod(mode)
    ran = remote("members", key=None)
    assert (ran.code, "chmod 600" in ran.err) == (Exit.FAILED, True)


@pytest.mark.parametrize("text", ["[[login]]\nurl = 1\n", "login = 3\n", "no toml", '[[login]]\nsecret = "x"\n'])
def test_a_file_that_is_none_of_credentials_is_refused(remote: Remote, text: str) -> None:
    CREDENTIALS.parent.mkdir(parents=True)
    CREDENTIALS.touch(0o600)
    CREDENTIALS.write_text(text)
    assert remote("members", key=None).code == Exit.FAILED


def test_several_tenants_are_told_apart(remote: Remote) -> None:
    if "acme" not in remote.shop.tower.store.tenants():
        remote.shop.found("acme")
    sign_in(remote)
    sign_in(remote, tenant="acme")
    sign_in(remote, tenant="acme")
    assert CREDENTIALS.read_text().count("[[login]]") == 2
    unclear = remote("state", "order:x", key=None)
    assert (unclear.code, "acme" in unclear.err) == (Exit.FAILED, True)
    assert remote("members", "--tenant", "acme", key=None).code == Exit.DONE
    assert remote("members", "--tenant", "nobody", key=None).code == Exit.SIGN_IN
    wrong = remote("members", "--tenant", "acme", key="owner")
    assert (wrong.code, "KIFF_KEY is a key of `kiff-demo`" in wrong.err) == (Exit.FAILED, True)


def test_a_login_for_a_server_is_of_no_use_for_another(remote: Remote) -> None:
    sign_in(remote)
    assert remote.plain("members", "--url", "http://127.0.0.1:1").code == Exit.SIGN_IN


def test_a_device_is_approved_by_somebody_who_is_signed_in(remote: Remote, waiting: Any) -> None:
    def person(_: float) -> None:
        code = code_of(remote)
        unasked = remote("login", "--approve", code, key="reviewer")
        assert (unasked.code, "kiff login of" in unasked.err) == (Exit.USAGE, True), "shown, and not done unasked"
        assert remote("login", "--approve", code, "--yes", key="agent").code == Exit.BLOCKED
        assert remote("login", "--approve", code, "--yes", key="reviewer").fields["status"] == "approved"

    waiting(person)
    ran = remote("login", key=None)
    assert (ran.code, ran.fields["member"]) == (Exit.DONE, "ops-human")
    assert remote("approvals", key=None).code == Exit.DONE


def test_a_device_that_a_person_denies_gets_nothing(remote: Remote, waiting: Any) -> None:
    waiting(lambda _: assert_done(remote("login", "--deny", code_of(remote), key="reviewer")))
    ran = remote("login", key=None)
    assert (ran.code, "[access_denied]" in ran.err, CREDENTIALS.exists()) == (Exit.DENIED, True, False)


def assert_done(ran: Any) -> None:
    assert ran.code == Exit.DONE


def test_a_device_asks_less_often_when_it_is_told_to(remote: Remote, waiting: Any) -> None:
    waited: list[float] = []
    codes: list[str] = []

    def person(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 1:
            codes.append(code_of(remote))
        if len(waited) == 3:
            assert_done(remote("login", "--approve", codes[0], "--yes", key="reviewer"))

    waiting(person)
    assert remote("login", key=None).code == Exit.DONE
    assert waited[0] == waited[1] < waited[2], "the second question came too soon"


def test_a_login_that_nobody_answers_ends_with_thirteen(
    remote: Remote, waiting: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kiff.server.devices.SECONDS", 0)
    waiting(lambda _: None)
    ran = remote("login", key=None)
    assert (ran.code, "[expired_token]" in ran.err) == (Exit.EXPIRED, True)


def test_ctrl_c_ends_a_login(remote: Remote, waiting: Any) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    waiting(interrupt)
    assert remote("login", key=None).code == Exit.INTERRUPTED


@pytest.mark.parametrize("code", ["BCDF-GHJK", "..", "nothing/at/all"])
def test_a_code_that_nothing_waits_under_is_not_found(remote: Remote, code: str) -> None:
    assert remote("login", "--approve", code, "--yes", key="reviewer").code == Exit.FAILED


def test_a_minted_key_is_data_on_stdout_and_can_be_revoked(remote: Remote) -> None:
    minted = remote("keys", "create", "--for", "ops-agent", "--label", "robot", key="owner")
    secret = minted.out.strip()
    assert (minted.code, secret.startswith("kiff_live_kiff-demo_")) == (Exit.DONE, True)
    assert remote.refund("nobody", 1, key=secret).code == Exit.BLOCKED
    [row] = [row for row in remote("keys", key="owner").rows if row["label"] == "robot"]
    assert secret not in json.dumps(remote("keys", "-o", "json", key="owner").json)
    assert remote("keys", "revoke", row["id"], key="owner").code == Exit.DONE
    assert remote.refund("nobody", 1, key=secret).code == Exit.SIGN_IN
    assert row["id"] not in remote("keys", key="owner").out
    assert row["id"] in remote("keys", "list", "--all", key="owner").out


def test_a_key_is_minted_once_under_one_id(remote: Remote) -> None:
    said = ("keys", "create", "--for", "ops-agent", "--key", "mint-7", "-o", "json")
    first, again = remote(*said, key="owner"), remote(*said, key="owner")
    assert first.json["id"] == again.json["id"]
    assert (first.json["secret"] is None, again.json["secret"]) == (False, None)


def test_keys_and_members_are_an_owners(remote: Remote) -> None:
    for line in ("keys list", "keys create", "members list", "members set ops-agent --type human --role tenant_owner"):
        assert remote(*line.split(), key="agent").code == Exit.BLOCKED


def test_a_member_is_what_was_said(remote: Remote) -> None:
    said = ("members", "set", "ada", "--type", "human", "--role", "ops_operator", "--role", "auditor", "--name", "Ada")
    assert remote(*said, key="owner").fields["roles"] == "ops_operator, auditor"
    [row] = [row for row in remote("members", key="owner").rows if row["id"] == "ada"]
    assert (row["roles"], row["active"]) == ("ops_operator, auditor", "yes")
    assert remote("members", "set", "ada", "--type", "human", "--inactive", key="owner").fields["active"] == "no"


def test_an_event_is_triggered_on_the_sandbox_side_when_there_is_one(remote: Remote) -> None:
    assert remote("trigger", "ORDER_PLACED", "order:tried", "-p", "total=3", key="owner").fields["state"] == "CREATED"
    sign_in(remote)
    if "kiff-demo:test" not in remote.shop.tower.store.tenants():
        remote.shop.found("kiff-demo:test")
    sign_in(remote, tenant="kiff-demo:test")
    ran = remote("trigger", "ORDER_PLACED", "order:sand", "--id", "evt-sand", key=None)
    assert (ran.code, ran.fields["event_id"]) == (Exit.DONE, "evt-sand")
    assert remote("state", "order:sand", key="owner").code == Exit.FAILED, "the tenant's own log knows nothing of it"
    assert remote("state", "order:sand", "--tenant", "kiff-demo:test", key=None).fields["state"] == "CREATED"


def test_the_log_is_followed_from_a_place_on(remote: Remote) -> None:
    remote.shop.paid("tail")
    rows = remote("tail", "--after", "-1", "--entity", "order:tail", "--limit", "4", key="owner").rows
    assert [row["kind"] for row in rows] == ["event_ingested", "state_changed"] * 2
    ran = remote("tail", "--after", "-1", "--kind", "state_changed", "--limit", "1", "-o", "jsonl", key="owner")
    assert json.loads(ran.out)["kind"] == "state_changed"
    both = remote("tail", "--held", "--kind", "state_changed", key="owner")
    assert both.code == Exit.USAGE


@pytest.mark.slow
def test_what_is_held_shows_when_it_happens_and_ctrl_c_ends_it(remote: Remote) -> None:
    remote.shop.paid("live")
    env = dict(os.environ, KIFF_URL=remote.url, KIFF_KEY=remote.shop.keys["owner"])
    argv = [sys.executable, "-c", PROGRAM, "tail", "--held"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as tail:
        wait_for(lambda: remote.shop.tower.counts.streams["kiff-demo"])
        remote.refund("live", 999)
        assert tail.stdout is not None
        assert tail.stdout.readline().split("\t")[0] == "seq"
        assert "order:live\tops-agent\tREFUND_ORDER awaiting human" in tail.stdout.readline()
        tail.send_signal(signal.SIGINT)
        tail.communicate()
        assert tail.returncode == Exit.INTERRUPTED
