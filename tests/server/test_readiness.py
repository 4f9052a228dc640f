"""/readyz: whether a write would be taken in now. /healthz: the process lives, whatever its store does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgres_server import NoPostgres, Server, durable_server
from served import PATIENCE_SECONDS, Served, served, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture
def durable() -> Server:
    try:
        return durable_server()
    except NoPostgres as missing:
        pytest.skip(str(missing))


def said(shop: Served, path: str) -> tuple[int, str]:
    told = shop.get(path, None)
    return told.status, told.body["status"]


def test_a_server_whose_database_is_gone_lives_and_is_ready_once_it_is_back(tmp_path: Path, durable: Server) -> None:
    with served(tmp_path / "data", store=durable.fresh()) as shop:
        assert said(shop, "/readyz") == (200, "ok")
        durable.kill()
        wait_for(lambda: said(shop, "/readyz") == (503, "store_unavailable"))
        assert said(shop, "/healthz") == (200, "ok")
        durable.restart()
        wait_for(lambda: said(shop, "/readyz") == (200, "ok"))
        shop.paid("ord_001")


def test_the_store_is_asked_once_for_many_who_want_to_know(own_shop: Served) -> None:
    store, asked = own_shop.tower.store, 0
    real = store.row

    def counted(*what: object) -> object:
        nonlocal asked
        asked += 1
        return real(*what)  # type: ignore[arg-type]

    store.row = counted  # type: ignore[method-assign, assignment]
    for _ in range(20):
        assert said(own_shop, "/readyz") == (200, "ok")
    assert 1 <= asked < 20


def test_a_server_that_ends_is_not_ready(own_shop: Served) -> None:
    assert not own_shop.tower.draining
    own_shop.tower.draining = True
    assert said(own_shop, "/readyz") == (503, "draining")
    assert said(own_shop, "/healthz") == (200, "ok")


def test_who_waits_longer_than_a_server_that_ends_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kiff.server.serving.ANSWER_SECONDS", 0.2)
    with served(tmp_path / "data") as shop, ThreadPoolExecutor(1) as threads:
        shop.paid("ord_001")
        shop.outside.behaviour = "hang"
        call = threads.submit(shop.execute, "ord_001")
        wait_for(lambda: shop.tower.runtime.running())
        shop.serving.stop()
        told = call.result(PATIENCE_SECONDS)
    assert (told.status, told.body["code"]) == (503, "closed")
    assert told.headers["retry-after"]


def test_what_stops_a_server_makes_it_drain(tmp_path: Path) -> None:
    with served(tmp_path / "data") as shop:
        pass
    assert shop.tower.draining


@pytest.mark.parametrize(("worker", "label"), [(0, b""), (2, b'worker="2"')])
def test_a_scrape_says_which_worker_it_met_where_there_are_several(tmp_path: Path, worker: int, label: bytes) -> None:
    with served(tmp_path / "data", worker=worker) as shop:
        shop.get("/healthz", None)
        lines = [line for line in shop.get("/metrics", None).raw.splitlines() if not line.startswith(b"#")]
    assert len(lines) > 10
    assert all(label in line for line in lines)
    assert any(b"worker" in line for line in lines) == bool(worker)
