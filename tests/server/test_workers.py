"""`kiff serve --workers 2`: a parent and its workers, as processes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psutil
import pytest
from postgres_server import Databases
from served import DOMAIN, PATIENCE_SECONDS, wait_for
from up import Serve

from kiff.client import Client
from kiff.errors import Unanswered
from kiff.runtime.answers import Executed

pytestmark = pytest.mark.slow

KIFF = Path(sys.executable).with_name("kiff")
SLOW = """
import time
from pathlib import Path

def issue_refund(operation):
    Path("began").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return {"status": "succeeded", "message": "refunded"}

EXECUTORS = {"refund.issue_refund": issue_refund, "orders.mark_paid": issue_refund}
"""


class Several(Serve):
    """A running `kiff serve --workers 2` on a database of its own."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        super().__init__(folder, "--workers", "2", "--log-level", "info", *arguments, KIFF_STORE=url)
        self.url = self.told["url"]
        self._session = ""

    @property
    def parent(self) -> psutil.Process:
        return psutil.Process(self._process.pid)

    @property
    def workers(self) -> list[psutil.Process]:
        """In the order of their starts."""
        return sorted(self.parent.children(), key=lambda process: process.create_time())

    def met(self, times: int) -> set[str]:
        """Which workers answer on connections of their own."""
        return {re.findall(r'worker="(\d+)"', self.get("/metrics", None).raw.decode())[0] for _ in range(times)}

    def owner(self) -> Client:
        """The first administrator, who let the refund domain govern and enrolled a shop and an agent."""
        if self._session:
            return Client(self.url, self._session, timeout=PATIENCE_SECONDS)
        with Client(self.url) as client:
            self._session = client.login.by_token(self.told["login_token"]).session
        owner = self.owner()
        owner.domains.activate(DOMAIN.read_text("utf-8"))
        owner.members.set("shop", "service", roles=["event_source"])
        owner.members.set("ops-agent", "agent", roles=["ops_agent"], person="owner")
        return owner

    def member(self, owner: Client, id: str) -> Client:
        """A member with a key."""
        return Client(self.url, str(owner.keys.create(principal=id).secret), timeout=PATIENCE_SECONDS)


@contextmanager
def several(folder: Path, url: str, *arguments: str) -> Iterator[Several]:
    serve = Several(folder, url, *arguments)
    try:
        yield serve
    finally:
        assert serve.close() == 0, serve.log


def ended(command: list[str | Path], folder: Path, **environment: str) -> tuple[int, str]:
    """A `kiff serve` that does not come to serve: its exit code, and all it said."""
    done = subprocess.run(
        [KIFF, "serve", "--data", folder / "data", "--port", "0", *command],
        cwd=folder,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


# What is refused


def test_several_workers_on_one_sqlite_file_are_refused(tmp_path: Path) -> None:
    code, said = ended(["--workers", "2"], tmp_path)
    assert code == 1
    assert "a SQLite file has one writer process" in said


def test_a_password_on_the_command_line_is_refused_and_not_repeated(tmp_path: Path) -> None:
    code, said = ended(["--store", "postgresql://kiff:hunter2@localhost/kiff"], tmp_path)
    assert (code, "hunter2" in said) == (1, False)
    assert "KIFF_STORE" in said


def test_a_store_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "store"
    file.write_text("postgresql://kiff:hunter2@localhost/kiff")
    file.chmod(0o644)
    code, said = ended(["--store-file", str(file)], tmp_path)
    assert (code, "hunter2" in said) == (1, False)
    assert f"chmod 600 {file}" in said


@pytest.mark.parametrize("place", ["localhost:port/kiff", "[::1/kiff", "localhost:1/kiff?sslmode=nope"])
def test_of_a_url_that_cannot_be_used_nothing_is_said(tmp_path: Path, place: str) -> None:
    code, said = ended(["--workers", "2"], tmp_path, KIFF_STORE=f"postgresql://kiff:hunter2@{place}")
    assert code == 1
    assert "the URL of the database cannot be used" in said
    assert "hunter2" not in said and "Traceback" not in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_database_that_is_not_there_ends_it_with_its_own_error(tmp_path: Path, workers: str) -> None:
    url = "postgresql://kiff:hunter2@127.0.0.1:1/kiff"
    code, said = ended(["--workers", workers], tmp_path, KIFF_STORE=url)
    assert code == 1
    assert said.count("[store_unavailable]") == 1, said
    assert "hunter2" not in said and "Traceback" not in said


def test_executors_that_cannot_be_imported_end_it_with_their_own_error(tmp_path: Path, fresh_database: str) -> None:
    (tmp_path / "actions.py").write_text("EXECUTORS = {\n")
    code, said = ended(["--workers", "2"], tmp_path, KIFF_STORE=fresh_database)
    assert code == 1
    assert said.count("error: ") == 1 and "actions.py" in said, said


def test_an_address_that_another_server_has_is_refused_although_workers_share_theirs(
    serve: Several, tmp_path: Path, fresh_database: str
) -> None:
    port = serve.host.rpartition(":")[2]
    code, said = ended(["--workers", "2", "--port", port], tmp_path, KIFF_STORE=fresh_database)
    assert (code, "cannot be bound" in said) == (1, True)


# What is served


def test_the_store_may_be_said_by_a_file_that_nobody_else_reads(tmp_path: Path, fresh_database: str) -> None:
    file = tmp_path / "store"
    file.write_text(f"{fresh_database}\n")
    file.chmod(0o600)
    with Serve(tmp_path, "--store-file", str(file)) as serve:
        assert serve.get("/readyz", None).status == 200
        assert not (tmp_path / "data" / "kiff.db").exists()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory, postgres: Databases) -> Iterator[Several]:
    with several(tmp_path_factory.mktemp("workers"), postgres.fresh()) as serve:
        yield serve


def test_both_workers_take_connections(serve: Several) -> None:
    assert serve.met(60) == {"1", "2"}


def test_neither_the_url_nor_its_password_is_seen_in_the_list_of_processes(serve: Several) -> None:
    shown = [" ".join(process.cmdline()) for process in (serve.parent, *serve.workers)]
    assert len(shown) == 3
    assert not any("postgresql:" in line for line in shown)


def test_the_first_administrator_comes_in_once_and_the_parent_says_one_token(serve: Several) -> None:
    with serve.owner() as owner:
        assert owner.me().principal.id == "owner"
    told = serve.post("/v1/auth/session", {"token": serve.told["login_token"]}, None)
    assert told.status == 401


def test_a_worker_that_is_killed_is_replaced_and_the_other_one_stays(serve: Several) -> None:
    killed, other = serve.workers
    killed.kill()
    wait_for(lambda: len(serve.workers) == 2 and killed not in serve.workers)
    assert other in serve.workers
    wait_for(lambda: serve.met(20) == {"1", "2"})


def test_while_workers_are_replaced_no_connection_is_refused(serve: Several) -> None:
    before = serve.workers
    with ThreadPoolExecutor(1) as threads:
        replaced = threads.submit(wait_for, lambda: len(serve.workers) == 2 and not set(serve.workers) & set(before))
        serve.parent.send_signal(signal.SIGHUP)
        answers = 0
        while not replaced.done():
            assert serve.get("/healthz", None).status == 200
            answers += 1
        replaced.result()
    assert answers > 20


def test_while_workers_are_replaced_or_killed_every_call_is_answered_and_done_once(serve: Several) -> None:
    with serve.owner() as owner, serve.member(owner, "shop") as shop, ThreadPoolExecutor(1) as threads:
        killed, before = serve.workers[0], serve.workers
        replaced = threads.submit(wait_for, lambda: len(serve.workers) == 2 and not set(serve.workers) & set(before))
        killed.kill()
        serve.parent.send_signal(signal.SIGHUP)
        sent = 0
        while not replaced.done():
            shop.ingest(type="ORDER_PLACED", entity=f"order:replaced_{sent}")
            sent += 1
        kinds = [record["kind"] for record in owner.records() if (record["entity"] or "").startswith("order:replaced_")]
    assert sent > 10
    assert Counter(kinds) == {"event_ingested": sent, "state_changed": sent}


def test_a_connection_is_told_that_it_ends_before_its_worker_does(serve: Several) -> None:
    """A client that keeps its connection is cut off between two requests, never within one."""
    before = serve.workers
    connection = HTTPConnection(serve.host, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    serve.parent.send_signal(signal.SIGHUP)
    wait_for(lambda: len(serve.workers) == 2 and not set(serve.workers) & set(before))
    assert connection.sock is not None and connection.sock.recv(1) == b""
    connection.close()


# How it ends


def test_at_the_end_what_is_in_work_is_answered_first(tmp_path: Path, fresh_database: str) -> None:
    with refunding(tmp_path, fresh_database) as (serve, call):
        serve.parent.terminate()
        wait_for(lambda: b"Shutting down" in serve.log)
        assert serve.parent.is_running() and not call.done()
        (tmp_path / "go").touch()
        assert call.result(PATIENCE_SECONDS).executed


def test_who_is_told_twice_to_end_does_not_wait_for_executors(tmp_path: Path, fresh_database: str) -> None:
    with refunding(tmp_path, fresh_database) as (serve, call):
        serve.parent.terminate()
        wait_for(lambda: b"Shutting down" in serve.log)
        serve.parent.terminate()
        with pytest.raises(Unanswered):
            call.result(PATIENCE_SECONDS)
        wait_for(lambda: not running(serve.parent))


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path, fresh_database: str) -> None:
    serve = Several(tmp_path, fresh_database)
    workers = serve.workers
    serve.parent.kill()
    wait_for(lambda: not any(running(worker) for worker in workers))
    serve.close()


def test_a_worker_that_cannot_be_replaced_goes_on(tmp_path: Path, fresh_database: str) -> None:
    with several(tmp_path, fresh_database) as serve:
        before = serve.workers
        (tmp_path / "data" / "oidc.toml").write_text("not = toml = at all")
        serve.parent.send_signal(signal.SIGHUP)
        wait_for(lambda: b"a worker cannot be replaced" in serve.log)
        assert serve.workers == before
        assert serve.met(40) == {"1", "2"}


def test_a_worker_that_cannot_start_again_leaves_its_connections_to_the_other(
    tmp_path: Path, fresh_database: str
) -> None:
    with several(tmp_path, fresh_database) as serve:
        file = tmp_path / "data" / "oidc.toml"
        file.write_text("not = toml = at all")
        serve.workers[0].kill()
        wait_for(lambda: b"a worker cannot start" in serve.log)
        assert serve.met(20) == {"2"}
        file.unlink()
        wait_for(lambda: len(serve.workers) == 2)
        wait_for(lambda: serve.met(20) == {"1", "2"})


@contextmanager
def refunding(folder: Path, url: str) -> Iterator[tuple[Several, Future[Executed]]]:
    """A call whose executor runs until there is a file `go`."""
    (folder / "actions.py").write_text(SLOW)
    refund: dict[str, Any] = {"action": "AUTO_REFUND", "parameters": {"amount": 49.0, "reason": "late"}}
    with ExitStack() as stack:
        serve = stack.enter_context(several(folder, url))
        owner = stack.enter_context(serve.owner())
        shop, agent = (stack.enter_context(serve.member(owner, name)) for name in ("shop", "ops-agent"))
        for event in ("ORDER_PLACED", "ORDER_PAID"):
            shop.ingest(type=event, entity="order:ord_1")
        call = stack.enter_context(ThreadPoolExecutor(1)).submit(agent.execute, entity="order:ord_1", **refund)
        wait_for((folder / "began").exists)
        yield serve, call


def running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
