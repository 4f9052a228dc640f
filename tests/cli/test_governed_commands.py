"""The loop from a shell: what the gate says is how the command ends, and effects are counted outside."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from shop_cases import ACTIONS, PRINCIPALS, Shop

from kiff import Caller, Principal, load, open_runtime
from kiff.cli.exits import Exit
from kiff.stores.sqlite import SqliteStore

EVIL = "order:ord_1\x1b[2J"


def test_a_held_call_waits_and_runs_once_after_a_person_said_yes(shop: Shop) -> None:
    shop.paid("ord_1")
    held = shop.refund("ord_1", 999)
    assert (held.code, shop.effects()) == (Exit.HELD, [])
    approval, proposal = held.fields["approval_id"], held.fields["proposal_id"]
    assert f"kiff approvals grant {approval}" in held.err
    assert f"receipt {held.fields['receipt_id']}" in held.err
    granted = shop("approvals", "grant", approval, "--reason", "seen", "--as", "ops-human", "--confirm", "order:ord_1")
    assert (granted.code, granted.fields["status"]) == (Exit.DONE, "granted")
    ran = shop.refund("ord_1", 999, "--approval", approval, "--id", proposal)
    assert (ran.code, ran.fields["status"], shop.effects()) == (Exit.DONE, "succeeded", ["ord_1"])
    again = shop.refund("ord_1", 999, "--approval", approval, "--id", proposal)
    assert (again.code, shop.effects()) == (Exit.DONE, ["ord_1"]), "the same id brings the first answer again"
    assert shop.refund("ord_1", 999, "--approval", approval).code == Exit.BLOCKED


def test_a_denied_call_ends_with_twelve_and_stays_denied(shop: Shop) -> None:
    approval = shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]
    assert shop("approvals", "deny", approval, "--reason", "disputed", "--as", "ops-human").code == Exit.DONE
    assert shop.refund("ord_1", 999).code == Exit.DENIED
    assert shop("approvals", "watch", approval).code == Exit.DENIED
    assert shop.effects() == []


def test_a_refusal_names_its_rule_its_receipt_and_what_to_look_at(shop: Shop) -> None:
    shop.paid()
    shop("ingest", "ORDER_PLACED", "order:ord_3", "--as", "stripe")
    ran = shop.refund("ord_3", 49)
    assert (ran.code, ran.fields["reasons"], shop.effects()) == (Exit.BLOCKED, "state_not_allowed", [])
    assert "the entity is CREATED, the action needs PAID   [state_not_allowed]" in ran.err
    assert "rule   refund-ops-v2  actions/AUTO_REFUND/allowed_states   receipt rcpt_" in ran.err
    assert "hint   kiff timeline order:ord_3" in ran.err


def test_nobody_grants_their_own_or_their_agents_as_an_agent(shop: Shop) -> None:
    shop.paid("ord_1")
    said = ("-p", "amount=999", "-p", "reason=mine", "--as", "ada")
    mine = shop("propose", "REFUND_ORDER", "order:ord_1", *said).fields["approval_id"]
    review = ("approvals", "grant", mine, "--reason", "mine", "--confirm", "order:ord_1")
    refused = shop(*review, "--as", "ada")
    assert (refused.code, "[proposer_is_reviewer]" in refused.err) == (Exit.BLOCKED, True)
    assert "[permission_denied]" in shop(*review, "--as", "ops-agent").err
    assert shop("approvals", "show", mine).fields["status"] == "pending"


@pytest.mark.parametrize(
    ("reason", "code", "status"), [("refuse it", Exit.FAILED, "failed"), ("lose it", Exit.UNKNOWN, "unknown")]
)
def test_how_an_operation_ends_is_how_the_command_ends(shop: Shop, reason: str, code: Exit, status: str) -> None:
    ran = shop.paid("ord_1").refund("ord_1", 49, reason=reason)
    assert (ran.code, ran.fields["status"]) == (code, status)
    assert "secret" not in ran.out + ran.err


def test_an_unknown_operation_is_listed_and_settled_by_a_person_who_looked(shop: Shop) -> None:
    operation = shop.paid("ord_1").refund("ord_1", 49, reason="lose it").fields["operation_id"]
    assert [row["operation_id"] for row in shop("operations").rows] == [operation]
    assert shop.refund("ord_1", 49).code == Exit.BLOCKED, "the runway stays closed"
    settle = ("operations", "settle", operation, "succeeded", "--message", "seen at the bank")
    assert shop(*settle, "--as", "ops-agent").code == Exit.BLOCKED
    assert shop(*settle, "--as", "ops-human", "--dry-run").fields["dry_run"] == "yes"
    assert shop("operations").rows != []
    assert shop(*settle, "--as", "ops-human").code == Exit.DONE
    assert shop("state", "order:ord_1").fields["state"] == "REFUNDED"
    assert shop("operations").rows == []
    assert shop.effects() == ["ord_1"]


def test_a_dry_run_says_what_the_gate_would_say_and_writes_nothing(shop: Shop) -> None:
    shop.paid("ord_1")
    before = (shop.folder / "kiff.db").read_bytes()
    assert shop.refund("ord_1", 49, "--dry-run").code == Exit.DONE
    assert shop.refund("ord_1", 999, "--dry-run").code == Exit.HELD
    assert shop("ingest", "ORDER_REFUNDED", "order:ord_1", "--as", "stripe", "--dry-run").fields["state"] == "REFUNDED"
    assert shop("domains", "apply", "--as", "ada", "--dry-run").fields["changed"] == "no"
    assert (shop.folder / "kiff.db").read_bytes() == before
    assert shop.effects() == []


def test_a_dry_run_works_beside_the_process_that_writes(shop: Shop) -> None:
    shop.paid("ord_1")
    store = SqliteStore(shop.folder / "kiff.db")
    try:
        assert shop.refund("ord_1", 49, "--dry-run").code == Exit.DONE
        ran = shop.refund("ord_1", 49)
        assert (ran.code, "[store_in_use]" in ran.err, shop.effects()) == (Exit.FAILED, True, [])
    finally:
        store.close()


def test_who_acts_must_be_said_and_known(shop: Shop) -> None:
    shop.paid("ord_1")
    nobody = shop("ingest", "ORDER_PLACED", "order:ord_2")
    assert (nobody.code, "--as NAME" in nobody.err, "ops-agent" in nobody.err) == (Exit.USAGE, True, True)
    stranger = shop("ingest", "ORDER_PLACED", "order:ord_2", "--as", "mallory")
    assert (stranger.code, "there is no principal `mallory`" in stranger.err) == (Exit.FAILED, True)


def test_a_role_cannot_be_made_up(shop: Shop) -> None:
    ran = shop.paid("ord_1")("ingest", "ORDER_PLACED", "order:ord_9", "--as", "ops-agent")
    assert (ran.code, "[permission_denied]" in ran.err) == (Exit.BLOCKED, True)
    assert shop("state", "order:ord_9").code == Exit.FAILED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\ntype = 'robot'\n", "type"),
        ("[a]\ntype = 'agent'\nrole = ['x']\n", "role"),
        ("[a\n", "cannot be read"),
        ("[a]\n[a]\n", "cannot be read"),
    ],
)
def test_a_principals_file_that_is_none_is_named_with_the_place(shop: Shop, text: str, said: str) -> None:
    shop.paid()
    (shop.folder / "principals.toml").write_text(text)
    ran = shop("ingest", "ORDER_PLACED", "order:ord_1", "--as", "a")
    assert (ran.code, "principals.toml" in ran.err, said in ran.err) == (Exit.FAILED, True, True)


def test_high_risk_wants_the_entity_and_a_yes_is_not_enough(shop: Shop) -> None:
    approval = shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]
    review = ("approvals", "grant", approval, "--reason", "fine", "--as", "ops-human")
    for more, said in (((), "--confirm order:ord_1"), (("--yes",), "--yes is not enough"), (("--confirm", "x"), "`x`")):
        ran = shop(*review, *more)
        assert (ran.code, said in ran.err) == (Exit.USAGE, True)
    assert shop("approvals", "show", approval).fields["status"] == "pending"


def test_a_review_without_a_terminal_names_the_flag_it_lacks(shop: Shop) -> None:
    approval = shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]
    ran = shop("approvals", "deny", approval, "--as", "ops-human")
    assert (ran.code, "--reason TEXT" in ran.err) == (Exit.USAGE, True)


@pytest.mark.parametrize(
    "said",
    [
        ("-p", "amount"),
        ("-p", "amount=1", "-p", "amount=2"),
        ("--parameters", "[1]"),
        ("--parameters", '{"a":1,"a":2}'),
        ("--parameters", "@nowhere.json"),
        ("-p", "amount={broken"),
    ],
)
def test_parameters_that_are_none_are_a_wrong_command_line(shop: Shop, said: tuple[str, ...]) -> None:
    ran = shop.paid("ord_1")("propose", "AUTO_REFUND", "order:ord_1", *said, "--as", "ops-agent")
    assert (ran.code, ran.out) == (Exit.USAGE, "")


def test_parameters_come_from_pairs_a_text_or_a_file(shop: Shop) -> None:
    shop.paid("ord_1", "ord_2")
    (shop.folder / "call.json").write_text('{"amount": 49.0, "reason": "asked"}')
    by_file = shop("propose", "AUTO_REFUND", "order:ord_1", "--parameters", "@call.json", "--as", "ops-agent")
    mixed = ("--parameters", '{"amount": 49}', "-p", "reason=asked")
    by_both = shop("propose", "AUTO_REFUND", "order:ord_2", *mixed, "--as", "ops-agent")
    assert (by_file.code, by_both.code) == (Exit.DONE, Exit.DONE)


def test_a_number_is_a_number_and_other_text_is_text(shop: Shop) -> None:
    ran = shop.paid("ord_1")(
        "propose", "AUTO_REFUND", "order:ord_1", "-p", "amount=49", "-p", "reason=49", "--as", "ops-agent"
    )
    assert (ran.code, ran.fields["reasons"]) == (Exit.BLOCKED, "invalid_parameter")
    quoted = shop("propose", "AUTO_REFUND", "order:ord_1", "-p", "amount=49", "-p", 'reason="49"', "--as", "ops-agent")
    assert quoted.code == Exit.DONE


def test_json_has_every_member_whatever_the_outcome(shop: Shop) -> None:
    shop.paid("ord_1")
    held, ran = (shop.refund("ord_1", amount, "--json").json for amount in (999, 49))
    assert held.keys() == ran.keys()
    assert (held["kiff"], held["reasons"][0]["code"]) == ("v1", "approval_required")
    assert shop("approvals", "--json").json["approvals"][0]["status"] == "pending"


def test_a_mistyped_database_is_not_made(shop: Shop) -> None:
    ran = shop("ingest", "ORDER_PLACED", "order:ord_1", "--as", "stripe", "--db", "kif.db")
    assert (ran.code, "[store_unavailable]" in ran.err) == (Exit.FAILED, True)
    assert not (shop.folder / "kif.db").exists()


def test_only_a_tenant_owner_applies_a_domain(shop: Shop) -> None:
    ran = shop("domains", "apply", "--as", "ops-human")
    assert (ran.code, "tenant_owner" in ran.err) == (Exit.BLOCKED, True)


def test_a_draft_is_not_applied_and_check_is_named(shop: Shop) -> None:
    (shop.folder / "kiff.yaml").write_text("domain: shop\nentity: Order\n")
    ran = shop("domains", "apply", "--as", "ada")
    assert (ran.code, "kiff check" in ran.err) == (Exit.FAILED, True)


def test_an_event_that_leads_nowhere_is_recorded_and_the_state_stays(shop: Shop) -> None:
    ran = shop.paid("ord_1")("ingest", "ORDER_PAID", "order:ord_1", "--as", "stripe")
    assert (ran.code, ran.fields["applied"], ran.fields["state"]) == (Exit.BLOCKED, "no", "PAID")


def test_a_state_can_be_asked_for_as_it_was(shop: Shop) -> None:
    shop.paid("ord_1")
    assert shop("state", "order:ord_1", "--at", "2").fields["state"] == "CREATED"
    assert shop("state", "order:ord_1").fields["state"] == "PAID"
    assert shop("state", "order:ord_1", "--at", "0").code == Exit.FAILED


def test_entities_are_listed_filtered_and_shown_with_what_may_start(shop: Shop) -> None:
    shop.paid("ord_1", "ord_2").refund("ord_2", 49)
    assert [row["state"] for row in shop("entities").rows] == ["PAID", "REFUNDED"]
    assert [row["entity"] for row in shop("entities", "--state", "PAID").rows] == ["order:ord_1"]
    assert shop("entities", "list", "--type", "Parcel").rows == []
    first = shop("entities", "list", "--limit", "1")
    assert "more: --after order:ord_1" in first.err
    shown = shop("entities", "show", "order:ord_1").fields
    assert shown["actions"] == "AUTO_REFUND (medium), REFUND_ORDER (high, approval)"


def test_watching_one_approval_gives_up_when_told_to(shop: Shop) -> None:
    approval = shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]
    ran = shop("approvals", "watch", approval, "--timeout", "0")
    assert (ran.code, ran.rows[0]["status"]) == (Exit.HELD, "pending")
    all_of_them = shop("approvals", "watch", "--timeout", "0", "-o", "jsonl")
    assert json.loads(all_of_them.out)["approval_id"] == approval


def test_run_on_grant_runs_and_ends_with_the_operation(shop: Shop) -> None:
    text = (shop.folder / "kiff.yaml").read_text()
    runs = text.replace("    approval: required\n", "    approval: required\n    approval_policy: {on_grant: run}\n")
    (shop.folder / "kiff.yaml").write_text(runs)
    approval = shop.paid("ord_1").refund("ord_1", 999).fields["approval_id"]
    confirm = ("--reason", "fine", "--confirm", "order:ord_1")
    ran = shop("approvals", "grant", approval, "--as", "ops-human", *confirm)
    assert (ran.code, ran.fields["operation_status"], shop.effects()) == (Exit.DONE, "succeeded", ["ord_1"])


def test_a_version_is_shown_as_a_document_that_loads(shop: Shop) -> None:
    shop.paid()
    shown = shop("domains", "show", "refund-ops-v2").out
    assert load(shown).digest == shop("domains").rows[0]["digest"]


def test_receipts_are_listed_and_verified(shop: Shop) -> None:
    shop.paid("ord_1", "ord_2").refund("ord_1", 49)
    shop.refund("ord_2", 49)
    rows = shop("receipts").rows
    assert [row["decision"] for row in rows] == ["allowed", "allowed"]
    assert len(shop("receipts", "--entity", "order:ord_2").rows) == 1
    ran = shop("receipts", "verify", rows[0]["receipt_id"])
    assert (ran.code, "rung\tINCLUDED\tyes" in ran.out) == (Exit.DONE, True)
    (shop.folder / "kiff.db.key.jwks.json").unlink()
    assert shop("receipts", "verify", rows[0]["receipt_id"]).code == Exit.UNDECIDABLE


def test_what_a_user_wrote_never_drives_the_terminal(shop: Shop) -> None:
    shop.paid("ord_1")
    caller = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
    with open_runtime(shop.folder / "kiff.db") as runtime:
        said = {"amount": 999, "reason": "\x1b[2Jowned"}
        why = "\x1b]0;owned\x07"
        held = runtime.propose(
            caller, entity="order:ord_1", action="REFUND_ORDER", parameters=said, reasoning_summary=why
        ).result()
    assert held.approval_id is not None
    for argv in (("approvals", "show", held.approval_id), ("state", EVIL), ("approvals", "show", EVIL)):
        for output in ("auto", "text", "json"):
            ran = shop(*argv, "-o", output)
            assert not set("\x1b\x07") & set(ran.out + ran.err), (argv, output)


def test_settings_come_from_flag_environment_project_and_user_in_this_order(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.paid("ord_1")
    (shop.folder / "kiff.db").rename(shop.folder / "mine.db")
    assert shop("state", "order:ord_1").code == Exit.FAILED
    config = shop.folder / "config" / "kiff"
    config.mkdir(parents=True)
    (config / "kiff.toml").write_text(f'db = "{shop.folder / "mine.db"}"\n')
    assert shop("state", "order:ord_1").code == Exit.DONE
    (shop.folder / "kiff.toml").write_text('db = "nowhere.db"\n')
    assert shop("state", "order:ord_1").code == Exit.FAILED
    monkeypatch.setenv("KIFF_DB", "mine.db")
    assert shop("state", "order:ord_1").code == Exit.DONE
    assert shop("state", "order:ord_1", "--db", "nowhere.db").code == Exit.FAILED


@pytest.mark.parametrize(("text", "said"), [("dbase = 'x'", "`dbase`"), ("db = 1", "`db`"), ("db =", "not TOML")])
def test_a_settings_file_that_is_wrong_is_named(shop: Shop, text: str, said: str) -> None:
    (shop.folder / "kiff.toml").write_text(text)
    ran = shop("state", "order:ord_1")
    assert (ran.code, said in ran.err, "kiff.toml" in ran.err) == (Exit.FAILED, True, True)


def test_an_interrupted_write_says_how_to_ask_for_it_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.paid("ord_1")

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kiff.runtime.runtime.Runtime.execute", interrupted)
    ran = shop.refund("ord_1", 49)
    assert ran.code == Exit.INTERRUPTED
    assert "again  --id prop_" in ran.err


def test_an_executors_file_is_only_run_when_something_is_to_run(shop: Shop) -> None:
    shop.paid("ord_1")
    (shop.folder / "actions.py").write_text("raise SystemExit('imported')\n")
    assert (
        shop("propose", "AUTO_REFUND", "order:ord_1", "-p", "amount=9", "-p", "reason=x", "--as", "ops-agent").code == 0
    )
    assert shop("check").code == Exit.FAILED, "it has no EXECUTORS, which is seen without running it"
    assert shop.refund("ord_1", 9).code == Exit.FAILED


def test_the_project_folder_is_left_clean(shop: Shop) -> None:
    shop.paid("ord_1").refund("ord_1", 49)
    left = {path.name for path in Path(shop.folder).iterdir()} - {"__pycache__"}
    assert left == {
        *("kiff.yaml", "principals.toml", "actions.py", "outside.jsonl"),
        *("kiff.db", "kiff.db.lock", "kiff.db.key.pem", "kiff.db.key.jwks.json", "kiff.db.seen.json"),
    }


def test_an_alias_of_an_alias_is_one_person(shop: Shop) -> None:
    aliases = """
[al]
type = "human"
roles = ["admin"]

[al2]
type = "human"
roles = ["admin"]
person = "AL"

[al3]
type = "human"
roles = ["admin"]
person = "al2"
"""
    shop.paid("ord_1")
    (shop.folder / "principals.toml").write_text(PRINCIPALS + aliases)
    said = ("-p", "amount=999", "-p", "reason=mine", "--as", "al2")
    approval = shop("propose", "REFUND_ORDER", "order:ord_1", *said).fields["approval_id"]
    for alias in ("al", "al2", "al3"):
        ran = shop("approvals", "grant", approval, "--reason", "x", "--confirm", "order:ord_1", "--as", alias)
        assert (ran.code, "[proposer_is_reviewer]" in ran.err) == (Exit.BLOCKED, True), alias


def test_persons_that_lead_in_a_circle_are_refused(shop: Shop) -> None:
    (shop.folder / "principals.toml").write_text(
        "".join(f"[{a}]\ntype = 'human'\nperson = '{b}'\n" for a, b in ("xy", "yx"))
    )
    ran = shop("domains", "apply", "--as", "x")
    assert (ran.code, "leads back to itself" in ran.err) == (Exit.FAILED, True)


def test_what_executors_print_is_no_data(shop: Shop) -> None:
    (shop.folder / "actions.py").write_text(
        "print('imported')\n" + ACTIONS.replace("    if operation", "    print('running')\n    if operation", 1)
    )
    ran = shop.paid("ord_1").refund("ord_1", 49, "--json")
    assert (ran.json["status"], "imported" in ran.err, "running" in ran.err) == ("succeeded", True, True)


def test_run_on_grant_never_says_to_send_it_again(shop: Shop) -> None:
    text = (shop.folder / "kiff.yaml").read_text()
    runs = text.replace("    approval: required\n", "    approval: required\n    approval_policy: {on_grant: run}\n")
    (shop.folder / "kiff.yaml").write_text(runs)
    approval = shop.paid("ord_1").refund("ord_1", 999, reason="lose it").fields["approval_id"]
    confirm = ("--reason", "fine", "--confirm", "order:ord_1")
    ran = shop("approvals", "grant", approval, "--as", "ops-human", *confirm)
    assert (ran.code, ran.fields["outcome"], ran.fields["operation_status"]) == (Exit.UNKNOWN, "allowed", "unknown")
    assert "do not send it again" in ran.err
    assert "repeats the call" not in ran.err


def test_an_events_dry_run_knows_its_id(shop: Shop) -> None:
    shop.paid()
    placed = ("ingest", "ORDER_PLACED", "order:ord_1", "--as", "stripe", "--id", "E1")
    assert shop(*placed).code == Exit.DONE
    other = ("ingest", "ORDER_PLACED", "order:ord_2", "--as", "stripe", "--id", "E1")
    assert shop(*other, "--dry-run").code == shop(*other).code == Exit.FAILED


def test_a_refused_apply_leaves_nothing_behind(shop: Shop) -> None:
    before = sorted(path.name for path in shop.folder.iterdir())
    assert shop("domains", "apply", "--as", "ops-human").code == Exit.BLOCKED
    assert sorted(path.name for path in shop.folder.iterdir()) == before


@pytest.mark.parametrize("content", [b"", b"not a database at all", b"SQLite format 3\0" + bytes(200)])
def test_a_file_that_is_no_database_is_left_alone(shop: Shop, content: bytes) -> None:
    (shop.folder / "other.db").write_bytes(content)
    before = sorted(path.name for path in shop.folder.iterdir())
    for argv in (("ingest", "ORDER_PLACED", "order:ord_1", "--as", "stripe"), ("domains", "apply", "--as", "ada")):
        ran = shop(*argv, "--db", "other.db")
        assert (ran.code, "internal" in ran.err) == (Exit.FAILED, False)
    assert sorted(path.name for path in shop.folder.iterdir()) == before


def test_a_key_that_is_gone_is_not_replaced_in_silence(shop: Shop) -> None:
    shop.paid("ord_1")
    (shop.folder / "kiff.db.key.pem").unlink()
    ran = shop("ingest", "ORDER_PLACED", "order:ord_2", "--as", "stripe")
    assert (ran.code, "restore it from its backup" in ran.err) == (Exit.FAILED, True)
    assert not (shop.folder / "kiff.db.key.pem").exists()
    assert shop("doctor").code == Exit.FAILED


@pytest.mark.parametrize(
    "argv",
    [
        ("timeline", "order:ord_1", "--limit", "9" * 30),
        ("timeline", "order:ord_1", "--after", "9" * 30),
        ("approvals", "watch", "--every", "nan"),
        ("approvals", "watch", "--timeout", "inf"),
    ],
)
def test_numbers_beyond_reason_are_a_wrong_command_line(shop: Shop, argv: tuple[str, ...]) -> None:
    assert shop.paid("ord_1")(*argv).code == Exit.USAGE


@pytest.mark.parametrize(
    "argv",
    [
        ("export", "--to", "nofolder/x"),
        ("check", "x" * 5000),
        ("verify", "x" * 5000),
        ("state", "order:ord_1", "--at", "999"),
        ("graph", "kiff.yaml", "--to", "nofolder/x.svg"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_no_defect(shop: Shop, argv: tuple[str, ...]) -> None:
    ran = shop.paid("ord_1")(*argv)
    assert (ran.code, "[internal]" in ran.err, ran.err.startswith("error: ")) == (Exit.FAILED, False, True)


def test_a_pipe_is_written_to_and_not_replaced(shop: Shop) -> None:
    shop.paid("ord_1")
    (shop.folder / "there").mkdir()
    link = shop.folder / "link.jsonl"
    link.symlink_to(shop.folder / "there" / "log.jsonl")
    assert shop("export", "--to", "link.jsonl").code == Exit.DONE
    assert link.is_symlink()
    assert (shop.folder / "there" / "log.jsonl").is_file()
    fifo = shop.folder / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert shop("export", "--to", "fifo").code == Exit.DONE
    assert os.read(reader, 100).startswith(b'{"checkpoint"')
    os.close(reader)


def test_evidence_that_speaks_of_an_export_is_no_export(shop: Shop) -> None:
    shop.paid("ord_1")
    caller = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
    with open_runtime(shop.folder / "kiff.db") as runtime:
        said = {"amount": 49, "reason": "asked"}
        call = {"entity": "order:ord_1", "action": "AUTO_REFUND", "parameters": said}
        answer = runtime.propose(caller, **call, evidence={"kiff_export": 1}).result()
    bundle = shop("receipts", "show", answer.receipt_id, "--bundle").json
    (shop.folder / "bundle.json").write_text(json.dumps(bundle))
    assert shop("verify", "bundle.json", "--jwks", "kiff.db.key.jwks.json").code == Exit.DONE


def test_an_export_is_compared_with_an_older_head(shop: Shop) -> None:
    shop.paid("ord_1")
    with open_runtime(shop.folder / "kiff.db") as runtime:
        (shop.folder / "head.txt").write_bytes(runtime.checkpoint().result())
    shop.refund("ord_1", 49)
    shop("export", "--to", "log.jsonl")
    keys = ("--jwks", "kiff.db.key.jwks.json", "--head", "head.txt")
    ran = shop("verify", "log.jsonl", *keys)
    assert (ran.code, "rung\tCONSISTENT\tyes" in ran.out) == (Exit.DONE, True)


def test_executors_that_were_asked_for_and_are_not_there_are_missed(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shop("check").code == Exit.DONE
    monkeypatch.setenv("KIFF_EXECUTORS", "nowhere.py")
    ran = shop("check")
    assert (ran.code, "there is no executors file at `nowhere.py`" in ran.err) == (Exit.FAILED, True)


def test_an_empty_list_says_whose(shop: Shop) -> None:
    ran = shop.paid("ord_1")("entities", "--tenant", "typo")
    assert (ran.code, ran.rows, "`typo`" in ran.err) == (Exit.DONE, [], True)
