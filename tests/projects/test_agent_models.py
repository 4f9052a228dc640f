"""A real model in the agent's place, as far as a scripted endpoint on this machine can stand for one."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from project_cases import TEMPLATE, Done, demo, effects, imported, new
from scripted_model import Asked, Said, Script, served

import kiff

pytestmark = pytest.mark.slow

KEY = "sk-secret-0123456789"
REPLY = ("SEND_REPLY", {"text": "See our help page."})


class Provider(NamedTuple):
    """How one wire differs from the other.

    Args:
        environment: variables that point the project at an address.
        path: what is posted to.
        call: a tool call as this wire writes it.
        talk: an answer without one.
        text: the ticket in a request.
        tools: (name, description, schema) of a request.
    """

    name: str
    key_name: str
    address_name: str
    environment: Callable[[str], dict[str, str]]
    path: str
    call: Callable[[Any, Any], Any]
    talk: Any
    text: Callable[[dict[str, Any]], str]
    tools: Callable[[dict[str, Any]], list[tuple[str, str, Any]]]


def openai_call(name: Any, arguments: Any) -> Any:
    arguments = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function = {"name": name, "arguments": arguments}
    calls = [{"id": "call_1", "type": "function", "function": function}]
    return {"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": calls}}]}


def bedrock_call(name: Any, arguments: Any) -> Any:
    used = {"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": arguments}}
    content = [{"text": "I will do that."}, used]
    return {"output": {"message": {"role": "assistant", "content": content}}, "stopReason": "tool_use"}


PROVIDERS = {
    "openai": Provider(
        "openai",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        lambda at: {"OPENAI_API_KEY": KEY, "OPENAI_BASE_URL": f"{at}/v1/", "OPENAI_MODEL": "small-1"},
        "/v1/chat/completions",
        openai_call,
        {"choices": [{"message": {"role": "assistant", "content": "I would rather talk."}}]},
        lambda body: body["messages"][-1]["content"],
        lambda body: [
            (each["function"]["name"], each["function"]["description"], each["function"]["parameters"])
            for each in body["tools"]
        ],
    ),
    "bedrock": Provider(
        "bedrock",
        "AWS_BEARER_TOKEN_BEDROCK",
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
        lambda at: {
            "AWS_BEARER_TOKEN_BEDROCK": KEY,
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": at,
            "BEDROCK_MODEL": "maker.small-v1:0",
        },
        "/model/maker.small-v1%3A0/converse",
        bedrock_call,
        {"output": {"message": {"role": "assistant", "content": [{"text": "I would rather talk."}]}}},
        lambda body: body["messages"][-1]["content"][0]["text"],
        lambda body: [
            (each["toolSpec"]["name"], each["toolSpec"]["description"], each["toolSpec"]["inputSchema"]["json"])
            for each in body["toolConfig"]["tools"]
        ],
    ),
}


@pytest.fixture(params=PROVIDERS)
def provider(request: pytest.FixtureRequest) -> Provider:
    return PROVIDERS[request.param]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return new(tmp_path)


def saying(value: Any) -> Script:
    return Script(lambda _: (200, json.dumps(value).encode()))


def answering(status: int, body: bytes = b"{}") -> Script:
    return Script(lambda _: (status, body))


def with_model(project: Path, provider: Provider, script: Script, **more: str) -> Done:
    """The demo with this provider, which says what the script has."""
    with served(script):
        done = demo(project, "--model", provider.name, environment=provider.environment(script.address) | more)
    assert KEY not in done.out + done.err
    assert "Traceback" not in done.err
    return done


# What is refused, and how it is said


class Failed(Exception):
    """The model could not be asked: the line that the demo prints."""


@pytest.fixture(scope="module")
def model() -> Iterator[ModuleType]:
    with imported("model") as [module]:
        yield module


def ask(model: ModuleType, provider: Provider, environment: dict[str, str], text: str = "a ticket") -> Any:
    """One ticket, in this process.

    Raises:
        Failed: with one line, in which there is no key.
    """
    domain = kiff.load((TEMPLATE / "kiff.yaml").read_text("utf-8"))
    try:
        return model.chooser(provider.name, domain.actions.values(), environment)(model.Ticket("tkt_1", text, ()))
    except model.ModelError as error:
        line = str(error)
        assert (KEY in line, "\n" in line, line.isprintable()) == (False, False, True)
        raise Failed(line) from None


def asked_of(model: ModuleType, provider: Provider, script: Script, **more: str) -> Any:
    with served(script):
        return ask(model, provider, provider.environment(script.address) | more)


def test_a_missing_key_is_named(model: ModuleType, provider: Provider) -> None:
    with pytest.raises(Failed, match=f"`{provider.key_name}` is not set"):
        ask(model, provider, {"AWS_REGION": "eu-central-1"})


def test_a_key_with_a_line_break_in_it_is_not_sent(model: ModuleType, provider: Provider) -> None:
    environment = provider.environment("https://127.0.0.1:1") | {provider.key_name: f"{KEY}\r\nX-Other: 1"}
    with pytest.raises(Failed, match=f"`{provider.key_name}` has a character in it"):
        ask(model, provider, environment)


@pytest.mark.parametrize(
    "address",
    [
        "http://models.example/v1",
        "http://127.0.0.1.models.example",
        "ftp://127.0.0.1",
        "127.0.0.1:8080",
        "https://user:word@models.example",
        "https://models.example?key=1",
        "https://models.example:99999",
        "https://",
    ],
)
def test_an_address_that_the_key_should_not_go_to_is_refused(
    model: ModuleType, provider: Provider, address: str
) -> None:
    environment = provider.environment("") | {provider.address_name: address}
    with pytest.raises(Failed, match=f"`{provider.address_name}` "):
        ask(model, provider, environment)


@pytest.mark.parametrize("region", ["", "eu-central-1.models.example/", "EU"])
def test_a_region_that_is_none_is_refused(model: ModuleType, region: str) -> None:
    with pytest.raises(Failed, match="`AWS_REGION` is not set to a region"):
        ask(model, PROVIDERS["bedrock"], {"AWS_BEARER_TOKEN_BEDROCK": KEY, "AWS_REGION": region})


@pytest.mark.parametrize("seconds", ["0", "-1", "soon", "nan", "1e9"])
def test_a_timeout_that_is_none_is_refused(model: ModuleType, provider: Provider, seconds: str) -> None:
    environment = provider.environment("https://127.0.0.1:1") | {"MODEL_TIMEOUT_SECONDS": seconds}
    with pytest.raises(Failed, match="`MODEL_TIMEOUT_SECONDS` must be"):
        ask(model, provider, environment)


def test_an_endpoint_that_is_not_there_is_one_line(model: ModuleType, provider: Provider) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(Failed, match=r"127\.0\.0\.1 cannot be reached: Connection refused"):
        ask(model, provider, provider.environment(address))


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "does this model know tools?"),
        (401, "the key is not accepted"),
        (404, "there is no such address or model"),
        (429, "too many requests"),
        (500, "it failed; try again later"),
        (503, "it failed; try again later"),
    ],
)
def test_a_refusal_is_one_line_and_repeats_nothing_of_the_other_side(
    model: ModuleType, provider: Provider, status: int, said: str
) -> None:
    with pytest.raises(Failed) as failed:
        asked_of(model, provider, answering(status, f"bad key {KEY} \x1b[2J".encode()))
    assert f"127.0.0.1 answered {status}: " in str(failed.value)
    assert said in str(failed.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(model: ModuleType, provider: Provider, status: int) -> None:
    script = answering(status)
    script.location = "/elsewhere"
    with pytest.raises(Failed, match="it points elsewhere"):
        asked_of(model, provider, script)
    assert [asked.path for asked in script.asked] == [provider.path]


def test_a_proxy_of_the_environment_does_not_get_what_stays_on_this_machine(
    model: ModuleType, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert tuple(asked_of(model, provider, saying(provider.call(*REPLY)))) == REPLY


def test_a_slow_answer_is_not_waited_for(model: ModuleType, provider: Provider) -> None:
    script = saying(provider.talk)
    script.hanging = threading.Event()
    with pytest.raises(Failed, match=r"127\.0\.0\.1 did not answer within 0\.2 seconds"):
        asked_of(model, provider, script, MODEL_TIMEOUT_SECONDS="0.2")


@pytest.mark.parametrize(
    "garbage", [b"", b"<html>", b"\xff\xfe", b"[" * 200_000, b"{}", b"[]", b"7", b'"text"', b"null"]
)
def test_an_answer_that_is_none_is_one_line(model: ModuleType, provider: Provider, garbage: bytes) -> None:
    with pytest.raises(Failed, match=r"is the address right\?|does the endpoint speak this protocol\?"):
        asked_of(model, provider, answering(200, garbage))


def test_an_answer_without_end_is_refused(model: ModuleType, provider: Provider) -> None:
    with pytest.raises(Failed, match="more than 1048576 bytes"):
        asked_of(model, provider, answering(200, b" " * 1_100_000))


@pytest.mark.parametrize(("name", "arguments"), [(None, {}), (7, {}), ("", {}), ("ESCALATE", "{"), ("ESCALATE", "[1]")])
def test_a_malformed_tool_call_is_no_call(
    model: ModuleType, provider: Provider, name: object, arguments: object
) -> None:
    with pytest.raises(model.NoCall):
        asked_of(model, provider, saying(provider.call(name, arguments)))


def test_arguments_that_are_an_object_already_are_taken(model: ModuleType) -> None:
    """Some endpoints that speak OpenAI's protocol do not write them as text."""
    answer = openai_call(*REPLY)
    answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = REPLY[1]
    assert tuple(asked_of(model, PROVIDERS["openai"], saying(answer))) == REPLY


# What becomes of a call


def test_a_request_has_the_key_the_model_and_the_tools_of_the_domain(project: Path, provider: Provider) -> None:
    script = saying(provider.call(*REPLY))
    assert with_model(project, provider, script).code == 0
    first = script.asked[0]
    assert (first.path, len(script.asked)) == (provider.path, 5)
    assert first.headers["authorization"] == f"Bearer {KEY}"
    assert first.headers["content-type"] == "application/json"
    assert first.body.get("model", "small-1") == "small-1"
    assert provider.text(first.body) == "How do I change my delivery address?"
    domain = kiff.load((project / "kiff.yaml").read_text("utf-8"))
    offered = {name: (about, schema) for name, about, schema in provider.tools(first.body)}
    assert {name: about for name, (about, _) in offered.items()} == {
        name: contract.description for name, contract in domain.actions.items()
    }
    assert offered["ISSUE_CREDIT"][1] == {
        "type": "object",
        "properties": {
            "amount": {"type": "number", "exclusiveMinimum": 0, "maximum": 500},
            "reason": {"type": "string", "minLength": 1, "maxLength": 500},
        },
        "required": ["amount", "reason"],
        "additionalProperties": False,
    }


def test_what_is_allowed_runs_and_what_is_not_is_blocked(project: Path, provider: Provider) -> None:
    """A model that answers everybody: three have agreed and wait for an answer, one has not, one has it already."""
    done = with_model(project, provider, saying(provider.call(*REPLY)))
    assert (done.code, done.err) == (0, "")
    assert effects(project) == [(f"tkt_00{number}", "SEND_REPLY") for number in (1, 2, 4)]
    assert len(effects(project, without_kiff=True)) == 7
    assert "state_not_allowed: RECEIVED, needs CONSENTED" in done.out
    assert "nothing happened without its receipt" in done.out


@pytest.mark.parametrize(("amount", "credited"), [(40.0, [("tkt_002", "ISSUE_CREDIT")]), (400, [])])
def test_money_waits_for_a_person_who_looks_at_the_ticket(
    project: Path, provider: Provider, amount: float, credited: list[tuple[str, str]]
) -> None:
    done = with_model(project, provider, saying(provider.call("ISSUE_CREDIT", {"amount": amount, "reason": "so"})))
    assert done.code == 0
    assert done.out.count("a person is asked") == 3
    book = project / ".run" / "outside.jsonl"
    assert (effects(project) if book.exists() else []) == credited


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("DELETE_EVERYTHING", {}, "unknown_action"),
        ("SEND_REPLY", {}, "missing_parameter"),
        ("SEND_REPLY", {"text": "x", "approved": True}, "invalid"),
        ("SEND_REPLY", {"text": 7}, "invalid_parameter"),
        ("../../approvals/appr_1/grant", {"text": "x"}, "invalid"),
        ("\x1b[2J\u202e", {"text": "x"}, "invalid"),
        ("SEND_REPLY", {"text": "\ud800"}, "invalid"),
        ("ISSUE_CREDIT", {"amount": float("nan"), "reason": "x"}, "invalid"),
    ],
)
def test_a_call_that_no_contract_has_does_nothing(
    project: Path, name: str, arguments: dict[str, Any], said: str
) -> None:
    done = with_model(project, PROVIDERS["bedrock"], saying(bedrock_call(name, arguments)))
    assert (done.code, (project / ".run" / "outside.jsonl").exists()) == (0, False), done
    assert f"0 effects, {said}" in done.out
    assert "\x1b" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_no_tool_call_leaves_the_ticket_to_a_person(project: Path, provider: Provider) -> None:
    done = with_model(project, provider, saying(provider.talk))
    assert done.code == 0
    assert done.out.count("the model called no tool; the ticket waits for a person") == 5
    assert not (project / ".run" / "outside.jsonl").exists()


def test_an_unknown_model_is_a_usage_error(project: Path) -> None:
    assert demo(project, "--model", "oracle").code == 2


def test_a_model_that_cannot_be_asked_is_one_line(project: Path) -> None:
    done = demo(project, "--model", "openai")
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert done.err.startswith("demo: `OPENAI_API_KEY` is not set")


def test_a_model_that_fails_in_the_middle_ends_the_demo_and_the_next_run_goes_on(
    project: Path, provider: Provider
) -> None:
    def tired(asked: Asked) -> Said:
        said = json.dumps(provider.call(*REPLY)).encode()
        return (429, b"{}") if "invoice" in provider.text(asked.body) else (200, said)

    done = with_model(project, provider, Script(tired))
    assert done.code == 1
    assert "answered 429" in done.err
    assert demo(project).code == 0


def test_control_an_effect_without_a_receipt_fails_whoever_chose(project: Path, provider: Provider) -> None:
    actions = project / "actions.py"
    once = "    outside().do(operation.action, operation.entity_id, operation.parameters, key=operation.id)\n"
    text = actions.read_text("utf-8")
    assert text.count(once) == 1
    actions.write_text(text.replace(once, once + once.replace("operation.id", '"mine"')), "utf-8")
    done = with_model(project, provider, saying(provider.call(*REPLY)))
    assert done.code == 1
    assert "effects: SEND_REPLY happened to tkt_001 and no receipt allows it" in done.err
    assert "3 without receipt" in done.out
