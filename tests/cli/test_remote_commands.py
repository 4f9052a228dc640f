"""Commands against a server: what they show is what they show on its database, and they end the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving import Misbehaving, answer, cut
from remote_cases import Remote, Served, clean_folder, served

from kiff.cli.exits import Exit
from kiff.client import connection

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("tower") / "data") as shop:
        yield shop


@pytest.fixture
def remote(
    tower: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Remote]:
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)
    with clean_folder(tmp_path / "here", monkeypatch):
        yield Remote(tower, monkeypatch, capsys)


def test_a_held_call_is_granted_and_runs_once(remote: Remote) -> None:
    remote.shop.paid("held")
    held = remote.refund("held", 999)
    assert (held.code, held.fields["reasons"]) == (Exit.HELD, "approval_required")
    approval, proposal = held.fields["approval_id"], held.fields["proposal_id"]
    assert f"kiff approvals grant {approval}" in held.err and "--as" not in held.err
    refused = remote("approvals", "grant", approval, "--reason", "mine", "--confirm", "order:held")
    assert (refused.code, "[proposer_is_reviewer]" in refused.err) == (Exit.BLOCKED, True)
    review = ("approvals", "grant", approval, "--reason", "seen")
    assert remote(*review, "--yes", key="reviewer").code == Exit.USAGE, "high risk names the entity"
    granted = remote(*review, "--confirm", "order:held", key="reviewer")
    assert (granted.code, granted.fields["reviewed_by"]) == (Exit.DONE, "ops-human")
    ran = remote.refund("held", 999, "--approval", approval, "--id", proposal)
    assert (ran.code, ran.fields["status"], remote.shop.outside.effects["held"]) == (Exit.DONE, "succeeded", 1)
    again = remote.refund("held", 999, "--approval", approval, "--id", proposal)
    assert (again.code, again.out, remote.shop.outside.effects["held"]) == (Exit.DONE, ran.out, 1)


def test_a_denied_call_ends_with_twelve(remote: Remote) -> None:
    remote.shop.paid("denied")
    approval = remote.refund("denied", 999).fields["approval_id"]
    assert remote("approvals", "deny", approval, "--reason", "no", key="reviewer").code == Exit.DONE
    assert remote.refund("denied", 999).code == Exit.DENIED
    assert remote("approvals", "watch", approval).code == Exit.DENIED


def test_a_refusal_says_its_rule_and_its_receipt(remote: Remote) -> None:
    assert remote("ingest", "ORDER_PLACED", "order:unpaid", key="owner").code == Exit.DONE
    ran = remote.refund("unpaid", 49)
    assert (ran.code, ran.fields["reasons"]) == (Exit.BLOCKED, "state_not_allowed")
    assert "rule   refund-ops-v2  actions/AUTO_REFUND/allowed_states   receipt rcpt_" in ran.err
    assert "the entity is CREATED, the action needs PAID" in ran.err


@pytest.fixture
def running(remote: Remote, tmp_path: Path) -> Iterator[Remote]:
    """A server of its own, where granting a refund runs it."""
    with served(tmp_path / "data") as shop:
        own = Remote(shop, remote._monkeypatch, remote._capsys)
        governs = own("domains", "show", "refund-ops-v2").json
        governs["version"] = "v3"
        for action in governs["actions"]:
            action["approval_policy"]["on_grant"] = "run"
        Path("kiff.yaml").write_text(json.dumps(governs))
        assert own("domains", "apply", key="owner").code == Exit.DONE
        shop.paid("run")
        yield own


@pytest.mark.parametrize(
    ("behaviour", "code", "status"),
    [("succeed", Exit.DONE, "succeeded"), ("fail", Exit.FAILED, "failed"), ("raise", Exit.UNKNOWN, "unknown")],
)
def test_a_grant_that_runs_the_call_ends_as_the_call_does(
    running: Remote, behaviour: str, code: Exit, status: str
) -> None:
    approval = running.refund("run", 999).fields["approval_id"]
    running.shop.outside.behaviour = behaviour
    said = ("--reason", "seen", "--confirm", "order:run")
    ran = running("approvals", "grant", approval, *said, key="reviewer")
    assert (ran.code, ran.fields["operation_status"], ran.fields["outcome"]) == (code, status, "allowed")


def test_a_dry_run_writes_nothing(remote: Remote) -> None:
    remote.shop.paid("dry")
    ran = remote.refund("dry", 49, "--dry-run")
    assert (ran.code, ran.fields["records"]) == (Exit.DONE, "decision_recorded, action_validated")
    assert remote.refund("dry", 999, "--dry-run").code == Exit.HELD
    assert "dry" not in remote.shop.outside.effects
    for command in (("ingest", "ORDER_PLACED", "order:dry"), ("operations", "settle", "clr_x", "failed")):
        refused = remote(*command, "--dry-run", key="owner")
        assert (refused.code, "no dry run" in refused.err) == (Exit.USAGE, True)


def test_an_event_that_leads_nowhere_ends_with_eleven(remote: Remote) -> None:
    remote.shop.paid("event")
    ran = remote("ingest", "ORDER_PLACED", "order:event", key="owner")
    assert (ran.code, ran.fields["applied"]) == (Exit.BLOCKED, "no")
    assert "[invalid_transition]" in ran.err


def test_an_operation_that_nobody_knows_the_end_of_is_settled(remote: Remote) -> None:
    remote.shop.paid("lost")
    remote.shop.outside.behaviour = "raise"
    try:
        lost = remote.refund("lost", 49)
    finally:
        remote.shop.outside.behaviour = "succeed"
    assert (lost.code, "hunter2" in lost.out + lost.err) == (Exit.UNKNOWN, False)
    operation = lost.fields["operation_id"]
    assert operation in [row["operation_id"] for row in remote("operations", key="owner").rows]
    settle = ("operations", "settle", operation, "succeeded", "--message", "seen", "--result", '{"at": "bank"}')
    assert remote(*settle, key="agent").code == Exit.BLOCKED
    settled = remote(*settle, key="reviewer")
    assert (settled.code, settled.fields["state"]) == (Exit.DONE, "REFUNDED")


@pytest.fixture
def history(remote: Remote) -> Remote:
    """A server where something of everything happened, and whose log is signed."""
    if remote.shop.tower.runtime.read.state("order:h1", tenant="kiff-demo") is None:
        remote.shop.paid("h1", "h2", "h3", "h4")
        remote.refund("h1", 49)
        approval = remote.refund("h2", 999).fields["approval_id"]
        said = ("--reason", "ok", "--confirm", "order:h2")
        remote("approvals", "grant", approval, *said, key="reviewer")
        approval = remote.refund("h3", 999).fields["approval_id"]
        remote("approvals", "deny", approval, "--reason", "no", key="reviewer")
        remote("propose", "AUTO_REFUND", "order:h4", "-p", "amount=1", "-p", "reason=x", "--settles")
    remote.shop.tower.runtime.checkpoint("kiff-demo").result()
    return remote


@pytest.mark.parametrize(
    "line",
    [
        "state order:h1",
        "state order:h1 --at 3",
        "state order:nobody",
        "entities list",
        "entities list --state PAID --type Order --limit 2",
        "entities list --after order:h2 --limit 1",
        "entities show order:h4",
        "entities show order:h2",
        "timeline order:h2",
        "timeline order:h2 --kind decision_recorded --limit 1",
        "timeline order:nobody",
        "approvals list --status all",
        "approvals list --status denied",
        "operations list --status all",
        "operations list",
        "receipts list --entity order:h3",
        "receipts list --limit 3",
        "domains list",
        "domains show refund-ops-v2",
        "domains show refund-ops-v9",
        "domains diff other.yaml",
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_what_is_shown_is_what_the_database_shows(history: Remote, line: str, form: str) -> None:
    text = (history.shop.tower.runtime.read.domains("kiff-demo")["order"]).content.decode()
    Path("other.yaml").write_text(text.replace('"maximum":100', '"maximum":200'))
    argv = line.split()
    if not line.startswith("domains show"):
        argv += ["-o", form]
    shown, expected = history(*argv, key="owner"), history.on_database(*argv)
    assert shown == expected


@pytest.mark.parametrize("form", ["-ojson", "--jws", "--bundle", "--proof"])
def test_a_receipt_is_what_the_database_has(history: Remote, form: str) -> None:
    [receipt] = [row["receipt_id"] for row in history("receipts", "list", "--entity", "order:h1", key="owner").rows]
    shown, expected = (way("receipts", "show", receipt, form) for way in (history, history.on_database))
    assert shown == expected
    assert shown.code == Exit.DONE


def test_an_approval_is_what_the_database_has(history: Remote) -> None:
    rows = history("approvals", "list", "--status", "all", "-o", "json", key="owner").json["approvals"]
    assert len(rows) >= 2
    for row in rows:
        shown, expected = (
            way("approvals", "show", row["approval_id"], "-o", "json") for way in (history, history.on_database)
        )
        assert shown == expected


def test_a_changed_domain_is_shown_published_and_then_no_difference(remote: Remote) -> None:
    governs = remote("domains", "show", "refund-ops-v2").json
    governs["actions"][0]["risk"] = "high"
    Path("kiff.yaml").write_text(json.dumps(governs))
    shown = remote("domains", "diff")
    assert (shown.code, [row["change"] for row in shown.rows]) == (Exit.FAILED, ["changed"])
    assert "give the file another `version`" in shown.err
    governs["version"] = "v3"
    Path("kiff.yaml").write_text(json.dumps(governs))
    assert {row["where"] for row in remote("domains", "diff").rows} == {"version", "actions.MARK_PAID.risk"}
    assert remote("domains", "apply").code == Exit.BLOCKED, "an agent publishes nothing"
    assert remote("domains", "apply", key="owner").fields["changed"] == "yes"
    assert remote("domains", "diff").code == Exit.DONE
    assert remote("domains", "apply", key="owner").fields["changed"] == "no"
    remote("domains", "apply", "kiff.yaml", "--dry-run", key="owner")
    Path("kiff.yaml").write_text(json.dumps({**governs, "version": "v2", "actions": []}))
    assert remote("domains", "apply", key="owner").code == Exit.FAILED


def test_a_broken_domain_lists_what_is_wrong(remote: Remote) -> None:
    Path("kiff.yaml").write_text("domain: x\nentity: X\nstates: [A, A]\n")
    ran = remote("domains", "apply", key="owner")
    assert (ran.code, "[invalid_domain]" in ran.err) == (Exit.FAILED, True)


@pytest.mark.parametrize("key", ["kiff_live_kiff-demo_" + "x" * 53, "nonsense"])
def test_a_key_that_is_not_good_ends_with_four(remote: Remote, key: str) -> None:
    ran = remote("state", "order:h1", key=key)
    assert (ran.code, key in ran.out + ran.err) == (Exit.SIGN_IN, False)


def test_nobody_at_all_is_told_to_sign_in(remote: Remote) -> None:
    ran = remote("state", "order:h1", key=None)
    assert ran.code == Exit.SIGN_IN
    assert f"kiff login --url {remote.url}" in ran.err


def test_the_key_says_who_acts(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    ran = remote("ingest", "ORDER_PLACED", "order:as", "--as", "owner")
    assert (ran.code, "leave --as" in ran.err) == (Exit.USAGE, True)
    monkeypatch.setenv("KIFF_AS", "owner")
    assert remote("ingest", "ORDER_PLACED", "order:as").code == Exit.USAGE


def test_a_server_and_a_database_at_once_are_refused(remote: Remote) -> None:
    ran = remote.plain("state", "order:h1", "--url", remote.url, "--db", str(remote.database))
    assert (ran.code, "give one of them" in ran.err) == (Exit.USAGE, True)


def test_a_database_that_is_named_stands_above_the_settings(remote: Remote) -> None:
    remote.shop.paid("named")
    ran = remote("state", "order:named", "--db", str(remote.database), "--tenant", "kiff-demo", key="nonsense")
    assert (ran.code, ran.fields["state"]) == (Exit.DONE, "PAID")


@pytest.mark.parametrize("line", ["export", "receipts verify rcpt_x"])
def test_what_works_on_a_database_only_says_so(remote: Remote, line: str) -> None:
    ran = remote(*line.split())
    assert (ran.code, "works on a database" in ran.err) == (Exit.USAGE, True)


@pytest.mark.parametrize("line", ["keys", "members", "tail", "login", "logout", "trigger ORDER_PLACED order:x"])
def test_what_works_on_a_server_only_says_so(remote: Remote, line: str) -> None:
    ran = remote.plain(*line.split())
    assert (ran.code, "--url" in ran.err) == (Exit.USAGE, True)


def test_plain_http_to_another_machine_is_refused(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_KEY", "kiff_live_x_y")
    ran = remote.plain("state", "order:h1", "--url", "http://kiff.example.com")
    assert (ran.code, "plain HTTP" in ran.err) == (Exit.FAILED, True)


def test_the_url_can_stand_in_the_settings_file(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("kiff.toml").write_text(f'url = "{remote.url}"\n')
    monkeypatch.setenv("KIFF_KEY", remote.shop.keys["agent"])
    remote.shop.paid("toml")
    assert remote.plain("state", "order:toml").fields["state"] == "PAID"


def test_a_server_that_is_not_there_fails_and_did_nothing(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KIFF_KEY", remote.shop.keys["agent"])
    ran = remote.plain("execute", "AUTO_REFUND", "order:x", "-p", "amount=1", "--url", "http://127.0.0.1:1")
    assert (ran.code, "[unanswered]" in ran.err) == (Exit.FAILED, True)
    assert "again  --id prop_" in ran.err


@pytest.mark.parametrize("behaviour", ["cut off", "a page that says 502"])
def test_a_call_without_an_answer_ends_with_fourteen_and_says_its_id(
    remote: Remote, monkeypatch: pytest.MonkeyPatch, behaviour: str
) -> None:
    monkeypatch.setenv("KIFF_KEY", remote.shop.keys["agent"])
    with Misbehaving() as server:
        server.answers(cut if behaviour == "cut off" else answer(502, b"<html>allowed</html>", "text/html"))
        ran = remote.plain("execute", "AUTO_REFUND", "order:x", "-p", "amount=1", "--url", server.url)
        sent = server.asked[0].headers["idempotency-key"]
    assert (ran.code, ran.out) == (Exit.UNKNOWN, "")
    assert f"--id {sent}" in ran.err


def test_what_agents_wrote_is_not_obeyed_by_the_terminal(remote: Remote) -> None:
    remote.shop.paid("evil")
    remote.refund("evil", 999, "--reasoning", "fine\x1b[2J\u202eenif")
    approval = remote("approvals", "list", key="reviewer").rows[-1]["approval_id"]
    shown = remote("approvals", "show", approval, key="reviewer")
    assert "\x1b" not in shown.out and "\\x1b[2J\\u202eenif" in shown.out


def test_help_and_databases_need_no_http(remote: Remote) -> None:
    remote.shop.paid("lean")
    state = ["state", "order:lean", "--db", str(remote.database), "--tenant", "kiff-demo"]
    for argv in (["--help"], ["keys", "--help"], ["tail", "--help"], state):
        lean = "assert 'httpx' not in sys.modules"
        program = f"import sys; from kiff.cli import run; code = run({argv!r}); {lean}; sys.exit(code)"
        ran = subprocess.run([sys.executable, "-c", program], env=os.environ, capture_output=True, check=False)
        assert ran.returncode == 0, (argv, ran.stderr)
