"""A served tower, and the program run against it as one of its people."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli_cases import LARGE, CountedIds, domain, refund
from served import PATIENCE_SECONDS, TENANT, Served, served

from kiff import Caller, Client, Principal
from kiff.cli import run
from kiff.protocol.authority import Member
from kiff.server.serving import Serving
from kiff.server.settings import ServerSettings


class Ran(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def fields(self) -> dict[str, str]:
        return dict(line.split("\t", 1) for line in self.out.splitlines()[1:])

    @property
    def rows(self) -> list[dict[str, str]]:
        names, *lines = [line.split("\t") for line in self.out.splitlines()]
        return [dict(zip(names, line, strict=True)) for line in lines]

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Remote:
    """The program, in a folder with neither a database nor principals.

    Attributes:
        shop: the server, whose database is `database`.
    """

    def __init__(self, shop: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.shop = shop
        self.url = f"http://{shop.host}"
        self.database = shop.tower.settings.data / "kiff.db"
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *argv: str, key: str | None = "agent") -> Ran:
        """Runs a command line against the server, with the key of that name, or with what KIFF_KEY says already."""
        with self._monkeypatch.context() as patch:
            patch.setenv("KIFF_URL", self.url)
            if key is not None:
                patch.setenv("KIFF_KEY", self.shop.keys.get(key, key))
            return self.plain(*argv)

    def on_database(self, *argv: str) -> Ran:
        """The same on the server's own database, read beside it."""
        return self.plain(*argv, "--db", str(self.database), "--tenant", TENANT)

    def plain(self, *argv: str) -> Ran:
        self._capsys.readouterr()
        code = run(argv)
        out, err = self._capsys.readouterr()
        return Ran(int(code), out, err)

    def refund(self, order: str, amount: float, *more: str, key: str = "agent") -> Ran:
        action = "AUTO_REFUND" if amount <= 100 else "REFUND_ORDER"
        return self("execute", action, f"order:{order}", "-p", f"amount={amount}", "-p", "reason=x", *more, key=key)


class SteadyTower:
    """The server of the reference page: its ids are counted, its time is the test's, and its secrets have names.

    Attributes:
        names: what the page writes -> what it is here.
    """

    def __init__(self, data: Path) -> None:
        settings = ServerSettings(data=data, port=0)
        self._serving = Serving(settings, executors={"refund.issue_refund": refund}, ids=CountedIds(500_000))
        tower = self._serving.tower
        tower.found(TENANT, MEMBERS)
        tower.activate(TENANT, domain())
        self._thread = threading.Thread(target=self._serving.run, name="steady", daemon=True)
        self._thread.start()
        self._happen()
        with Client(self._serving.url) as program:
            code = program.login.start("kiff login of ada on laptop").user_code
        tokens = {
            f"{TENANT}.TOKEN": tower.logins.token(TENANT, "ada"),
            f"{TENANT}.SECOND": tower.logins.token(TENANT, "ada"),
        }
        self.names = {"http://127.0.0.1:8480": self._serving.url, "BCDF-GHJK": code, **tokens}
        self._key = self._hook = ""

    def real(self, words: list[str]) -> list[str]:
        """A command line of the page, with what its names are here."""
        return [self._renamed(word, self.names | {"key_…": self._key, "whk_…": self._hook}) for word in words]

    def shown(self, text: str, folder: Path) -> str:
        """What was printed, as the page shows it: nothing that is drawn, and nothing of this machine."""
        self._key = next(iter(DRAWN["key_…"].findall(text)), self._key)
        self._hook = next(iter(DRAWN["whk_…"].findall(text)), self._hook)
        text = self._renamed(text, {real: name for name, real in self.names.items()})
        text = text.replace(f"{folder}/config/", "~/.config/")
        for name, drawn in DRAWN.items():
            text = drawn.sub(name, text)
        return text

    def close(self) -> None:
        self._serving.stop()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive(), "the server did not stop"

    def _happen(self) -> None:
        """Two orders are paid, and a refund of one of them waits for a person."""
        runtime = self._serving.tower.runtime
        ada = Caller(Principal("ada", "human"), ("adapter",), TENANT)
        for order in ("ord_101", "ord_102"):
            for event in ("ORDER_PLACED", "ORDER_PAID"):
                runtime.ingest(ada, type=event, entity=f"order:{order}", source="stripe").result()
        agent = Caller(Principal("ops-agent", "agent"), ("ops_agent",), TENANT)
        runtime.execute(agent, entity="order:ord_102", action="REFUND_ORDER", parameters=LARGE).result()

    @staticmethod
    def _renamed(text: str, names: dict[str, str]) -> str:
        for name, other in names.items():
            text = text.replace(name, other)
        return text


DRAWN = {
    "kiff_live_kiff-demo_…": re.compile(r"kiff_live_kiff-demo_[0-9A-Za-z]{53}"),
    "key_…": re.compile(r"\bkey_[0-9A-Za-z]{10}\b"),
    "ses_…": re.compile(r"\bses_[0-9A-Za-z]{10}\b"),
    "trace_…": re.compile(r"\btrace_[0-9a-f]{32}\b"),
    "whk_…": re.compile(r"\bwhk_[0-9A-Z]{26}\b"),
    "whsec_…": re.compile(r"\bwhsec_[0-9A-Za-z+/=]{44}"),
}
"""What the page shows for what is drawn."""
MEMBERS = [
    Member(TENANT, "ada", "human", None, "Ada", "tenant_owner,admin,adapter", True),
    Member(TENANT, "ops-agent", "agent", "ada", None, "ops_agent", True),
    Member(TENANT, "ops-human", "human", None, None, "ops_operator", True),
]


@contextmanager
def clean_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The current folder is empty, and nothing of this machine's settings counts."""
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("db", "domain", "principals", "executors", "tenant", "as", "color", "url", "key"):
        monkeypatch.delenv(f"KIFF_{name.upper()}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    monkeypatch.setenv("COLUMNS", "100")
    yield


__all__ = ["TENANT", "Ran", "Remote", "Served", "SteadyTower", "clean_folder", "served"]
