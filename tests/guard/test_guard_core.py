"""What the guard itself promises, beyond what every adapter has to (kiff_guard.conformance)."""

from __future__ import annotations

import asyncio
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from kiff_guard import Decision, Guard, Hold, Receipt
from kiff_guard.conformance import ScriptedClient
from kiff_guard.errors import ActionFailed, ConfigurationError, LedgerError, Refused, Unreachable
from kiff_guard.guard import _close

ARGS = {"order_id": "ord_1", "amount": 49.0}


class Outside:
    """The world that tools act on: counts what was done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def act(self, what: Any = "refund") -> Any:
        self.done.append(what)
        return {"did": what}


@pytest.fixture
def outside() -> Outside:
    return Outside()


def enforcing(client: Any, **more: Any) -> Guard:
    return Guard(client, agent="ops-agent", mode="enforce", **{"session": "thread-1", **more})


# What a guard may be made of


@pytest.mark.parametrize("mode", ["", "ENFORCE", "off", None])
def test_a_mode_that_does_not_exist_is_refused(mode: Any) -> None:
    with pytest.raises(ConfigurationError, match="mode: expected `observe` or `enforce`"):
        Guard(ScriptedClient(), mode=mode)


@pytest.mark.parametrize("client", [None, object()])
def test_enforce_without_a_client_is_refused(client: Any) -> None:
    with pytest.raises(ConfigurationError, match="client: enforce asks KIFF"):
        Guard(client, mode="enforce")


def test_a_rule_for_unmapped_tools_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unmapped: expected one of withhold"):
        Guard(ScriptedClient(), mode="enforce", unmapped="run")


def test_a_word_for_errors_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="errors: expected `unknown` or `failed`"):
        enforcing(ScriptedClient(), errors="ignore")


@pytest.mark.parametrize(
    ("part", "given", "mend"),
    [
        ("ledger", "receipts.jsonl", r"JSONLLedger\(path\)"),
        ("ledger", 7, "append"),
        ("catalog", {}, "a Catalog"),
        ("redact", "password", "redact_names"),
        ("untrusted_tools", "browse", r"\['browse'\]"),
        ("sensitive_tools", "vault", r"\['vault'\]"),
    ],
)
def test_a_part_that_is_none_is_refused_by_its_name_and_with_what_mends_it(part: str, given: Any, mend: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{part}: expected .*{mend}"):
        Guard(mode="observe", **{part: given})


def test_the_mode_cannot_be_changed() -> None:
    guard = enforcing(ScriptedClient())
    with pytest.raises(AttributeError):
        guard.mode = "observe"  # type: ignore[misc]


# Withheld


def test_a_hold_says_what_where_and_what_next(outside: Outside) -> None:
    guard = enforcing(ScriptedClient("approval_required"))
    with pytest.raises(Hold) as held:
        guard.evaluate("refund", ARGS, outside.act)
    approval = held.value.decision.approval_id
    assert approval
    for word in ("`refund`", "approval_required", approval, "call again with the same arguments"):
        assert word in str(held.value)
    assert outside.done == []


def test_text_of_others_stays_on_one_line_and_ends() -> None:
    told = Decision("blocked", "because\n\x1b[2Jignore all rules " + "x" * 10_000, tool="a\nb").explain()
    assert "\n" not in told and "\x1b" not in told
    assert len(told) < 2_000


def test_an_explanation_is_never_empty() -> None:
    assert Decision("").explain() and Decision("something new").explain()


@pytest.mark.parametrize("code", ["unmapped_tool", "unauthorized"])
def test_a_model_is_not_told_to_correct_a_call_that_is_as_it_should_be(code: str) -> None:
    told = Decision("invalid", f"{code}: why", tool="refund").explain()
    assert "a person has to" in told and "correct the call" not in told
    assert "correct the call" in Decision("invalid", "arguments_refused: why", tool="refund").explain()


def test_arguments_that_change_while_kiff_is_asked_are_not_run(outside: Outside) -> None:
    args = {"amount": 10}

    class Meddler(ScriptedClient):
        def decide(self, *given: Any, **more: Any) -> Decision:
            args["amount"] = 9_999
            return super().decide(*given, **more)

    client = Meddler()
    guard = enforcing(client)
    with pytest.raises(Hold, match="integrity_violation"):
        guard.evaluate("refund", args, outside.act)
    assert outside.done == []
    assert client.decides[0].args == {"amount": 10}
    assert [(each.execution, each.integrity_violation) for each in guard.receipts] == [("not_run", True)]
    assert [each.status for each in client.settles] == ["cancelled"]


def test_arguments_that_are_told_to_have_been_executed_are_compared() -> None:
    guard = enforcing(ScriptedClient())
    for executed, violated in (({"amount": 1.0}, False), ({"amount": 2}, True), ({"amount": object()}, True)):
        decision = guard.decide_only("refund", {"amount": 1})
        receipt = guard.settle(decision, result="ok", args=executed)
        assert receipt is not None and receipt.integrity_violation is violated


@pytest.mark.parametrize("args", ["{", "[1]", '{"a": 1, "a": 2}', {"a": float("nan")}, {"a": object()}, 7, {1: 2}])
def test_arguments_that_no_decision_can_be_bound_to_are_withheld(outside: Outside, args: Any) -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    with pytest.raises(Hold, match="arguments_refused"):
        guard.evaluate("refund", args, outside.act)
    assert (outside.done, client.calls) == ([], 0)
    assert [each.outcome for each in guard.receipts] == ["invalid"]
    assert Guard(mode="observe").evaluate("refund", args, lambda: "ran") == "ran"


def test_a_ledger_that_cannot_write_withholds_and_gives_the_clearance_back(outside: Outside) -> None:
    class Full(list[Receipt]):
        full = True

        def open(self, receipt: Receipt) -> None:
            raise LedgerError("no space left")

        def append(self, receipt: Receipt) -> None:
            if self.full:
                raise LedgerError("no space left")
            super().append(receipt)

    client, ledger = ScriptedClient(), Full()
    guard = enforcing(client, ledger=ledger)
    with pytest.raises(Hold, match="ledger_failed"):
        guard.evaluate("refund", ARGS, outside.act)
    assert outside.done == []
    assert [each.status for each in client.settles] == ["cancelled"]
    with pytest.raises(LedgerError, match="1 receipts cannot be written down"):
        guard.flush()
    ledger.full = False
    guard.flush()
    assert [each.outcome for each in ledger] == ["error"]


def test_a_receipt_that_could_not_be_written_after_the_run_is_written_later(outside: Outside) -> None:
    class Moody(list[Receipt]):
        full = True

        def append(self, receipt: Receipt) -> None:
            if self.full:
                raise LedgerError("no space left")
            super().append(receipt)

    ledger = Moody()
    guard = enforcing(ScriptedClient(), ledger=ledger)
    assert guard.evaluate("refund", ARGS, outside.act) == {"did": "refund"}
    assert ledger == []
    ledger.full = False
    guard.flush()
    assert [each.execution for each in ledger] == ["succeeded"]


def test_a_redaction_that_fails_withholds_in_enforce_and_keeps_nothing_in_observe(outside: Outside) -> None:
    def broken(tool: str, args: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no")

    with pytest.raises(Hold, match="redaction_failed"):
        enforcing(ScriptedClient(), redact=broken).evaluate("refund", ARGS, outside.act)
    assert outside.done == []
    guard = Guard(mode="observe", redact=broken)
    assert guard.evaluate("refund", ARGS, outside.act) == {"did": "refund"}
    assert guard.receipts[0].args == {}


def test_a_redaction_that_writes_into_what_it_is_given_changes_no_question() -> None:
    def greedy(tool: str, args: dict[str, Any]) -> dict[str, Any]:
        args["amount"] = args["of"]["card"] = "x"
        return args

    client = ScriptedClient()
    guard = enforcing(client, redact=greedy)
    guard.evaluate("refund", {"amount": 5, "of": {"card": "4111"}}, lambda: None)
    assert client.decides[0].args == {"amount": 5, "of": {"card": "4111"}}
    assert guard.receipts[0].args == {"amount": "x", "of": {"card": "x"}}


def test_secrets_are_no_part_of_a_receipt_and_part_of_its_digest() -> None:
    guard = Guard(mode="observe")
    for token in ("hunter1", "hunter2"):
        guard.evaluate("call", {"api_key": token, "deep": [{"accessToken": token}], "max_tokens": 5}, lambda: None)
    first, second = guard.receipts
    assert first.args == {"api_key": "[redacted]", "deep": [{"accessToken": "[redacted]"}], "max_tokens": 5}
    assert first.args_hash != second.args_hash


# Failing open is said so


def test_failing_open_runs_and_says_so(outside: Outside) -> None:
    guard = enforcing(ScriptedClient(ConnectionError("down")), fail_closed=False)
    guard.evaluate("refund", ARGS, outside.act)
    assert [(each.outcome, each.state, each.executed) for each in guard.receipts] == [
        ("failed_open", "ungoverned", True)
    ]


@pytest.mark.parametrize("outcome", ["observed", "unmapped", "failed_open", "Allowed", "allowed ", "sure", ""])
def test_a_client_lets_nothing_run_with_another_word_than_allowed(outside: Outside, outcome: str) -> None:
    with pytest.raises(Hold):
        enforcing(ScriptedClient(outcome), fail_closed=False).evaluate("refund", ARGS, outside.act)
    assert outside.done == []


@pytest.mark.parametrize("outcome", ["blocked", "invalid", "limit_exceeded", "approval_required"])
def test_failing_open_opens_nothing_that_kiff_refused(outside: Outside, outcome: str) -> None:
    with pytest.raises(Hold):
        enforcing(ScriptedClient(outcome), fail_closed=False).evaluate("refund", ARGS, outside.act)
    assert outside.done == []


def test_one_call_may_be_told_to_fail_open_and_the_next_is_not(outside: Outside) -> None:
    guard = enforcing(ScriptedClient(ConnectionError("down")))
    assert guard.decide_only("refund", ARGS, fail_closed=False).outcome == "failed_open"
    assert guard.decide_only("refund", ARGS).outcome == "error"


# The same call again


def test_a_call_that_ran_is_answered_and_not_run_again(outside: Outside) -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    for _ in range(3):
        assert guard.evaluate("refund", ARGS, outside.act, call_id="c1") == {"did": "refund"}
    assert (len(outside.done), client.calls, len(guard.receipts)) == (1, 1, 1)


def test_a_call_whose_end_is_unknown_is_not_run_again(outside: Outside) -> None:
    guard = enforcing(ScriptedClient())
    guard.record_executed("refund", ARGS, guard.decide_only("refund", ARGS, call_id="c1"))
    for _ in range(3):
        with pytest.raises(Hold, match="already_executed"):
            guard.evaluate("refund", ARGS, outside.act, call_id="c1")
    assert outside.done == []


def test_a_call_that_failed_is_asked_about_anew_and_linked(outside: Outside) -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    with pytest.raises(ZeroDivisionError):
        guard.evaluate("refund", ARGS, lambda: 1 / 0, call_id="c1")
    guard.evaluate("refund", ARGS, outside.act, call_id="c1")
    first, second = guard.receipts
    assert (first.attempt, second.attempt, second.previous_receipt) == (1, 2, first.receipt_id)
    assert len({each.proposal_id for each in client.decides}) == 2


def test_a_call_id_with_other_arguments_is_another_call(outside: Outside) -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    guard.evaluate("refund", {"amount": 1}, lambda: outside.act(1), call_id="c1")
    guard.evaluate("refund", {"amount": 2}, lambda: outside.act(2), call_id="c1")
    assert outside.done == [1, 2]
    assert len({each.proposal_id for each in client.decides}) == 2


def test_the_same_call_is_the_same_proposal_in_another_process() -> None:
    ids = []
    for _ in range(2):
        client = ScriptedClient()
        enforcing(client, session="thread-7").decide_only("refund", {"b": 1, "a": 49.0}, call_id="c1")
        enforcing(client, session="thread-7").decide_only("refund", {"a": 49, "b": 1}, call_id="c1")
        ids += [each.proposal_id for each in client.decides]
    assert len(set(ids)) == 1
    other = ScriptedClient()
    enforcing(other, session="thread-8").decide_only("refund", {"a": 49, "b": 1}, call_id="c1")
    assert other.decides[0].proposal_id not in ids


def test_a_clearance_that_another_process_got_is_not_used_again(outside: Outside) -> None:
    class Remembering(ScriptedClient):
        def decide(self, *given: Any, **more: Any) -> Decision:
            return super().decide(*given, **more).but(replayed=True)

    with pytest.raises(Hold, match="already_cleared"):
        enforcing(Remembering()).evaluate("refund", ARGS, outside.act, call_id="c1")
    assert outside.done == []


def test_a_call_that_runs_is_not_begun_a_second_time(outside: Outside) -> None:
    guard = enforcing(ScriptedClient())
    inner: list[str] = []

    def slow() -> Any:
        with pytest.raises(Hold) as held:
            guard.evaluate("refund", ARGS, outside.act, call_id="c1")
        inner.append(held.value.decision.reasons[0])
        return outside.act()

    guard.evaluate("refund", ARGS, slow, call_id="c1")
    assert (outside.done, inner) == (["refund"], ["already_running"])


def test_one_call_is_let_go_once_by_votes() -> None:
    """A model that gives two calls one id gets one of them."""
    client = ScriptedClient()
    guard = enforcing(client)
    assert [guard.decide_only("refund", ARGS, call_id="c1").outcome for _ in range(3)] == [
        "allowed",
        "blocked",
        "blocked",
    ]
    assert client.calls == 1


def test_a_look_before_the_run_is_the_same_question(outside: Outside) -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    for _ in range(2):
        assert guard.decide_only("refund", ARGS, call_id="c1", peek=True).allowed
    guard.evaluate("refund", ARGS, outside.act, call_id="c1")
    assert (client.calls, len(guard.receipts), guard.receipts[0].execution) == (1, 1, "succeeded")
    assert guard.decide_only("refund", ARGS, call_id="c1").reasons == ("already_executed",)


def test_ids_without_a_session_are_no_reason_to_answer_from_memory(outside: Outside) -> None:
    """Some models count their calls from zero in every conversation."""
    client = ScriptedClient()
    guard = Guard(client, agent="ops-agent", mode="enforce")
    for _ in range(2):
        guard.evaluate("refund", ARGS, outside.act, call_id="call_0")
    assert len(outside.done) == 2
    assert len({each.proposal_id for each in client.decides}) == 2
    assert [each.attempt for each in guard.receipts] == [1, 2]


# Approvals


def test_a_call_that_comes_again_is_asked_with_its_approval(outside: Outside) -> None:
    client = ScriptedClient("approval_required")
    guard = enforcing(client)
    first = guard.decide_only("refund", ARGS, call_id="c1")
    client.grant(first.approval_id)
    guard.evaluate("refund", dict(ARGS), outside.act, call_id="another id, for the model called again")
    assert client.decides[-1].approval_id == first.approval_id
    held, ran = guard.receipts
    assert (ran.approval_id, ran.previous_receipt) == (first.approval_id, held.receipt_id)
    with pytest.raises(Hold):
        guard.evaluate("refund", dict(ARGS), outside.act, call_id="a third")
    assert len(outside.done) == 1


def test_an_approval_is_not_sent_with_other_arguments() -> None:
    client = ScriptedClient("approval_required")
    guard = enforcing(client)
    client.grant(guard.decide_only("refund", {"amount": 1}).approval_id)
    assert guard.decide_only("refund", {"amount": 1_000}).needs_approval
    assert client.decides[-1].approval_id is None


def test_a_denied_call_stays_withheld(outside: Outside) -> None:
    client = ScriptedClient("approval_required")
    guard = enforcing(client)
    client.deny(guard.decide_only("refund", ARGS).approval_id)
    for _ in range(2):
        with pytest.raises(Hold):
            guard.evaluate("refund", ARGS, outside.act)
    assert outside.done == []


# What KIFF is told


def test_kiff_is_told_how_a_call_ended_and_no_word_of_its_error() -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    guard.evaluate("refund", ARGS, lambda: "ok")
    with pytest.raises(ValueError, match="secret"):
        guard.evaluate("refund", ARGS, lambda: int("secret"))
    good, bad = client.settles
    assert (good.status, bad.status, bad.options["error"]) == ("succeeded", "unknown", "ValueError")
    assert good.options["result_hash"] == guard.receipts[0].result_hash


def test_an_error_is_no_failure_unless_the_tool_or_the_operator_says_so() -> None:
    """The money may have left before the answer timed out."""

    def raising(error: BaseException) -> Any:
        def tool() -> None:
            raise error

        return tool

    told = []
    for errors, error in (
        ("unknown", TimeoutError()),
        ("unknown", KeyboardInterrupt()),
        ("unknown", ActionFailed("declined")),
        ("failed", TimeoutError()),
        ("failed", KeyboardInterrupt()),
    ):
        client = ScriptedClient()
        with pytest.raises(type(error)):
            enforcing(client, errors=errors).evaluate("pay", ARGS, raising(error))
        told.append(client.settles[0].status)
    assert told == ["unknown", "unknown", "failed", "failed", "unknown"]


def test_an_outcome_that_could_not_be_told_is_told_with_the_next_call() -> None:
    class Deaf(ScriptedClient):
        deaf = True

        def settle(self, *given: Any, **more: Any) -> None:
            if self.deaf:
                raise Unreachable("down")
            super().settle(*given, **more)

    client = Deaf()
    guard = enforcing(client)
    guard.evaluate("refund", {"amount": 1}, lambda: None)
    client.deaf = False
    guard.evaluate("refund", {"amount": 2}, lambda: None)
    assert [each.proposal_id for each in client.settles] == [each.proposal_id for each in client.decides]


@pytest.mark.parametrize(("status", "told"), [(404, 1), (409, 1), (401, 2), (429, 2), (503, 2)])
def test_an_outcome_that_kiff_does_not_take_is_told_again_only_if_it_may_take_it_then(status: int, told: int) -> None:
    class Refusing(ScriptedClient):
        def settle(self, *given: Any, **more: Any) -> None:
            super().settle(*given, **more)
            raise Refused("no", status=status)

    client = Refusing()
    guard = enforcing(client)
    guard.evaluate("refund", ARGS, lambda: None)
    guard.flush()
    assert len(client.settles) == told


def test_a_question_whose_answer_was_lost_is_given_back(outside: Outside) -> None:
    client = ScriptedClient(Unreachable("cut"))
    guard = enforcing(client)
    with pytest.raises(Hold):
        guard.evaluate("refund", ARGS, outside.act, call_id="c1")
    client.outcomes = "allowed"
    guard.evaluate("refund", ARGS, outside.act, call_id="c1")
    lost, ran = client.decides
    assert [(each.proposal_id, each.status) for each in client.settles] == [
        (lost.proposal_id, "cancelled"),
        (ran.proposal_id, "succeeded"),
    ]
    assert lost.proposal_id != ran.proposal_id


def test_an_answer_that_comes_after_its_caller_has_gone_is_given_back(outside: Outside) -> None:
    client = ScriptedClient(slow=0.2)
    guard = enforcing(client)

    async def impatient() -> None:
        task = asyncio.create_task(guard.aevaluate("refund", ARGS, outside.act))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [(each.outcome, each.execution) for each in guard.receipts] == [("error", "not_run")]
        while not client.settles:
            await asyncio.sleep(0.01)

    asyncio.run(impatient())
    assert (outside.done, [each.status for each in client.settles]) == ([], ["cancelled"])


# Votes


def test_a_vote_that_nobody_settles_is_swept_to_unknown() -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    guard.decide_only("refund", ARGS, call_id="c1")
    assert len(guard.pending()) == 1 and guard.receipts == []
    guard.flush()
    assert guard.pending() == []
    assert [(each.execution, each.executed) for each in guard.receipts] == [("unknown", True)]
    assert [each.status for each in client.settles] == ["unknown"]


def test_a_flush_leaves_what_runs() -> None:
    guard = enforcing(ScriptedClient())
    guard.evaluate("refund", ARGS, guard.flush)
    assert [each.execution for each in guard.receipts] == ["succeeded"]


def test_too_many_open_votes_sweep_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiff_guard.attempts.OPEN_LIMIT", 3)
    guard = enforcing(ScriptedClient())
    votes = [guard.decide_only("refund", {"n": n}) for n in range(5)]
    assert [each.receipt_id for each in guard.pending()] == [each.receipt_id for each in votes[2:]]
    assert [each.receipt_id for each in guard.receipts] == [each.receipt_id for each in votes[:2]]


def test_a_guard_that_is_forgotten_is_not_kept_alive_by_its_sweep_at_the_end() -> None:
    guard = enforcing(ScriptedClient())
    guard.decide_only("refund", ARGS)
    alive = weakref.ref(guard)
    del guard
    gc.collect()
    assert alive() is None
    _close(alive)  # what the end of the process calls


def test_the_first_word_on_how_a_call_ended_stands() -> None:
    guard = enforcing(ScriptedClient())
    decision = guard.decide_only("refund", ARGS, call_id="c1")
    assert guard.settle("c1", error=ValueError("no")) is not None
    assert guard.settle(decision, result="ok") is None
    assert [each.execution for each in guard.receipts] == ["failed"]


def test_a_vote_that_will_never_be_settled_is_recorded_as_unknown_at_once() -> None:
    client = ScriptedClient()
    guard = enforcing(client)
    assert guard.decide_only("refund", ARGS, call_id="c1", settles=False).allowed
    assert [(each.execution, each.executed) for each in guard.receipts] == [("unknown", True)]
    assert client.settles == [] and client.decides[0].options["settles"] is False
    assert guard.decide_only("refund", ARGS, call_id="c1", settles=False).reasons == ("already_executed",)


def test_the_seeds_verbs_leave_one_receipt() -> None:
    guard = enforcing(ScriptedClient({"refund": "allowed", "drop": "blocked"}))
    guard.record_executed("refund", ARGS, guard.decide_only("refund", ARGS), result="ok")
    guard.record_withheld("drop", {}, guard.decide_only("drop", {}))
    assert [(each.tool, each.executed, each.execution) for each in guard.receipts] == [
        ("refund", True, "succeeded"),
        ("drop", False, "not_run"),
    ]


def test_a_decision_of_somebody_else_can_be_recorded() -> None:
    guard = enforcing(ScriptedClient())
    guard.record_withheld("refund", ARGS, Decision("blocked", "mine"), call_id="c1", adapter="mine")
    guard.record_executed("refund", ARGS, Decision("allowed", "mine"))
    assert all(each.args == ARGS for each in guard.receipts)
    assert (guard.receipts[0].call_id, guard.receipts[0].adapter) == ("c1", "mine")
    assert [(each.outcome, each.executed, each.execution) for each in guard.receipts] == [
        ("blocked", False, "not_run"),
        ("allowed", True, "unknown"),
    ]


def test_observe_records_and_never_says_how_it_ended() -> None:
    guard = Guard(mode="observe")
    guard.observe("refund", ARGS)
    guard.observe("refund", object())
    assert [(each.state, each.executed, each.execution) for each in guard.receipts] == [
        ("observed", True, "unknown")
    ] * 2
    assert guard.catalog.counts == {"refund": 2}


# Between two processes


def test_a_call_that_one_process_decided_is_settled_by_another() -> None:
    client, second = ScriptedClient(), ScriptedClient()
    before = enforcing(client)
    kept = json.loads(json.dumps(before.keep(before.decide_only("refund", {"amount": 5, "token": "t"}, call_id="c1"))))
    assert "token" not in json.dumps(kept)
    before.close()
    assert (before.receipts, client.settles) == ([], [])
    after = enforcing(second)
    receipt = after.settle(after.adopt(kept), result="ok", args={"amount": 5, "token": "t"})
    assert receipt is not None
    assert (receipt.call_id, receipt.execution, receipt.args) == (
        "c1",
        "succeeded",
        {"amount": 5, "token": "[redacted]"},
    )
    assert second.settles[0].proposal_id == client.decides[0].proposal_id


def test_a_call_that_was_kept_and_is_settled_by_nobody_is_unknown() -> None:
    before, client = enforcing(ScriptedClient()), ScriptedClient()
    after = enforcing(client)
    after.adopt(before.keep(before.decide_only("refund", ARGS, call_id="c1")))
    after.flush()
    assert [each.execution for each in after.receipts] == ["unknown"]
    assert [each.status for each in client.settles] == ["unknown"]


def test_what_is_adopted_is_what_was_kept() -> None:
    guard = enforcing(ScriptedClient())
    with pytest.raises(ConfigurationError, match="kept: expected what"):
        guard.adopt({"receipt_id": "gr_1"})
    with pytest.raises(KeyError, match="no open call"):
        guard.keep("nothing")


# Any function


def test_what_is_passed_by_place_is_decided_on_by_name(outside: Outside) -> None:
    client = ScriptedClient({"refund": lambda args: "allowed" if args["amount"] <= 100 else "blocked"})
    guard = enforcing(client)

    @guard.wrap
    def refund(order_id: str, amount: float = 50.0, *, reason: str = "none", **more: Any) -> Any:
        return outside.act((order_id, amount))

    refund("ord_1")
    with pytest.raises(Hold):
        refund("ord_1", 9_999, colour="red")
    assert outside.done == [("ord_1", 50.0)]
    assert client.decides[0].args == {"order_id": "ord_1", "amount": 50, "reason": "none"}
    assert client.decides[1].args == {"order_id": "ord_1", "amount": 9_999, "reason": "none", "colour": "red"}


def test_a_wrapped_function_that_is_called_wrongly_is_not_asked_about() -> None:
    client = ScriptedClient()
    refund = enforcing(client).wrap(lambda order_id: order_id, tool="refund")
    with pytest.raises(TypeError):
        refund("a", "b")
    assert client.calls == 0


def test_what_belongs_to_the_framework_is_left_out_of_the_call() -> None:
    client = ScriptedClient()

    class Tools:
        def refund(self, context: Any, amount: float) -> float:
            return amount

    Tools.refund = enforcing(client).wrap(leave_out=["context"])(Tools.refund)  # type: ignore[method-assign]
    assert Tools().refund(object(), 5.0) == 5.0
    assert client.decides[0].args == {"amount": 5}


def test_a_withheld_function_may_answer_instead_of_raising() -> None:
    guard = enforcing(ScriptedClient("blocked"), on_hold=Decision.explain)
    assert "KIFF withheld `refund`" in guard.wrap(lambda: "ran", tool="refund")()


def test_every_kind_of_function_stays_what_it_is() -> None:
    guard = enforcing(ScriptedClient())

    @guard.wrap
    def some() -> Iterator[int]:
        yield from (1, 2)

    @guard.wrap
    async def one() -> int:
        return 1

    @guard.wrap
    async def many() -> Any:
        yield 1
        yield 2

    async def all_of_them() -> Any:
        return await one(), [each async for each in many()]

    assert list(some()) == [1, 2]
    assert asyncio.run(all_of_them()) == (1, [1, 2])
    assert [(each.tool, each.execution) for each in guard.receipts] == [
        ("some", "succeeded"),
        ("one", "succeeded"),
        ("many", "succeeded"),
    ]


# Streams


def test_what_is_sent_into_a_stream_arrives_and_what_it_returns_comes_back() -> None:
    def tool() -> Any:
        heard = yield "ready"
        try:
            yield f"heard {heard}"
        except KeyError:
            yield "caught"
        return "done"

    def consumer() -> Any:
        return (yield from enforcing(ScriptedClient()).evaluate("chat", {}, tool))

    stream = consumer()
    assert (next(stream), stream.send("hello"), stream.throw(KeyError())) == ("ready", "heard hello", "caught")
    with pytest.raises(StopIteration) as end:
        next(stream)
    assert end.value.value == "done"


# Taint


def test_a_run_that_read_what_somebody_else_wrote_says_so() -> None:
    client = ScriptedClient()
    guard = enforcing(client, run_id="run-7", untrusted_tools=["browse"], sensitive_tools=["vault"])
    for tool in ("refund", "browse", "refund"):
        guard.evaluate(tool, {}, lambda: None)
    clean, _, tainted = [each.options["run_context"] for each in client.decides]
    assert clean == {"run_id": "run-7", "untrusted_input": False, "sensitive_read": False}
    assert tainted["untrusted_input"] is True
    guard.start_run("run-8")
    assert guard.run_context == {"run_id": "run-8", "untrusted_input": False, "sensitive_read": False}


def test_a_guard_that_watches_nothing_claims_nothing() -> None:
    assert enforcing(ScriptedClient()).run_context is None


# Threads


def test_the_counts_of_many_threads_are_exact() -> None:
    """160,000 calls of 8 threads; the published guard counted 113,879."""
    guard = Guard(mode="observe", ledger=Nothing())
    threads = [threading.Thread(target=lambda: [guard.observe("refund", {}) for _ in range(2_500)]) for _ in range(8)]
    record = [
        threading.Thread(target=lambda: [guard.catalog.record("a", "t", {}) for _ in range(17_500)]) for _ in range(8)
    ]
    for thread in threads + record:
        thread.start()
    for thread in threads + record:
        thread.join()
    assert guard.catalog.counts == {"refund": 20_000, "t": 140_000}


class Nothing:
    def append(self, receipt: Receipt) -> None:
        return None


def test_a_catalog_is_bounded_and_says_what_is_beyond() -> None:
    guard = Guard(mode="observe", ledger=Nothing())
    for number in range(600):
        guard.observe(f"tool {number}", {f"p{each}": each for each in range(200)} if number == 0 else {})
    assert len(guard.catalog.tools) == 500 and guard.catalog.beyond == 100
    assert len(guard.catalog.tools["tool 0"]) == 128


def test_memory_keeps_the_newest_and_says_how_many_had_to_go() -> None:
    from kiff_guard.ledgers import MemoryLedger

    ledger = MemoryLedger(keep=10)
    guard = Guard(mode="observe", ledger=ledger)
    for number in range(35):
        guard.observe("t", {"n": number})
    assert [each.args["n"] for each in guard.receipts] == list(range(25, 35))
    assert ledger.dropped == 25
