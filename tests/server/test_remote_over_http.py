"""`kiff up` as an operator configures it: an executor outside of its process, over HTTPS, and what callers are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import contexts
from elsewhere_cases import SECRET
from outside_line import OutsideLine, answer
from served import DOMAIN
from standardwebhooks.webhooks import Webhook
from up import Up

from kiff.server.circuit import FAILURES

pytestmark = pytest.mark.slow

DONE = answer(body=b'{"status": "succeeded", "message": "refunded outside"}')


def prepared(folder: Path, line: OutsideLine, egress: str | None = None) -> dict[str, Any]:
    """The operator's files, and the arguments of `kiff up`."""
    data = folder / "data"
    data.mkdir()
    (data / "egress.toml").write_text(egress or f'allow = ["127.0.0.1:{line.port}"]\n')
    secrets = data / "executors.toml"
    secrets.write_text(f'["kiff-demo/127.0.0.1:{line.port}"]\nsecrets = ["{SECRET}"]\n')
    secrets.chmod(0o600)
    domain = folder / "kiff.yaml"
    domain.write_text(DOMAIN.read_text("utf-8").replace("refund.issue_refund", line.url))
    return {"SSL_CERT_FILE": str(folder / "certificate.pem")}


def test_a_refund_is_made_outside_over_a_signed_request(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path, "127.0.0.1")
    with OutsideLine(DONE, server) as line:
        environment = prepared(tmp_path, line)
        with Up(tmp_path, "--domain", str(tmp_path / "kiff.yaml"), **environment) as up:
            up.paid("ord_1")
            told = up.execute("ord_1")
            assert (told.status, told.body["result"]["message"]) == (200, "refunded outside")
            assert SECRET.encode() not in up.log
        (request,) = line.requests
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(row.decode().split(": ", 1) for row in head.split(b"\r\n")[1:])
    Webhook(SECRET).verify(body, headers)


def test_callers_of_an_executor_that_is_down_are_told_when_to_try_again(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path, "127.0.0.1")
    line = OutsideLine(DONE, server)
    line.close()
    environment = prepared(tmp_path, line)
    with Up(tmp_path, "--domain", str(tmp_path / "kiff.yaml"), **environment) as up:
        orders = [f"ord_{number}" for number in range(FAILURES + 1)]
        up.paid(*orders)
        for order in orders[:FAILURES]:
            told = up.execute(order)
            assert (told.status, told.body["result"]["status"]) == (200, "failed")
        told = up.execute(orders[-1])
        assert (told.status, told.body["code"]) == (503, "overloaded")
        assert 1 <= int(told.headers["retry-after"]) <= 10


def test_an_executor_that_the_egress_policy_does_not_allow_is_missing(tmp_path: Path) -> None:
    server, _ = contexts(tmp_path, "127.0.0.1")
    with OutsideLine(DONE, server) as line:
        environment = prepared(tmp_path, line, egress="allow = []\n")
        with Up(tmp_path, "--domain", str(tmp_path / "kiff.yaml"), **environment) as up:
            up.paid("ord_1")
            told = up.execute("ord_1")
            assert (told.status, told.body["code"], told.body["executor"]) == (422, "executor_missing", line.url)
        assert line.connections == 0
