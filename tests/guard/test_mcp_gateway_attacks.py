"""Clients of the gateway that try to get a call past it, or to have a receipt say what did not happen."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from mcp_rigs import Behind, Listening
from mcp_server import PATIENCE_SECONDS, TELL, Server, until
from mcp_wire import ends, enforcing

pytestmark = pytest.mark.slow

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund", "arguments": {}}}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


class Slow:
    """A server whose calls take as long as the test wants."""

    def __init__(self) -> None:
        self.called, self.go_on = threading.Event(), threading.Event()

    def __call__(self, handler: Server.Handler, body: bytes) -> None:
        message = json.loads(body or b"{}")
        if isinstance(message, dict) and message.get("method") == "tools/call":
            self.called.set()
            self.go_on.wait(PATIENCE_SECONDS)
            handler.say({"jsonrpc": "2.0", "id": message["id"], "result": TELL | {"isError": True}})
        else:
            each = message[0] if isinstance(message, list) else message
            handler.say({"jsonrpc": "2.0", "id": each.get("id"), "result": {}})


@pytest.mark.parametrize(
    "line",
    [
        rb'{"jsonrpc":"2.0","id":1,"method\u0000":"tools/call","params":{"name":"refund"}}',
        rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name\u0000x":"refund","name":"look"}}',
        rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund\u0000x"}}',
        rb'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"r","arguments":{"a\u0000":9,"a":1}}}',
    ],
    ids=["method", "name", "tool", "argument"],
)
def test_a_nul_hides_nothing_from_a_reader_that_stops_there(line: bytes, tmp_path: Path) -> None:
    with Behind(enforcing(), tmp_path) as rig:
        rig.raw(line + b"\n")
        assert "NUL" in rig.answer(1)["error"]["message"]
        assert rig.got == []


@pytest.mark.parametrize("id", [1.0, None, True, 2**53, [1]])
def test_a_request_has_an_id_that_all_readers_take_for_the_same(id: Any, tmp_path: Path) -> None:
    with Behind(enforcing(), tmp_path) as rig:
        rig.send(PING | {"id": id})
        assert "53 bits" in rig.answer(None)["error"]["message"]
        assert rig.got == []


def test_two_ids_that_are_one_as_doubles_are_none(tmp_path: Path) -> None:
    guard = enforcing()
    with Behind(guard, tmp_path) as rig:
        rig.send(CALL | {"id": 2**53 + 1})
        assert "error" in rig.answer(None)
        assert rig.got == []
    assert ends(guard) == []


def test_a_batch_has_no_id_of_a_call_that_runs(tmp_path: Path) -> None:
    guard, slow = enforcing(), Slow()
    with Behind(guard, tmp_path, slow) as rig:
        rig.send(CALL)
        assert slow.called.wait(PATIENCE_SECONDS)
        rig.send([PING])
        assert "error" in rig.answer(1)
        slow.go_on.set()
        until(lambda: bool(guard.receipts))
    assert ends(guard) == [("refund", "allowed", "failed")]


@pytest.mark.parametrize("other", [PING, [PING]], ids=["one", "batch"])
def test_the_answer_to_another_request_is_not_that_to_a_call_of_the_session(other: Any) -> None:
    slow = Slow()
    with Listening(enforcing(), slow) as listening:
        calling = threading.Thread(target=listening.send, args=(CALL,), kwargs={"Mcp_Session_Id": "s"})
        calling.start()
        assert slow.called.wait(PATIENCE_SECONDS)
        response, _ = listening.send(other, Mcp_Session_Id="s")
        slow.go_on.set()
        calling.join(PATIENCE_SECONDS)
        assert response.status == 400
        assert listening.settled() == [("refund", "allowed", "failed")]


def test_an_id_is_free_once_its_request_is_over() -> None:
    slow = Slow()
    slow.go_on.set()
    with Listening(enforcing(), slow) as listening:
        assert listening.send(PING, Mcp_Session_Id="s")[0].status == 200
        assert listening.send(CALL, Mcp_Session_Id="s")[0].status == 200
        assert listening.settled() == [("refund", "allowed", "failed")]
