"""What an operator says about remote executors, and what happens to calls of one that hangs or is down."""

from __future__ import annotations

import ssl
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from certificates import contexts
from elsewhere_cases import AGENT, HUMAN, PATIENCE_SECONDS, SECRET, desk
from outside_line import OutsideLine, answer, hang
from served import wait_for

from kiff.cli.server_options import remote_executors
from kiff.errors import InvalidInput, Overloaded
from kiff.runtime.clock import SystemClock
from kiff.server.circuit import FAILURES, OPEN_SECONDS
from kiff.server.remote_settings import HttpsExecutor, McpServer, RemoteSettings, remote_settings

pytestmark = pytest.mark.slow

DONE = answer(body=b'{"status": "succeeded"}')


class Stepped(SystemClock):
    """A clock whose monotonic time a test can move on."""

    ahead = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return contexts(tmp_path_factory.mktemp("tls"), "127.0.0.1")


def records(shop: Any) -> int:
    return len(shop.store.records("default"))


def test_a_hung_executor_holds_a_few_slots_and_the_next_call_is_refused_before_it_is_decided(tls: Any) -> None:
    with OutsideLine(hang, tls[0]) as line:
        with desk(line.url, context=tls[1], https=HttpsExecutor((SECRET,), at_once=2), timeout="1s") as shop:
            shop.place("ord_1", "ord_2", "ord_3")
            asked = [shop.ask(order) for order in ("ord_1", "ord_2")]
            before = records(shop)
            with pytest.raises(Overloaded) as refused:
                shop.ask("ord_3")
            assert (refused.value.detail["retry_after_seconds"], records(shop)) == (1.0, before)
            assert [each.result(PATIENCE_SECONDS).status for each in asked] == ["unknown", "unknown"]
            assert shop.ask("ord_3").result(PATIENCE_SECONDS).status == "unknown"  # there is room again
        assert len(line.requests) == 3


def test_calls_of_an_executor_that_is_down_are_refused_before_they_are_decided(tls: Any) -> None:
    line = OutsideLine(DONE, tls[0])
    line.close()
    with desk(line.url, context=tls[1]) as shop:
        orders = [f"ord_{number}" for number in range(FAILURES + 1)]
        shop.place(*orders)
        for order in orders[:FAILURES]:
            assert shop.ask(order).result(PATIENCE_SECONDS).status == "failed"
        before = records(shop)
        with pytest.raises(Overloaded, match="did not answer"):
            shop.ask(orders[-1])
        assert records(shop) == before


def test_a_grant_that_would_run_at_an_executor_that_is_down_waits_for_the_reviewer_to_try_again(tls: Any) -> None:
    line = OutsideLine(DONE, tls[0])
    line.close()
    clock = Stepped()
    with desk(line.url, context=tls[1], clock=clock) as shop:
        orders = [f"ord_{number}" for number in range(FAILURES + 1)]
        shop.place(*orders)
        held = shop.runtime.execute(AGENT, entity=f"order:{orders[-1]}", action="REFUND_MUCH").result(PATIENCE_SECONDS)
        assert held.approval_id is not None
        for order in orders[:FAILURES]:
            shop.ask(order).result(PATIENCE_SECONDS)
        with pytest.raises(Overloaded):
            shop.runtime.grant(HUMAN, held.approval_id, "fine")
        clock.ahead = OPEN_SECONDS
        assert shop.runtime.grant(HUMAN, held.approval_id, "fine").result(PATIENCE_SECONDS).operation_id


def test_an_executor_that_is_back_is_used_again(tls: Any) -> None:
    clock = Stepped()
    scripts = [answer("500 Oops")] * FAILURES
    back = OutsideLine(lambda line: (scripts.pop() if scripts else DONE)(line), tls[0])
    with back, desk(back.url, context=tls[1], clock=clock) as shop:
        orders = [f"ord_{number}" for number in range(FAILURES + 2)]
        shop.place(*orders)
        for order in orders[:FAILURES]:
            assert shop.ask(order).result(PATIENCE_SECONDS).status == "unknown"
        with pytest.raises(Overloaded):
            shop.ask(orders[-1])
        clock.ahead = OPEN_SECONDS
        told = [shop.ask(order).result(PATIENCE_SECONDS).status for order in orders[FAILURES:]]
        assert told == ["succeeded", "succeeded"]


def test_a_call_whose_caller_went_away_still_counts_at_the_door(tls: Any) -> None:
    with OutsideLine(hang, tls[0]) as line:
        with desk(line.url, context=tls[1], https=HttpsExecutor((SECRET,), at_once=1), timeout="1s") as shop:
            shop.place("ord_1", "ord_2")
            gone = shop.ask("ord_1")
            wait_for(lambda: line.requests)
            assert gone.cancel()
            assert shop.ask("ord_2").result(PATIENCE_SECONDS).status == "failed"
        assert len(line.requests) == 1


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"*/*": {"secrets": [SECRET]}}, "forge"),
        ({"acme": {"secrets": [SECRET]}}, "expected"),
        ({"acme/https://a.example": {"secrets": [SECRET]}}, "expected"),
        ({"acme/A.example": {"secrets": [SECRET]}}, "expected"),
        ({"acme/a.example/path": {"secrets": [SECRET]}}, "expected"),
        ({"acme/a.example": {}}, "secrets"),
        ({"acme/a.example": {"secrets": []}}, "secrets"),
        ({"acme/a.example": {"secrets": "x"}}, "array"),
        ({"acme/a.example": {"secrets": ["hunter2"]}}, "whsec_"),
        ({"acme/a.example": {"secrets": ["whsec_aGVsbG8="]}}, "whsec_"),
        ({"acme/a.example": {"secrets": ["whsec_!"]}}, "whsec_"),
        ({"acme/a.example": {"secrets": [SECRET], "idempotnt": True}}, "idempotnt"),
        ({"acme/a.example": {"secrets": [SECRET], "at_once": 0}}, "at_once"),
        ({"acme/a.example": 1}, "object"),
    ],
)
def test_an_executors_file_that_says_something_else_is_refused(table: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why) as refused:
        remote_settings(table, None)
    assert SECRET not in refused.value.message
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize(
    ("table", "why"),
    [
        ({"server": {}}, "servers"),
        ({"servers": {"Payments": {"tenants": ["*"], "command": "x"}}}, "lower-case"),
        ({"servers": {"payments": {"tenants": ["*"]}}}, "either"),
        ({"servers": {"payments": {"tenants": ["*"], "command": "x", "url": "https://a"}}}, "either"),
        ({"servers": {"payments": {"tenants": ["*"], "url": "file:///etc/passwd"}}}, "https://"),
        ({"servers": {"payments": {"tenants": [], "command": "x"}}}, "tenants"),
        ({"servers": {"payments": {"command": "x"}}}, "tenants"),
        ({"servers": {"payments": {"tenants": ["*"], "command": "x", "errors": "fine"}}}, "errors"),
        ({"servers": {"payments": {"tenants": ["*"], "command": "x", "shell": True}}}, "shell"),
    ],
)
def test_an_mcp_file_that_says_something_else_is_refused(table: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        remote_settings(None, table)


def test_without_the_package_an_mcp_file_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(InvalidInput, match=r"pip install 'kiff\[mcp\]'"):
        remote_settings(None, {"servers": {"payments": {"tenants": ["*"], "command": "x"}}})


@pytest.mark.parametrize("name", ["executors.toml", "mcp.toml"])
def test_a_file_of_secrets_that_others_can_read_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text("")
    file.chmod(0o644)
    with pytest.raises(InvalidInput, match="chmod 600"):
        remote_executors(tmp_path)
    file.chmod(0o600)
    assert remote_executors(tmp_path) == RemoteSettings()


def test_the_closest_entry_says_how_a_tenant_calls_a_host() -> None:
    secrets = {name: (f"whsec_{b64encode(name.encode() * 24).decode()}",) for name in "abcd"}
    said = RemoteSettings(
        {
            "acme/a.example:444": HttpsExecutor(secrets["a"]),
            "acme/a.example": HttpsExecutor(secrets["b"]),
            "acme/*": HttpsExecutor(secrets["c"]),
            "*/shared.example": HttpsExecutor(secrets["d"]),
        }
    )

    def which(tenant: str, host: str, port: int = 443) -> str | None:
        found = said.executor(tenant, host, port)
        return None if found is None else next(name for name in secrets if secrets[name] == found.secrets)

    assert (which("acme", "a.example", 444), which("acme", "a.example"), which("acme", "b.example")) == ("a", "b", "c")
    assert (which("acme", "shared.example"), which("zebra", "shared.example")) == ("c", "d")
    assert (which("zebra", "a.example"), which("zebra", "shared.example", 444)) == (None, None)


def test_a_server_is_for_the_tenants_that_are_named() -> None:
    said = RemoteSettings({}, {"one": McpServer(("acme",), command="x"), "all": McpServer(("*",), command="x")})
    assert said.server("acme", "one") is not None
    assert said.server("zebra", "one") is None
    assert said.server("zebra", "all") is not None
    assert said.server("acme", "none") is None


def test_control_both_files_are_read(tmp_path: Path) -> None:
    said = remote_settings(
        {"acme/a.example": {"secrets": [SECRET], "idempotent": True}},
        {"servers": {"payments": {"tenants": ["acme"], "command": "payments-mcp", "args": ["--stdio"]}}},
    )
    assert said.https["acme/a.example"] == HttpsExecutor((SECRET,), idempotent=True)
    assert said.mcp["payments"] == McpServer(("acme",), command="payments-mcp", args=("--stdio",))
