"""What a wrong key costs says nothing about it: unknown, wrong, revoked and expired ones take the same way."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable
from contextlib import closing, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from served import PATIENCE_SECONDS, TENANT, served

from kiff import Caller, Runtime
from kiff.errors import Unauthorized
from kiff.ledger.keys import Ed25519Signer
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential, Member
from kiff.runtime.clock import SystemClock
from kiff.runtime.commands import SYSTEM
from kiff.server import authenticate
from kiff.server.authenticate import Authenticator
from kiff.server.secrets import draw, read
from kiff.stores.memory import MemoryStore

ROOT = Caller(SYSTEM, (AUTHOR, OPERATOR), TENANT)


class Spied(MemoryStore):
    """A store that says what was asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def row(self, kind: type[Any], tenant: str, id: str) -> Any:
        self.asked.append(kind.__name__)
        return super().row(kind, tenant, id)


def presented(store: Spied, signer: Any) -> dict[str, str]:
    """A good key, and every kind of one that is not."""
    with Runtime(store, signer) as runtime:
        runtime.establish(ROOT, Member(TENANT, "ann", "human", None, None, "admin", True)).result()
        secrets: dict[str, str] = {}
        for name, expires_at in (("good", None), ("revoked", None), ("expired", 1)):
            secret, drawn = draw("key", TENANT)
            row = Credential(TENANT, drawn.id, "key", drawn.digest, "", "ann", "", None, "ann", 0, expires_at)
            runtime.establish(ROOT, row).result()
            secrets[name] = secret
            if name == "revoked":
                runtime.revoke(ROOT, drawn.id).result()
    good = secrets["good"]
    secrets |= {
        "wrong": _other_end(good),
        "unknown": draw("key", TENANT)[0],
        "another tenant's": draw("key", "nobody-knows")[0],
        "a session's": draw("session", TENANT)[0],
        "malformed": "kiff_live_kiff-demo_short",
        "empty": "",
        "large": "kiff_live_kiff-demo_" + "x" * 10_000,
        "not ASCII": good[:-1] + "é",
    }
    return secrets


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Spied:
    spied = Spied()
    compare = authenticate.compare_digest

    def counted(one: bytes, other: bytes) -> bool:
        assert len(one) == len(other) == 32
        spied.asked.append("compared")
        return compare(one, other)

    monkeypatch.setattr(authenticate, "compare_digest", counted)
    return spied


@pytest.fixture
def secrets(store: Spied) -> dict[str, str]:
    return presented(store, Ed25519Signer(Ed25519PrivateKey.generate()))


def refused(authenticator: Authenticator, text: str) -> tuple[str, str, dict[str, Any]]:
    with pytest.raises(Unauthorized) as caught:
        authenticator.credential(text, fresh=True)
    return caught.value.code, caught.value.message, caught.value.detail


@pytest.mark.parametrize("fresh", [True, False])
def test_a_key_that_is_none_takes_the_way_of_a_good_one_and_says_nothing(
    store: Spied, secrets: dict[str, str], fresh: bool
) -> None:
    authenticator = Authenticator(store, SystemClock())
    store.asked.clear()
    authenticator.credential(secrets.pop("good"), fresh=fresh)
    way = list(store.asked)
    assert way == ["Credential", "compared"]
    answers = set()
    for text in secrets.values():
        store.asked.clear()
        code, message, detail = refused(authenticator, text)
        answers.add((code, message, str(detail)))
        assert store.asked == way
    assert answers == {("unauthorized", "the credential is not valid", "{}")}


def welch(one: list[float], other: list[float]) -> float:
    """Welch's t: how surely two samples have different means."""
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


@pytest.mark.soak
def test_how_long_a_wrong_key_takes(store: Spied, secrets: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    """Reported, not asserted: |t| below 4.5 says that 10,000 tries cannot tell two kinds of wrong keys apart.

    A control that hurries, in the same place, shows what the test can see.
    """
    authenticator = Authenticator(store, SystemClock())
    ways: dict[str, Callable[[str], object]] = {
        "in the process": lambda text: authenticator.credential(text, fresh=True),
        "in the process, the control": _hasty(store),
    }
    for where, way in ways.items():
        report(capsys, where, samples(way, secrets, 10_000))


@pytest.mark.soak
def test_how_long_a_wrong_key_takes_over_http(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with served(tmp_path) as shop, closing(HTTPConnection(shop.host, timeout=PATIENCE_SECONDS)) as connection:
        good = shop.keys["agent"]
        told = shop.post("/v1/keys", {"principal": "ops-agent"}, "owner")
        shop.ask("DELETE", f"/v1/keys/{told.body['key']['id']}", None, "owner")
        texts = {"unknown": draw("key", TENANT)[0], "wrong": _other_end(good), "revoked": told.body["secret"]}

        def ask(text: str) -> None:
            connection.request("GET", "/v1/me", headers={"Authorization": f"Bearer {text}"})
            response = connection.getresponse()
            response.read()
            assert response.status == 401

        report(capsys, "over HTTP", samples(ask, texts, 10_000))


def report(capsys: pytest.CaptureFixture[str], where: str, times: dict[str, list[float]]) -> None:
    with capsys.disabled():
        for name in ("wrong", "revoked"):
            print(f"\n{where}: unknown against {name}, Welch's t {welch(times['unknown'], times[name]):.2f}")


def samples(way: Callable[[str], object], texts: dict[str, str], count: int) -> dict[str, list[float]]:
    """Nanoseconds of each try, in an order of chance; the slowest tenth is the machine's and left out."""
    order = [name for name in ("unknown", "wrong", "revoked") for _ in range(count)]
    random.Random(7).shuffle(order)
    times: dict[str, list[float]] = {name: [] for name in order}
    for name in order:
        started = time.perf_counter_ns()
        with suppress(Unauthorized):
            way(texts[name])
        times[name].append(time.perf_counter_ns() - started)
    return {name: sorted(taken)[: count * 9 // 10] for name, taken in times.items()}


def _other_end(secret: str) -> str:
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def _hasty(store: Spied) -> Callable[[str], object]:
    """The control: compares what is there, byte by byte, and asks nothing when nothing is there."""

    def credential(text: str) -> object:
        found = read(text)
        assert found is not None
        row = store.row(Credential, found.tenant, found.id)
        if row is None:
            raise Unauthorized("the credential is not valid")
        if all(one == other for one, other in zip(row.digest, found.digest, strict=True)):
            return row
        raise Unauthorized("the credential is not valid")

    return credential
