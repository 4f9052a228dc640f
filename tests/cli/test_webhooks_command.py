"""`kiff webhooks`: endpoints from the command line, and messages for a program on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hooked import Receiver, allowing
from remote_cases import Remote, clean_folder, served
from served import wait_for

from kiff.cli.exits import Exit

pytestmark = pytest.mark.slow


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Remote]:
    with served(allowing(tmp_path / "data")) as shop, clean_folder(tmp_path / "here", monkeypatch):
        yield Remote(shop, monkeypatch, capsys)


def add(remote: Remote, url: str, *more: str) -> tuple[str, str]:
    """Its id and its secret."""
    told = remote("webhooks", "add", url, "--event", "state.*", *more, "-o", "json", key="owner")
    assert told.code == Exit.DONE, told
    return told.json["id"], told.json["secret"]


def test_an_agent_may_not_add_one(remote: Remote, receiver: Receiver) -> None:
    ran = remote("webhooks", "add", receiver.url, "--event", "*")
    assert (ran.code, ran.out, "[permission_denied]" in ran.err) == (Exit.BLOCKED, "", True)


@pytest.mark.parametrize("url", ["https://10.0.0.1/x", "ftp://x.example/", "http://hooks.example.com/"])
def test_an_address_inside_is_refused(remote: Remote, url: str) -> None:
    ran = remote("webhooks", "add", url, "--event", "*", key="owner")
    assert (ran.code, "[invalid]" in ran.err) == (Exit.FAILED, True)


@pytest.mark.parametrize("url", ["https://hooks.example.com/", "http://10.0.0.1/", "localhost:9000"])
def test_messages_are_forwarded_to_this_machine_only(remote: Remote, url: str) -> None:
    ran = remote("webhooks", "tail", "--forward-to", url, key="owner")
    assert (ran.code, "on this machine" in ran.err) == (Exit.USAGE, True)


def test_the_secret_stands_alone_on_stdout_and_once(remote: Remote, receiver: Receiver) -> None:
    line = ("webhooks", "add", receiver.url, "--event", "state.*", "--key", "once")
    first, again = remote(*line, key="owner"), remote(*line, key="owner")
    assert first.out.startswith("whsec_") and first.out.count("\n") == 1
    assert (again.out, "was shown then" in again.err) == ("", True)
    listed = remote("webhooks", key="owner")
    assert [row["events"] for row in listed.rows] == ["state.*"]
    assert first.out.strip() not in listed.out + remote("webhooks", "-o", "json", key="owner").out


def test_a_test_says_whether_it_arrived(remote: Remote, receiver: Receiver) -> None:
    hook, secret = add(remote, receiver.url)
    assert remote("webhooks", "test", hook, key="owner").code == Exit.DONE
    assert receiver.messages[0].verified(secret)["type"] == "webhook.test"
    receiver.says = lambda message: (500, {})
    ran = remote("webhooks", "test", hook, key="owner")
    assert (ran.code, ran.fields["message"]) == (Exit.FAILED, "answered 500")


def test_what_failed_is_listed_and_sent_again(remote: Remote, receiver: Receiver) -> None:
    hook, _ = add(remote, receiver.url)
    receiver.says = lambda message: (503, {"retry-after": "7200"})
    remote.shop.paid("ord_1")

    def listed() -> list[dict[str, str]]:
        return remote("webhooks", "deliveries", hook, "--status", "due", key="owner").rows

    wait_for(lambda: listed()[0]["attempts"] == "1")
    first, second = listed()
    assert (first["last_failure"], second["attempts"], first["entity"]) == ("answered 503", "0", "order:ord_1")
    ran = remote("webhooks", "replay", hook, "--since", "0", key="owner")
    assert (ran.code, ran.fields["due"]) == (Exit.DONE, "2")
    assert remote("webhooks", "replay", hook, key="owner").code == Exit.USAGE
    assert "answered 503" in remote("webhooks", key="owner").out


def test_a_rotated_secret_and_a_removed_endpoint(remote: Remote, receiver: Receiver) -> None:
    hook, secret = add(remote, receiver.url)
    rotated = remote("webhooks", "rotate", hook, "--overlap-hours", "1", key="owner")
    assert rotated.out.strip() != secret
    assert "signs too until" in rotated.err
    assert remote("webhooks", "remove", hook, key="owner").code == Exit.DONE
    assert remote("webhooks", "remove", hook, key="owner").code == Exit.FAILED
    assert not remote("webhooks", key="owner").rows


def test_a_tail_shows_messages_and_gives_them_to_a_local_program_signed(
    remote: Remote, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "whsec_" + "QUJD" * 8
    monkeypatch.setenv("KIFF_WEBHOOK_SECRET", secret)
    remote.shop.paid("ord_1")
    line = ("webhooks", "tail", "--event", "state.*", "--after", "-1", "--limit", "2")
    ran = remote(*line, "--forward-to", receiver.url, key="owner")
    assert [(row["type"], row["entity"], row["answer"]) for row in ran.rows] == [
        ("state.changed", "order:ord_1", "200")
    ] * 2
    sent = [each.verified(secret) for each in receiver.messages]
    assert [each["data"]["record"]["seq"] for each in sent] == [int(row["seq"]) for row in ran.rows]


def test_a_tail_of_an_endpoint_shows_what_it_is_sent_to_the_byte(remote: Remote, receiver: Receiver) -> None:
    hook, _ = add(remote, receiver.url)
    remote.shop.paid("ord_1")
    wait_for(lambda: len(receiver.messages) == 2)
    with Receiver() as local:
        ran = remote(
            "webhooks",
            "tail",
            hook,
            "--after",
            "-1",
            "--limit",
            "2",
            "--forward-to",
            local.url,
            "-o",
            "jsonl",
            key="owner",
        )
        assert [each.body for each in local.messages] == [each.body for each in receiver.messages]
        assert [each.id for each in local.messages] == [each.id for each in receiver.messages]
    assert ran.out.count('"kiff":"v1"') == 2
