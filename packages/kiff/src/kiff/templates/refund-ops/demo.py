"""The demo: real database, real ledger process, real signatures; five endings, a retry storm, and the proof.

Then the five endings once more, over HTTP, and the project one-refund-tool.

    python demo.py [--dir DATA] [--store STORE] [--fresh] [-o text|json]

It ends with 0 only if every line is as promised, with 1 if one is not, with 130 on Ctrl-C.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TextIO
from urllib.parse import urlsplit

from audit import TENANT, Findings, audit, dollars
from executors import registry
from ledger_process import LedgerProcess
from over_http import TENANT_OF_WORKERS, Played, play_over_http
from screen import Screen
from story import PROMISES, WORD, Stage, order_id

from kiff import Domain, KiffError, Runtime, load, open_runtime
from kiff.embedded import key_path
from kiff.errors import InvalidInput
from kiff.ledger import parse_jwks
from kiff.runtime.ports import Executor, Store
from kiff.server.settings import SQLITE
from kiff.stores.keyfile import public_path
from kiff.stores.opening import open_store
from kiff.stores.root_key import open_keyring

HERE = Path(__file__).parent
PROMISED_CENTS = 4_900 + 99_900 + 2_000 + 3_000
"""What may leave in one run: the small refund, the granted one, and one for each storm."""


@dataclass
class Place:
    """Where a demo keeps its data: KIFF's own, and what is outside of KIFF.

    Args:
        store: `sqlite`, or the URL of a PostgreSQL database, which has the rows instead of the folder.
        key: the name of the key that signs; known once the database is open.
    """

    folder: Path
    store: str = SQLITE
    key: str = ""

    def __post_init__(self) -> None:
        if self.store != SQLITE:
            self.folder = self.folder / "on-postgres"
        self.database = self.folder / "kiff.db"
        self.jwks = public_path(key_path(self.database))
        self.debits = self.folder / "outside" / "payments.jsonl"
        self.head = self.folder / "outside" / "head.txt"
        self.server = self.folder / "server"
        self.server_debits = self.folder / "outside" / "server-payments.jsonl"
        self.server_head = self.folder / "outside" / "server-head.txt"
        self.one_tool = self.folder / "one-refund-tool"

    def prepare(self, *, fresh: bool) -> None:
        """Makes the folders, invisible to git; `fresh` removes what earlier runs left, and nothing else.

        Raises:
            InvalidInput: a database on a server is not ours to empty.
        """
        if fresh and self.store != SQLITE:
            message = f"`{self.shown}` is emptied by its owner: drop the database and make it again, or name another"
            raise InvalidInput(message, field="--fresh")
        if not self.folder.exists():
            self.folder.mkdir(parents=True)
            (self.folder / ".gitignore").write_text("*\n")
        self.debits.parent.mkdir(exist_ok=True)
        if fresh:
            outside = (self.debits, self.head, self.server_debits, self.server_head)
            servers = (*self.server.glob("kiff.db*"), *self.server.glob("keys/default.*"))
            others = (*self.one_tool.glob("kiff.db*"), self.one_tool / "payments.jsonl")
            for left in (*self.folder.glob("kiff.db*"), *outside, *servers, *others):
                left.unlink(missing_ok=True)

    @property
    def where(self) -> str:
        """The database, as `open_store` takes it."""
        return str(self.database) if self.store == SQLITE else self.store

    @property
    def shown(self) -> str:
        """The database as it is called on a screen: of a URL the server and the name."""
        if self.store == SQLITE:
            return str(self.database)
        parts = urlsplit(self.store)
        return f"{parts.netloc.rpartition('@')[2]}{parts.path}".removeprefix("/")

    def open(self, domain: Domain, executors: Mapping[str, Executor]) -> Runtime:
        """A runtime over the database.

        Raises:
            InvalidInput: the database has other logs in it, so it is no demo's.
        """
        if self.store == SQLITE:
            runtime = open_runtime(self.database, domains=[domain], executors=executors)
            *_, self.key = parse_jwks(self.jwks.read_bytes())
            return runtime
        store = open_store(self.store)
        try:
            _only_ours(store, self.shown)
            self.server.mkdir(exist_ok=True)
            keys = open_keyring(store, self.server)
            keys.create(TENANT)
            self.jwks.write_bytes(keys.public())
            self.key = keys(TENANT).kid
            return Runtime(store, keys, domains=[domain], executors=executors, vault=keys.vault(store))
        except BaseException:
            store.close()
            raise


@dataclass
class Report:
    """What a run shows with `-o json`."""

    run: int
    database: str
    ledger: dict[str, Any]
    key: str
    settled: list[dict[str, Any]] = field(default_factory=list)
    endings: list[dict[str, Any]] = field(default_factory=list)
    proof: dict[str, Any] = field(default_factory=dict)
    over_http: dict[str, Any] = field(default_factory=dict)
    one_tool: list[dict[str, Any]] = field(default_factory=list)
    deviations: list[str] = field(default_factory=list)


def run(
    folder: Path, *, store: str = SQLITE, fresh: bool = False, output: str = "text", out: TextIO | None = None
) -> int:
    """Plays everything once.

    Args:
        folder: for the data; the next run goes on there.
        store: `sqlite`, in that folder, or a PostgreSQL URL, in which two workers serve.
        output: `text`, a screen, or `json`, one object.

    Returns:
        The exit code: 0, 1, or 130 when it was interrupted.
    """
    out = out or sys.stdout
    screen = Screen(out if output == "text" else io.StringIO())
    try:
        report = play(Place(folder, store), screen, fresh=fresh)
        if output == "json":
            told = {"kiff": "v1", "ok": not report.deviations} | asdict(report)
            print(json.dumps(told, indent=2, ensure_ascii=False), file=out, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())  # the reader has gone; what is buffered goes nowhere
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; the ledger process has ended, and the next run goes on from here", file=sys.stderr)
        return 130
    except (KiffError, OSError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 1
    for deviation in report.deviations:
        print(f"demo: not as promised: {deviation}", file=sys.stderr)
    return 1 if report.deviations else 0


def play(place: Place, screen: Screen, *, fresh: bool) -> Report:
    place.prepare(fresh=fresh)
    is_new = not place.jwks.exists()
    saved = [place.head.read_bytes()] if place.head.exists() else []
    with ExitStack() as stack:
        ledger = LedgerProcess(place.debits)
        stack.callback(ledger.stop)
        domain = load((HERE / "kiff.yaml").read_text("utf-8"))
        executors = registry(ledger.address)
        runtime = stack.enter_context(place.open(domain, executors))
        # On the way out the ledger ends first, so a payment that hangs there ends too, and is recorded as unknown.
        stack.callback(ledger.stop)
        number = 0
        while runtime.read.state(f"order:{order_id(number, 1)}") is not None:
            number += 1
        stage = Stage(runtime, ledger, screen, number)
        before = ledger.debits()
        file = {"pid": ledger.pid, "address": ledger.address, "file": str(place.debits)}
        report = Report(number + 1, place.shown, file, place.key)
        _header(screen, report, before, engine="SQLite" if place.store == SQLITE else "PostgreSQL", is_new=is_new)
        report.settled = list(_settle_earlier(stage, before))
        screen.blank()
        stage.play()
        place.head.write_bytes(runtime.checkpoint().result())
        debits = ledger.debits()
        found = audit(place.where, place.jwks.read_bytes(), debits, [*saved, place.head.read_bytes()])
        report.endings = [asdict(ending) for ending in stage.endings]
        report.deviations = stage.deviations
        screen.blank()
        _proof(screen, report, found, debits, debits[len(before) :], saved=bool(saved))
    screen.blank()
    played = play_over_http(place.server, place.store, place.server_debits, place.server_head, domain, stage.endings)
    _over_http(screen, report, played)
    sys.path.append(str(HERE / "one-refund-tool"))  # a project of its own
    _one_tool(screen, report, import_module("three_outcomes").play(place.one_tool))
    screen.blank()
    if report.deviations:
        screen.last("blocked", f"{len(report.deviations)} not as promised; stderr says what")
    else:
        check = f"; check it yourself: kiff verify {place.database}" if place.store == SQLITE else ""
        screen.last("allowed", f"everything as promised{check}")
    return report


def _only_ours(store: Store, shown: str) -> None:
    """
    Raises:
        InvalidInput: there are other tenants.
    """
    others = [each for each in store.tenants() if ":" not in each and each not in (TENANT, TENANT_OF_WORKERS)]
    if others:
        message = (
            f"`{shown}` holds the log of `{others[0]}`, which is none of the demo's; give it a database of its own"
        )
        raise InvalidInput(message, field="--store")


def _header(screen: Screen, report: Report, before: list[dict[str, Any]], *, engine: str, is_new: bool) -> None:
    screen.title("KIFF  one agent, five honest endings, and a retry storm", f"run {report.run}")
    screen.fact("database", f"{report.database} ({engine}, {'new' if is_new else 'kept from the last run'})")
    ledger, total = report.ledger, dollars(_cents(before))
    screen.fact("ledger", f"process {ledger['pid']} at {ledger['address']}, outside of KIFF; {total} so far")
    screen.fact("key", f"{report.key} (Ed25519)")


def _settle_earlier(stage: Stage, debits: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """An operation that a killed run left behind is unknown: a person looks at the ledger, and says how it ended."""
    paid = {debit["key"] for debit in debits}
    for operation in stage.runtime.read.operations(status="unknown"):
        status: Literal["succeeded", "failed"] = "succeeded" if operation.id in paid else "failed"
        message = "looked up at the payment ledger"
        stage.runtime.settle(stage.person, operation.id, status, message=message).result()
        said = "paid" if operation.id in paid else "not paid"
        stage.screen.fact("earlier", f"{operation.entity} ended unknown; ops-human asked the ledger: {said}")
        yield {"operation": operation.id, "entity": operation.entity, "status": status}


def _proof(
    screen: Screen,
    report: Report,
    found: Findings,
    debits: list[dict[str, Any]],
    new: list[dict[str, Any]],
    *,
    saved: bool,
) -> None:
    """What the auditor found, line by line; whatever does not hold is a deviation.

    Args:
        debits, new: the outside ledger's list, and its part that came in this run.
        saved: there was a head that an earlier run kept.
    """
    orders = {ending["order"] for ending in report.endings}
    allowed = [payment for payment in found.cleared.values() if payment.order in orders]
    receipts = {receipt for ending in report.endings for receipt in ending["receipts"]}
    money = [
        *found.ledger,
        *_unlike("cents allowed by receipts", PROMISED_CENTS, sum(payment.amount_minor for payment in allowed)),
        *_unlike("cents paid by the ledger", PROMISED_CENTS, _cents(new)),
        *_unlike("debits of this run", len(allowed), len(new)),
    ]
    issued = _unlike("receipts of this run", sum(promise.receipts for promise in PROMISES.values()), len(receipts))
    head = "; the signed head extends the last run's" if saved else " under a signed head"
    replayed = f"{found.entities} entities, {found.events} events, {found.decisions} decisions"
    for name, problems, said in (
        ("log", found.log, f"{found.records} records verified{head}"),
        ("replay", found.replay, f"materialised == replay: {replayed}"),
        ("receipts", found.receipts + issued, f"{found.verified} of {found.issued} verified from the public key alone"),
        (
            "ledger",
            money,
            f"{len(new)} debits, {dollars(_cents(new))}: to the cent what {len(allowed)} receipts allowed",
        ),
    ):
        screen.proof(name, f"{len(problems)} wrong: {problems[0]}" if problems else said, holds=not problems)
        report.deviations += [f"{name}: {problem}" for problem in problems]
    if len(debits) > len(new) and not found.ledger:
        total = f"all runs: {len(debits)} debits, {dollars(_cents(debits))}, none without its receipt"
        screen.proof("", total, holds=True)
    report.proof = {
        "records": found.records,
        "entities": found.entities,
        "events": found.events,
        "decisions": found.decisions,
        "receipts": found.issued,
        "receipts_verified": found.verified,
        "debits": len(new),
        "paid_minor": _cents(new),
        "debits_of_all_runs": len(debits),
        "paid_minor_of_all_runs": _cents(debits),
    }


def _over_http(screen: Screen, report: Report, played: Played) -> None:
    """Each ending beside the one of the same call in this process, and what the server left behind."""
    served = f"{len(played.decisions)} workers, each by a key" if played.decisions else "each caller by a key"
    screen.fact("over HTTP", f"the same five at {played.url}, {served}")
    told = {ending.title: ending for ending in played.endings}
    for title, differences in played.differences.items():
        ending = told.get(title)
        said = "nothing came of it" if ending is None else f"{ending.outcome}, {ending.state}, {_debits(ending.debits)}"
        wrong = f"{len(differences)} different: {differences[0]}" if differences else f"{said}, as above"
        screen.proof("", f"{title}: {wrong}", holds=not differences)
        report.deviations += [f"over HTTP: {title}: {difference}" for difference in differences]
    found = played.found
    problems = [*played.deviations, *found.log, *found.replay, *found.receipts, *found.ledger]
    by_worker = f"{' + '.join(map(str, played.decisions))} decisions; " if played.decisions else ""
    said = f"{by_worker}{found.records} records, {found.verified} of {found.issued} receipts and ledger verified"
    screen.proof("", f"{len(problems)} wrong: {problems[0]}" if problems else said, holds=not problems)
    report.deviations += [f"over HTTP: {problem}" for problem in problems]
    report.over_http = {
        "url": played.url,
        "decisions_by_worker": played.decisions,
        "endings": [asdict(ending) for ending in played.endings],
        "records": found.records,
        "receipts": found.issued,
        "receipts_verified": found.verified,
    }


def _one_tool(screen: Screen, report: Report, played: Any) -> None:
    """The same agent with one refund tool: what a call comes to depends on its amount."""
    said = (f"{dollars(int(amount * 100))} {WORD.get(outcome, outcome)}" for amount, outcome, _ in played.calls[:3])
    screen.proof("one tool", f"one refund tool: {', '.join(said)}", holds=not played.deviations)
    report.deviations += [f"one tool: {deviation}" for deviation in played.deviations]
    report.one_tool = [{"amount": amount, "outcome": outcome, "why": why} for amount, outcome, why in played.calls]


def _debits(count: int) -> str:
    return "no debit" if count == 0 else "1 debit" if count == 1 else f"{count} debits"


def _unlike(what: str, expected: int, found: int) -> list[str]:
    return [] if expected == found else [f"{what}: expected {expected}, found {found}"]


def _cents(debits: list[dict[str, Any]]) -> int:
    return sum(debit["amount_minor"] for debit in debits)


def main() -> int:
    options = argparse.ArgumentParser(description="The governed loop on a real database, in one screen.")
    options.add_argument("--dir", type=Path, default=Path(".demo"), help="where the data are kept (default .demo)")
    options.add_argument("--store", default=SQLITE, help="sqlite, in that folder, or postgresql://…")
    options.add_argument("--fresh", action="store_true", help="forget what earlier runs left")
    options.add_argument("-o", "--output", choices=("text", "json"), default="text")
    given = options.parse_args()
    return run(given.dir, store=given.store, fresh=given.fresh, output=given.output)


if __name__ == "__main__":
    sys.exit(main())
