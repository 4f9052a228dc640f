"""`kiff doctor`: is everything here as it should be? One question a function; each answers, and says how to mend it."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from msgspec import Struct

from kiff.analysis.leaves import verify_leaves
from kiff.cli.database import open_database
from kiff.cli.domain_file import domain_issues
from kiff.cli.executors_file import stubs
from kiff.cli.exits import Exit
from kiff.cli.finding import SKEW_MS, Finding, seen_finding
from kiff.cli.key_set import read_keys
from kiff.cli.output import SCHEMA, output_option, painted, print_json, print_rows
from kiff.cli.principals import read_principals
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.settings import Settings, settings
from kiff.cli.store_place import said_place, secrets_options, store_place_options
from kiff.domain import Domain
from kiff.embedded import key_path, vault_path
from kiff.errors import KiffError
from kiff.runtime.clock import SystemClock
from kiff.runtime.rounds import active_domains
from kiff.stores.key_places import keys_beside
from kiff.stores.keyfile import KeyFolder, load, load_secret, public_path
from kiff.stores.seen_heads import seen_path
from kiff.stores.sqlite import SqliteStore
from kiff.stores.sqlite_schema import MIGRATIONS

LITTLE_BYTES, LEAST_BYTES = 1 << 30, 100 << 20
_MARKS = {"ok": ("✓", "ok"), "warn": ("!", "held"), "fail": ("✕", "wrong"), "none": ("–", "head")}


class Place(Struct, frozen=True):
    """What is looked at.

    Args:
        database: the file.
        store: None when it is not there, or cannot be opened.
        now: ms.
    """

    settings: Settings
    database: Path
    store: SqliteStore | None
    now: int


NOTHING = Finding("none", "no database here yet", "kiff domains apply --as NAME makes it")


def _versions(place: Place) -> Finding:
    return Finding(
        "ok", f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, schema {len(MIGRATIONS)}"
    )


def _database(place: Place) -> Finding:
    path = place.database
    if place.store is None:
        if not path.is_file():
            return NOTHING
        open_database(path).close()  # raises what is wrong with it
    heads = [] if place.store is None else [h for h in place.store.heads() if h.tenant == place.settings.tenant]
    records = heads[0].size if heads else 0
    return Finding("ok", f"{path}, {path.stat().st_size:,} bytes, {records:,} records of `{place.settings.tenant}`")


def _disk(place: Place) -> Finding:
    free = shutil.disk_usage(place.database.absolute().parent).free
    said = f"{free / (1 << 30):,.1f} GiB free where the database is"
    if free < LEAST_BYTES:
        return Finding("fail", said, "a full disk stops the runtime: make room")
    return Finding("warn", said, "make room before it is full") if free < LITTLE_BYTES else Finding("ok", said)


def _key(place: Place) -> Finding:
    if place.store is None:
        return NOTHING
    tenants = [head.tenant for head in place.store.heads()]
    keys = keys_beside(place.database, tenants)
    if isinstance(keys, KeyFolder):
        return _keys(place.database, keys, tenants)
    file = key_path(place.database)
    kid = load(file).kid  # raises when it is missing, not a key, or open to others
    if kid not in read_keys(public_path(file)):
        return Finding(
            "fail", f"{public_path(file)} lacks the key {kid}", "open the database once for writing: it adds it"
        )
    secret = vault_path(place.database)
    if secret.exists():
        load_secret(secret)  # raises likewise
    return Finding("ok", f"{file}, readable by its owner alone; {kid} is in the key set beside it")


def _keys(database: Path, keys: KeyFolder, tenants: list[str]) -> Finding:
    """Of a server, one for each tenant."""
    public = read_keys(public_path(key_path(database)))
    for tenant in tenants:
        kid = keys(tenant).kid  # raises when it is missing, not a key, or open to others
        if kid not in public:
            return Finding("fail", f"the key set lacks {kid}, of `{tenant}`", "bring the key set from its backup")
    keys.secret()  # raises likewise
    return Finding("ok", f"of {len(tenants)} tenants, readable by their owner alone, and in the key set")


def _clock(place: Place) -> Finding:
    last = max((head.last_at for head in place.store.heads()), default=0) if place.store else 0
    if last > place.now + SKEW_MS:
        behind = f"the clock is {(last - place.now) / 1000:,.0f} s behind the last record"
        return Finding("warn", behind, "nothing expires until it has caught up: set the clock")
    return Finding("ok", "not behind the last record")


def _log(place: Place) -> Finding:
    if place.store is None:
        return NOTHING
    beside = public_path(key_path(place.database))
    verdict = verify_leaves(place.store, read_keys(beside if beside.is_file() else None))
    if verdict.status == "invalid":
        first = verdict.problems[0]
        return Finding("fail", f"{first.where} {first.field}: {first.message}", "kiff verify names everything")
    tail = sum(verdict.unsigned_tail.values())
    said = f"{verdict.records:,} records give the signed roots; {tail} after the last signed head"
    if verdict.status == "undecidable":
        return Finding("warn", verdict.problems[0].message, "kiff verify --jwks FILE")
    return Finding("ok", said)


def _seen(place: Place) -> Finding:
    file = seen_path(place.database)
    return NOTHING if place.store is None else seen_finding(file, place.store)


def _operations(place: Place) -> Finding:
    if place.store is None:
        return NOTHING
    unknown = place.store.clearances(place.settings.tenant, status="unknown")
    late = [c for c in place.store.clearances(place.settings.tenant, status="open") if c.deadline < place.now]
    if unknown:
        return Finding("warn", f"nobody knows how {len(unknown)} ended", "kiff operations list, look, then settle them")
    if late:
        return Finding("warn", f"{len(late)} are past their deadline", "they become unknown when a runtime is started")
    return Finding("ok", "every one has ended, or is in time")


def _domain(place: Place) -> Finding:
    file = place.settings.domain
    if not file.is_file():
        return Finding("none", f"no {file} here")
    domain, issues = domain_issues(file)
    if domain is None or domain.activation_issues:
        wrong = sum(issue.level != "warning" for issue in issues)
        return Finding("fail", f"{file}: {wrong} things keep it from governing", f"kiff check {file}")
    active = None if place.store is None else _governing(place.store, place.settings.tenant, domain)
    if active is not None and active.digest != domain.digest:
        return Finding("warn", f"{file} is not what governs, {active.version}", f"kiff domains apply {file} --as NAME")
    if active is None and place.store is not None:
        return Finding("warn", f"{file} does not govern yet", f"kiff domains apply {file} --as NAME")
    return Finding("ok", f"{file}, {domain.version}")


def _governing(store: SqliteStore, tenant: str, domain: Domain) -> Domain | None:
    rows = [r for r in store.active_domains() if (r.tenant, r.entity_type) == (tenant, domain.entity_type)]
    return active_domains(store)[rows[0].digest] if rows else None


def _principals(place: Place) -> Finding:
    file = place.settings.principals
    if not file.is_file():
        return Finding("none", f"no {file} here", "it says who may act: --as NAME")
    known = read_principals(file)
    return Finding("ok", f"{file}, {len(known)} principals: {', '.join(known)}")


def _executors(place: Place) -> Finding:
    file = place.settings.executors
    if not file.is_file():
        return Finding("none", f"no {file} here")
    unfinished = [each.name for each in stubs(file).executors if each.unfinished]
    if unfinished:
        return Finding("warn", f"{file}: not written yet: {', '.join(unfinished)}", "kiff check says where")
    return Finding("ok", f"{file}")


QUESTIONS: dict[str, Callable[[Place], Finding]] = {
    "versions": _versions,
    "database": _database,
    "disk": _disk,
    "key": _key,
    "clock": _clock,
    "log": _log,
    "seen": _seen,
    "operations": _operations,
    "domain": _domain,
    "principals": _principals,
    "executors": _executors,
}


@click.command("doctor")
@store_place_options
@secrets_options
@output_option
def command(store: str | None, store_file: Path | None, data: Path, root_key: Path | None, output: str) -> Exit:
    """Look whether everything here is as it should be, from the settings of this folder. It changes nothing.

    With --store postgresql://… it looks at that server, as the role that the URL names. Ends with 1 when something
    fails; warnings do not fail.
    """
    place = said_place(store, store_file, data, root_key)
    with progress("looking"):
        if place.is_postgres:
            from kiff.cli.doctor_postgres import findings  # brings the driver

            found = list(findings(place))
        else:
            found = list(_findings(settings(), place.path))
    failed = any(finding.status == "fail" for _, finding in found)
    rows = [{"what": name, "status": f.status, "found": f.said, "fix": f.fix} for name, f in found]
    if output == "json":
        print_json({"kiff": SCHEMA, "ok": not failed, "findings": rows})
    elif output == "text" or (output == "auto" and sys.stdout.isatty()):
        _show(found)
    else:
        print_rows(output, "findings", ("what", "status", "found", "fix"), rows)
    return Exit.FAILED if failed else Exit.DONE


def _findings(said: Settings, database: Path) -> Iterator[tuple[str, Finding]]:
    store = _opened(database)
    try:
        looked = Place(said, database, store, SystemClock().now())
        for name, question in QUESTIONS.items():
            yield name, _answer(question, looked)
    finally:
        if store is not None:
            store.close()


def _opened(path: Path) -> SqliteStore | None:
    try:
        return SqliteStore(path, read_only=True) if path.is_file() else None
    except KiffError:
        return None  # the question about the database says why


def _answer(question: Callable[[Place], Finding], place: Place) -> Finding:
    try:
        return question(place)
    except KiffError as error:
        return Finding("fail", error.message, str(error.detail.get("hint", "")))


def _show(found: list[tuple[str, Finding]]) -> None:
    for name, finding in found:
        mark, role = _MARKS[finding.status]
        print(f"{painted(mark, role)} {name:<11} {visible(finding.said)}")
        if finding.fix:
            print(f"{'':14}{visible(finding.fix)}")
