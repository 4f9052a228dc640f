"""No message of a client makes the server run a tool that KIFF did not let go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mcp_wire import SERVER, Wire, ends, enforcing

from kiff_guard import Guard

pytestmark = pytest.mark.slow

CALL = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{"amount":9999}}}'
PARAMS = '{"name":"refund","arguments":{"amount":9999}}'

TRICKS = {
    "plain": CALL,
    "escaped method": CALL.replace("tools/call", "\\u0074ools\\/call"),
    "escaped member": CALL.replace('"method"', '"\\u006dethod"'),
    "method twice, the last a call": CALL.replace('"method"', '"method":"ping","method"'),
    "method twice, the first a call": CALL.replace(',"params"', ',"method":"ping","params"'),
    "method twice, one escaped": (
        f'{{"jsonrpc":"2.0","id":1,"method":"ping","\\u006dethod":"tools/call","params":{PARAMS}}}'
    ),
    "method in capitals beside it": (
        f'{{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call","params":{PARAMS}}}'
    ),
    "method in capitals alone": f'{{"jsonrpc":"2.0","id":1,"Method":"tools/call","params":{PARAMS}}}',
    "method with a long s": f'{{"jsonrpc":"2.0","id":1,"method":"ping","params":{PARAMS},"ParamS":{PARAMS}}}'.replace(
        '"ping"', '"tools/call"'
    ).replace("ParamS", "param\u017f"),
    "call in capitals": CALL.replace("tools/call", "Tools/Call"),
    "call with a space": CALL.replace("tools/call", "tools/call "),
    "call with a zero": CALL.replace("tools/call", "tools/call\\u0000"),
    "a batch": f"[{CALL}]",
    "a batch of batches": f"[[{CALL}]]",
    "a batch behind a ping": f'[{{"jsonrpc":"2.0","id":7,"method":"ping"}},{CALL}]',
    "inside a list of lines": f"[\r{CALL}\r]",
    "inside another message": f'{{"jsonrpc":"2.0","id":7,"method":"ping","params":{{"x":\r{CALL}\r}}}}',
    "behind another message": f'{{"jsonrpc":"2.0","id":7,"method":"ping"}}\r{CALL}',
    "a notification": CALL.replace('"id":1,', ""),
    "no id": CALL.replace('"id":1', '"id":null'),
    "an id that is true": CALL.replace('"id":1', '"id":true'),
    "an id with a fraction": CALL.replace('"id":1', '"id":1.0'),
    "an id that is a list": CALL.replace('"id":1', '"id":[1]'),
    "a result beside it": CALL.replace('"id":1', '"id":1,"result":{}'),
    "not UTF-8": CALL.replace("refund", "refund\udcff"),
    "a byte order mark": "\ufeff" + CALL,
    "a number too large": CALL.replace("9999", "1e999"),
    "not a number": CALL.replace("9999", "NaN"),
    "arguments twice": CALL.replace('"amount":9999', '"amount":1,"amount":9999'),
    "arguments in two cases": CALL.replace('"amount":9999', '"amount":1,"Amount":9999'),
    "arguments in two cases, deep": CALL.replace('"amount":9999', '"order":{"amount":1,"AMOUNT":9999}'),
    "two objects of arguments": CALL.replace('"arguments"', '"arguments":{"amount":1},"Arguments"'),
    "arguments in capitals": CALL.replace('"arguments"', '"Arguments"'),
    "two names": CALL.replace('"name":"refund"', '"name":"look","Name":"refund"'),
    "arguments as a list": CALL.replace('{"amount":9999}', '[{"amount":9999}]'),
    "arguments as text": CALL.replace('{"amount":9999}', '"{\\"amount\\":9999}"'),
    "params as a list": CALL.replace(PARAMS, f"[{PARAMS}]"),
    "as a task": CALL.replace('"arguments"', '"task":{"ttl":60000},"arguments"'),
    "half a pair": CALL.replace("9999", '"\\ud800"'),
    "deep": CALL.replace("9999", "[" * 5000 + "]" * 5000),
    "with a state nobody gave": CALL.replace('"arguments"', '"requestState":"x","arguments"'),
    "with a state of ours that is none": CALL.replace('"arguments"', '"requestState":"kiff1.e30=.00","arguments"'),
    "with an answer to no question": CALL.replace(
        '"arguments"', '"inputResponses":{"kiff":{"action":"accept"}},"arguments"'
    ),
}
FOOLS_NOBODY = {
    "half a pair", "params as a list", "not UTF-8", "a byte order mark", "deep", "a batch of batches",
}  # fmt: skip


def line(trick: str) -> bytes:
    return TRICKS[trick].encode("utf-8", "surrogateescape") + b"\n"


@pytest.mark.parametrize("trick", sorted(TRICKS))
def test_no_trick_gets_past_a_guard_that_blocks(trick: str, tmp_path: Path) -> None:
    with Wire(enforcing("blocked"), tmp_path) as wire:
        wire.raw(line(trick))
        wire.alive()
    assert wire.effects() == []


@pytest.mark.parametrize("trick", sorted(TRICKS.keys() - FOOLS_NOBODY))
def test_the_tricks_work_where_there_is_no_gateway(trick: str, tmp_path: Path) -> None:
    """The control: the server runs a tool on each of them."""
    effects = tmp_path / "effects.jsonl"
    subprocess.run([sys.executable, "-S", SERVER, effects], input=line(trick), stdout=subprocess.DEVNULL, check=True)
    assert effects.read_text("utf-8")


@pytest.mark.parametrize("trick", sorted(TRICKS))
def test_what_is_not_forwarded_is_answered(trick: str, tmp_path: Path) -> None:
    with Wire(enforcing("blocked"), tmp_path) as wire:
        wire.raw(line(trick))
        wire.alive()
    said = [each for each in wire.told.messages if each.get("id") != "still-there"]
    assert said and all("error" in each or each["result"].get("isError", True) for each in said)


def test_a_line_that_never_ends_is_not_forwarded(tmp_path: Path) -> None:
    with Wire(enforcing("blocked"), tmp_path) as wire:
        for _ in range(17):
            wire.raw(b" " * 1024 * 1024)
        wire.raw(CALL.encode() + b"\n")
        wire.alive()
        assert wire.answer(None)["error"]["code"] == -32700
    assert wire.effects() == []


def test_numbers_and_texts_as_ids_are_two_things(tmp_path: Path) -> None:
    guard = enforcing({"refund": "blocked"})
    with Wire(guard, tmp_path) as wire:
        wire.call(1, "look")
        wire.call("1", "refund")
        assert not wire.result(1)["isError"]
        assert wire.result("1")["isError"]
    assert wire.effects() == [("look", {})]
    assert sorted(each.call_id for each in guard.receipts) == ['"1"', "1"]


def test_an_id_in_use_is_not_used_again(tmp_path: Path) -> None:
    with Wire(enforcing(), tmp_path) as wire:
        wire.call(1, "slow", {"seconds": 0.5})
        wire.call(1, "slow", {"seconds": 0.5})
        assert wire.told.wait(lambda each: "error" in each)["error"]["code"] == -32600
        wire.told.wait(lambda each: "result" in each)
    assert len(wire.effects()) == 1


def test_a_call_that_ran_is_not_run_again_under_its_id(tmp_path: Path) -> None:
    with Wire(enforcing(), tmp_path) as wire:
        wire.ask(1, "refund", {"amount": 1})
        wire.call(1, "refund", {"amount": 1})
        wire.alive()
    assert wire.effects() == [("refund", {"amount": 1})]


def test_no_answer_to_another_request_passes_for_the_end_of_a_call(tmp_path: Path) -> None:
    """The receipt is about what the tool gave, whatever ids the client chooses."""
    guard = enforcing()
    with Wire(guard, tmp_path) as wire:
        wire.call(5, "slow", {"seconds": 0.3})
        wire.send({"jsonrpc": "2.0", "id": 5, "method": "ping"})
        assert wire.told.wait(lambda each: "error" in each)["id"] == 5
        wire.told.wait(lambda each: "result" in each)
    assert ends(guard) == [("slow", "allowed", "succeeded")]


def test_what_is_no_tool_call_passes_byte_for_byte(tmp_path: Path) -> None:
    """The server and the client see each other's bytes: spaces, order and escapes stay."""
    echo = [
        sys.executable,
        "-c",
        "import sys\nfor l in sys.stdin.buffer: sys.stdout.buffer.write(l), sys.stdout.flush()",
    ]
    sent = [
        b'{ "jsonrpc" : "2.0" , "method":"notifications/initialized"}\n',
        b'{"method":"resources/read","params":{"uri":"\\u0066ile:\\/\\/x","z":1,"a":1.50},"id":"x","jsonrpc":"2.0"}\n',
        b'{"jsonrpc":"2.0","id":77,"result":{"roots":[]}}\r\n',
        b'[{"jsonrpc":"2.0","method":"notifications/progress"}]\n',
    ]
    with Wire(enforcing("blocked"), tmp_path, echo) as wire:
        for each in sent:
            wire.raw(each)
    assert wire.told.raw[: len(sent)] == sent


def test_an_allowed_call_passes_byte_for_byte(tmp_path: Path) -> None:
    log = tmp_path / "got"
    save = [sys.executable, "-c", f"import sys; open({str(log)!r}, 'wb').write(sys.stdin.buffer.readline())"]
    raw = (
        b'{"id":1, "method":"tools\\/call","jsonrpc":"2.0","params":{"arguments":{"b":1.0,"a":"\\u00e9"},"name":"x"}}\n'
    )
    with Wire(enforcing(), tmp_path, save) as wire:
        wire.raw(raw)
        wire.answer(1)
    assert log.read_bytes() == raw


def test_observe_forwards_what_it_cannot_read(tmp_path: Path) -> None:
    """It stops nothing, not even nonsense."""
    with Wire(Guard(mode="observe"), tmp_path) as wire:
        for trick in ("a batch", "arguments twice", "method in capitals alone"):
            wire.raw(line(trick))
        wire.alive()
    assert len(wire.effects()) >= 3


def test_the_server_cannot_make_the_gateway_run_anything(tmp_path: Path) -> None:
    """What comes from the server goes to the client, whatever it looks like."""
    call = json.dumps(json.loads(CALL))
    shout = [sys.executable, "-c", f"import sys; print({call!r}, flush=True); sys.stdin.read()"]
    guard = enforcing()
    with Wire(guard, tmp_path, shout) as wire:
        wire.told.wait(lambda each: each.get("method") == "tools/call")
    assert guard.receipts == []
