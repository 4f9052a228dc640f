"""What the example's executor says about an effect: `failed` only where nothing can have happened."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import kiff
from kiff import ActionFailed, Caller, Operation, Principal

PROJECT = Path(kiff.__file__).parent / "templates" / "refund-ops"
DEBIT = {"order": "ord_001", "amount_minor": 4_900}


@pytest.fixture(scope="module")
def executors() -> ModuleType:
    spec = importlib.util.spec_from_file_location("refund_ops_executors", PROJECT / "executors.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def answers() -> Iterator[Callable[[bytes], str]]:
    """A ledger that reads one request and answers with these bytes; its `host:port`."""
    listening = socket.create_server(("127.0.0.1", 0))
    serving: list[threading.Thread] = []

    def serve(answer: bytes) -> None:
        connection, _ = listening.accept()
        with connection:
            received = b""
            while not received.endswith(json.dumps(DEBIT).encode()):
                received += connection.recv(4096)
            connection.sendall(answer)

    def begin(answer: bytes) -> str:
        serving.append(threading.Thread(target=serve, args=(answer,)))
        serving[0].start()
        return f"127.0.0.1:{listening.getsockname()[1]}"

    yield begin
    for thread in serving:
        thread.join()
    listening.close()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[str]:
    """The real one."""
    command = [sys.executable, str(PROJECT / "payments.py"), str(tmp_path / "payments.jsonl"), "--with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield f"127.0.0.1:{int(process.stdout.readline())}"
        process.stdin.close()
        assert process.wait() == 0, "it ends with its parent"


def test_a_refusal_means_that_no_money_moved(executors: ModuleType, answers: Callable[[bytes], str]) -> None:
    address = answers(b"HTTP/1.1 422 No\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(ActionFailed, match="refused the debit with status 422"):
        executors.pay(address, DEBIT, key="clr_1")


def test_a_ledger_that_is_not_there_means_that_nothing_was_sent(executors: ModuleType) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ActionFailed, match="nothing was sent"):
        executors.pay(f"127.0.0.1:{port}", DEBIT, key="clr_1")


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (b"", RemoteDisconnected),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", RuntimeError),
        (b"HTTP/1.1 302 Elsewhere\r\nContent-Length: 0\r\n\r\n", RuntimeError),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 3\r\n\r\n{{{", ValueError),
    ],
)
def test_whatever_else_happens_after_sending_leaves_the_outcome_unknown(
    executors: ModuleType, answers: Callable[[bytes], str], answer: bytes, raised: type[Exception]
) -> None:
    with pytest.raises(raised) as caught:
        executors.pay(answers(answer), DEBIT, key="clr_1")
    assert not isinstance(caught.value, ActionFailed)


def test_the_operation_id_is_passed_on_and_cents_are_exact(executors: ModuleType, ledger: str, tmp_path: Path) -> None:
    fields: dict[str, Any] = dict.fromkeys(Operation.__struct_fields__, "")
    fields |= {"id": "clr_1", "entity_id": "ord_001", "action": "AUTO_REFUND"}
    operation = Operation(**fields | {"parameters": {"amount": 19.99, "reason": "customer request"}})
    said = executors.registry(ledger)["refund.issue_refund"](operation)
    assert (said["status"], said["message"]) == ("succeeded", "auto-refund of $19.99 issued")
    [line] = (tmp_path / "payments.jsonl").read_text().splitlines()
    kept = json.loads(line)
    assert (kept["key"], kept["order"], kept["amount_minor"]) == ("clr_1", "ord_001", 1_999)


def test_every_executor_of_the_domain_is_registered_and_no_other(executors: ModuleType) -> None:
    domain = kiff.load((PROJECT / "kiff.yaml").read_text("utf-8"))
    assert domain.activation_issues == ()
    assert {contract.executor_name for contract in domain.actions.values()} == set(executors.registry("nowhere"))


def test_an_admin_marks_an_order_as_paid_and_an_agent_does_not(executors: ModuleType, tmp_path: Path) -> None:
    domain = kiff.load((PROJECT / "kiff.yaml").read_text("utf-8"))
    registry = executors.registry("nowhere")
    with kiff.open_runtime(tmp_path / "kiff.db", domains=[domain], executors=registry) as runtime:
        admin = Caller(Principal("ada", "human"), ("admin",))
        runtime.ingest(admin, type="ORDER_PLACED", entity="order:ord_001").result()
        agent = Caller(Principal("ops-agent", "agent"), ("ops_agent",))
        refused = runtime.execute(agent, entity="order:ord_001", action="MARK_PAID").result()
        assert (refused.outcome, refused.reason) == ("blocked", "permission_denied")
        done = runtime.execute(admin, entity="order:ord_001", action="MARK_PAID").result()
        assert (done.outcome, done.message) == ("allowed", "ord_001 marked as paid by ada")
        state = runtime.read.state("order:ord_001")
    assert state is not None
    assert state.state == "PAID"


def test_control_the_ledger_pays_the_same_request_twice(executors: ModuleType, ledger: str) -> None:
    for _ in range(2):
        executors.pay(ledger, DEBIT, key="clr_1")
    assert get(ledger, "/total") == {"debits": 2, "total_minor": 9_800}


@pytest.mark.parametrize("amount", [0, -1, 1.5, True, "49"])
def test_the_ledger_refuses_what_is_not_an_amount(executors: ModuleType, ledger: str, amount: object) -> None:
    with pytest.raises(ActionFailed, match="400"):
        executors.pay(ledger, DEBIT | {"amount_minor": amount}, key="clr_1")
    assert get(ledger, "/debits") == []


def get(ledger: str, path: str) -> Any:
    connection = HTTPConnection(ledger)
    connection.request("GET", path)
    body = connection.getresponse().read()
    connection.close()
    return json.loads(body)
