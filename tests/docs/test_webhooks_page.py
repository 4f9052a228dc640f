"""docs/guides/webhooks.md: its receiver takes what a server sends, and its events are the ones there are."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hooked import allowing
from served import Served, served, wait_for

from kiff.protocol.webhook import EVENTS
from kiff.runtime.outbox import FAILING_MS, KEPT_MS, SCHEDULE_SECONDS
from kiff.server.outbox import TROUBLE
from kiff.server.webhook_message import TIMEOUT_SECONDS

pytestmark = pytest.mark.slow

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "webhooks.md").read_text("utf-8")
PROGRAM = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def page() -> Any:
    """The names of the page's program."""
    names: dict[str, Any] = {"__name__": "receiver"}
    exec(compile("\n".join(PROGRAM), "webhooks.md", "exec"), names)
    return SimpleNamespace(**names)


@pytest.fixture
def url(page: Any) -> Iterator[str]:
    """The page's receiver, listening."""
    server = HTTPServer(("127.0.0.1", 0), page.Hook)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_receiver_takes_what_is_signed_and_nothing_else(
    page: Any, url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(allowing(tmp_path)) as shop:
        told = shop.post("/v1/webhooks", {"url": url, "events": ["decision.*", "state.*"]}, "owner").body
        page.Hook.secret = "whsec_" + "QUJD" * 8
        assert _tested(shop, told)["status"] == 401
        page.Hook.secret = told["secret"]
        shop.paid("ord_1")
        shop.execute("ord_1", "REFUND_ORDER", amount=500.0)
        wait_for(lambda: len(page.SEEN) == 3)
    assert capsys.readouterr().out.splitlines() == [
        "state.changed order:ord_1",
        "state.changed order:ord_1",
        "decision.approval_required order:ord_1",
    ]


def _tested(shop: Served, told: Any) -> Any:
    return shop.post(f"/v1/webhooks/{told['webhook']['id']}/test", None, "owner").body


def test_the_events_are_the_ones_there_are() -> None:
    assert sorted(re.findall(r"^\| `(\w+\.\w+)` \|", TEXT, re.MULTILINE)) == sorted(EVENTS)


def test_the_numbers_are_the_ones_in_the_code() -> None:
    hours = [seconds / 3_600 for seconds in SCHEDULE_SECONDS]
    assert "5 seconds, 5 minutes, 30 minutes, 2, 5, 10, 14, 20 and 24 hours" in TEXT
    assert (SCHEDULE_SECONDS[1:4], hours[4:]) == ((5, 300, 1_800), [2, 5, 10, 14, 20, 24])
    assert f"{KEPT_MS // 86_400_000} days" in TEXT
    assert (TIMEOUT_SECONDS, TROUBLE, FAILING_MS) == (15, 5, 5 * 86_400_000)
