"""What every store must do, as functions that need no test framework.

    for check in CHECKS:
        check(lambda: MyStore(...))             # a fresh, empty store each time it is called
    for check in DURABLE_CHECKS:
        check(lambda: MyStore(one_place))       # the same place each time; empty at the first call

A check raises AssertionError with what was expected and what was found. It writes rows that no runtime
would, such as roots that are the root of nothing: a store keeps, it does not understand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from msgspec import json, structs

from kiff.errors import StoreConflict, StoreError, StoreRefused
from kiff.protocol.receipt import Receipt
from kiff.protocol.state import EntityState
from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import (
    ActiveDomain,
    Blob,
    CheckpointRow,
    DomainVersion,
    LogHead,
    NoteRow,
    Row,
    SealedKey,
    TileRow,
)
from kiff.stores import conformance_rows as some

Open = Callable[[], Store]
Check = Callable[[Open], None]

ACME, ZEBRA, ORDER = some.ACME, some.ZEBRA, some.ORDER


def absent_is_a_loaded_none(fresh: Open) -> None:
    """A key that was asked for is answered, with None when there is no such row."""
    store = fresh()
    keys = [some.key(row) for row in some.rows(ACME)]
    loaded = store.load([ACME], keys)
    _same("heads of a tenant that never wrote", loaded.heads, {ACME: None})
    _same("rows of a tenant that never wrote", loaded.rows, dict.fromkeys(keys))
    _same("what an empty slice holds", store.load([], []).rows, {})
    store.close()


def rows_come_back_as_they_were_written(fresh: Open) -> None:
    """Every field of every kind of row, and its type: true is not 1, empty bytes are not None."""
    store = fresh()
    rows = some.rows(ACME)
    some.write(store, ACME, rows=rows)
    loaded = store.load([ACME], [some.key(row) for row in rows]).rows
    for row in rows:
        _same(f"the {type(row).__name__} that was written", loaded[some.key(row)], row)
        _same(f"the types in {type(row).__name__}", json.encode(loaded[some.key(row)]), json.encode(row))
    store.close()


def rows_are_replaced_whole(fresh: Open) -> None:
    """What the new value leaves empty is empty; the row with another key is not touched."""
    store = fresh()
    full, other = some.approval("appr_1", status="granted", use_by=9, reviewed_by="eve"), some.approval("appr_2")
    bare = structs.replace(full, status="expired", use_by=None, reviewed_by=None, due_at=None)
    some.write(store, ACME, rows=[full, other])
    some.write(store, ACME, rows=[bare])
    _same("the row after it was replaced", some.load(store, bare), bare)
    _same("the row beside it", some.load(store, other), other)
    store.close()


def a_stale_head_writes_nothing(fresh: Open) -> None:
    """The compare-and-set comes first: another root, size, log or absence than what is there refuses."""
    store = fresh()
    now = some.write(store, ACME)
    stale: list[LogHead | None] = [
        None,
        structs.replace(now, size=now.size + 1),
        structs.replace(now, root=b"\x09" * 32),
        structs.replace(now, log_id="another"),
    ]
    for old in stale:
        attempt = some.batch(ACME, old, rows=some.rows(ACME), records=[some.record(ACME, 1)], at=now.size + 1)
        _refused(StoreConflict, store, attempt)
    _same("the head after stale appends", store.load([ACME], []).heads[ACME], now)
    _same("the records after stale appends", [r.seq for r in store.records(ACME)], [0])
    _same("a row after stale appends", some.load(store, some.rows(ACME)[0]), None)
    store.close()


def the_first_head_is_compared_too(fresh: Open) -> None:
    """Two writers that both found no log: the second one is refused."""
    store = fresh()
    first = some.write(store, ACME)
    _refused(StoreConflict, store, some.batch(ACME, None, records=[some.record(ACME, 0)], log_id="another"))
    _same("the head that was there first", store.heads(), [first])
    store.close()


def one_stale_tenant_refuses_the_batch(fresh: Open) -> None:
    """A batch of several tenants is one commit."""
    store = fresh()
    some.write(store, ZEBRA)
    attempt = some.batch(ACME, None, records=[some.record(ACME, 0)], rows=some.rows(ACME))
    attempt.heads.append((None, some.head(ZEBRA, 1)))
    _refused(StoreConflict, store, attempt)
    _same("tenants after the refused batch", [head.tenant for head in store.heads()], [ZEBRA])
    _same("rows after the refused batch", some.load(store, some.rows(ACME)[0]), None)
    store.close()


def a_record_has_its_place_once(fresh: Open) -> None:
    """The same seq again is refused, with everything that came in its batch."""
    store = fresh()
    now = some.write(store, ACME)
    _refused(StoreRefused, store, some.batch(ACME, now, records=[some.record(ACME, 0)], rows=some.rows(ACME)))
    _nothing_but(store, now)


def a_receipt_is_written_once(fresh: Open) -> None:
    """The same receipt id again is refused, with everything that came in its batch."""
    store = fresh()
    now = some.write(store, ACME, receipts=[some.receipt(ACME, "rcpt_1", 0)])
    attempt = some.batch(
        ACME, now, records=[some.record(ACME, 1)], rows=some.rows(ACME), receipts=[some.receipt(ACME, "rcpt_1", 1)]
    )
    _refused(StoreRefused, store, attempt)
    _nothing_but(store, now)


def a_failure_on_the_way_writes_nothing(fresh: Open) -> None:
    """Receipts may be signed while rows are bound; when that fails, nothing of the batch is there."""

    def signing() -> Iterator[Receipt]:
        yield some.receipt(ACME, "rcpt_1", 1)
        raise _SigningFailed

    store = fresh()
    now = some.write(store, ACME)
    attempt = some.batch(ACME, now, records=[some.record(ACME, 1)], rows=some.rows(ACME), receipts=signing())
    try:
        store.append(attempt)
    except _SigningFailed:
        _nothing_but(store, now)
        return
    raise AssertionError("the failure of a lazy receipt did not come out of append")


def what_a_digest_names_never_changes(fresh: Open) -> None:
    """A blob or a checkpoint that is written again leaves the first one as it was."""
    store = fresh()
    blob, note = Blob(ACME, "sha256:1", b"first"), CheckpointRow(ACME, 1, b"first")
    some.write(store, ACME, rows=[blob], checkpoints=[note])
    again = [structs.replace(note, note=b"second")]
    some.write(store, ACME, rows=[structs.replace(blob, data=b"second")], checkpoints=again)
    _same("the blob", some.load(store, blob), blob)
    _same("the checkpoint", store.checkpoint(ACME), note)
    store.close()


def a_published_version_never_changes(fresh: Open) -> None:
    """Its name cannot come to mean other content, whatever a step may try."""
    store = fresh()
    published = DomainVersion(ACME, "refunds-v1", "refunds", "sha256:1", b"{}")
    now = some.write(store, ACME, rows=[published])
    other = structs.replace(published, digest="sha256:2", content=b"[]")
    with suppress(StoreRefused):  # to refuse, or to leave it out: both keep the promise
        store.append(some.batch(ACME, now, records=[some.record(ACME, 1)], rows=[other]))
    _same("the published version", some.load(store, published), published)
    store.close()


def a_sealed_key_never_becomes_another(fresh: Open) -> None:
    """Of two that are put in one place the first stays; the same one may be sealed again."""
    store = fresh()
    first = SealedKey(ACME, "signing", b"\x01" * 32, b"first")
    other = structs.replace(first, public=b"\x02" * 32, sealed=b"other")
    again = structs.replace(first, sealed=b"again")
    for written, kept in ((first, first), (other, first), (again, again)):
        store.append(Append([], [written], [], (), [], []))
        _same(f"the key after {written.sealed!r} was written", store.row(SealedKey, ACME, "signing"), kept)
        _same("what a load finds", some.load(store, kept), kept)
    _same("tenants: a key alone makes none", store.tenants(), [])
    store.close()


def records_are_read_in_order(fresh: Open) -> None:
    """All of them or one entity's, after a cursor, up to a limit."""
    store = fresh()
    entities = [ORDER, "order:ord_2", None, ORDER, ORDER]
    some.write(store, ACME, records=[some.record(ACME, seq, entity) for seq, entity in enumerate(entities)])

    def read(**asked: Any) -> list[int]:
        return [row.seq for row in store.records(ACME, **asked)]

    _same("all records", read(), [0, 1, 2, 3, 4])
    _same("records after 2", read(after=2), [3, 4])
    _same("two records after 0", read(after=0, limit=2), [1, 2])
    _same("records after the last", read(after=4), [])
    _same("records of one entity", read(entity=ORDER), [0, 3, 4])
    _same("one record of one entity after 0", read(entity=ORDER, after=0, limit=1), [3])
    _same("records of no entity", read(entity=""), [2])
    _same("records of an entity nobody knows", read(entity="order:nobody"), [])
    leaves = [row.leaf for row in store.records(ACME)]
    _same("leaves after 1", store.leaves(ACME, after=1), leaves[2:])
    _same("two leaves", store.leaves(ACME, limit=2), leaves[:2])
    store.close()


def a_log_is_unsigned_until_a_note_covers_its_last_record(fresh: Open) -> None:
    """Of every tenant, in order; an older note does not count."""
    store = fresh()
    _same("without a log", store.unsigned(), [])
    some.write(store, ZEBRA)
    some.write(store, ACME, checkpoints=[CheckpointRow(ACME, 1, b"note")])
    _same("one log is signed", store.unsigned(), [ZEBRA])
    some.write(store, ACME)
    _same("after it grew", store.unsigned(), [ACME, ZEBRA])
    store.close()


def receipts_are_found_and_read_in_order(fresh: Open) -> None:
    """By id, or in the order of their decisions, after a cursor, up to a limit."""
    store = fresh()
    written = [some.receipt(ACME, name, seq) for seq, name in enumerate(["rcpt_z", "rcpt_m", "rcpt_a"])]
    some.write(store, ACME, records=[some.record(ACME, seq) for seq in range(3)], receipts=written)
    _same("a receipt", store.receipt(ACME, "rcpt_m"), written[1])
    _same("a receipt nobody wrote", store.receipt(ACME, "rcpt_q"), None)
    _same("all receipts", store.receipts(ACME), written)
    _same("one receipt after seq 0", store.receipts(ACME, after=0, limit=1), [written[1]])
    store.close()


def entities_are_read_in_order(fresh: Open) -> None:
    """By reference, compared as bytes, after a cursor, up to a limit."""
    store = fresh()
    names = ["order:b", "order:a", "order:B", "parcel:a"]
    some.write(store, ACME, rows=[EntityState(ACME, name, "refunds", "PAID", 1) for name in names])

    def read(**asked: Any) -> list[str]:
        return [row.entity for row in store.entities(ACME, **asked)]

    _same("all entities", read(), sorted(names))
    _same("two entities after `order:B`", read(after="order:B", limit=2), ["order:a", "order:b"])
    store.close()


def approvals_are_read_oldest_first(fresh: Open) -> None:
    """Of every status or of one, up to a limit; those opened together, by id."""
    store = fresh()
    new, old = (
        some.approval("appr_1", opened_at=20),
        some.approval("appr_2", opened_at=10, status="expired", due_at=None),
    )
    same = some.approval("appr_0", opened_at=20)
    some.write(store, ACME, rows=[new, old, same])
    _same("all approvals", store.approvals(ACME), [old, same, new])
    _same("pending approvals", store.approvals(ACME, status="pending"), [same, new])
    _same("the first pending approval", store.approvals(ACME, status="pending", limit=1), [same])
    _same("denied approvals", store.approvals(ACME, status="denied"), [])
    store.close()


def clearances_are_read_oldest_first(fresh: Open) -> None:
    """Of every status or of one, up to a limit; and every one in flight, whoever owns it."""
    store = fresh()
    new, old = some.clearance("clr_1", cleared_at=20), some.clearance("clr_2", cleared_at=10, status="unknown")
    ended = some.clearance("clr_3", cleared_at=15, status="succeeded", due_at=None)
    some.write(store, ACME, rows=[new, old, ended])
    foreign = some.clearance("clr_4", tenant=ZEBRA, owner="another")
    some.write(store, ZEBRA, rows=[foreign])
    _same("all clearances", store.clearances(ACME), [old, ended, new])
    _same("unknown clearances", store.clearances(ACME, status="unknown"), [old])
    _same("the oldest clearance", store.clearances(ACME, limit=1), [old])
    _same("clearances in flight", sorted(row.id for row in store.open_clearances()), ["clr_1", "clr_4"])
    _same("how many of them with a limit of one", len(store.open_clearances(1)), 1)
    store.close()


def due_rows_are_those_whose_time_has_come(fresh: Open) -> None:
    """Of all tenants; what has ended is not due; a sweep that is cut short begins with what is oldest."""
    store = fresh()
    late, now = some.clearance("clr_1", due_at=10), some.approval("appr_1", due_at=20)
    early, ended = some.clearance("clr_2", entity="order:ord_2", due_at=21), some.approval("appr_2", due_at=None)
    timer, stopped = some.timer("order:ord_3/0", due_at=15), some.timer("order:ord_3/1", due_at=None)
    foreign = some.approval("appr_3", tenant=ZEBRA, due_at=5)
    some.write(store, ACME, rows=[now, late, early, ended, timer, stopped])
    some.write(store, ZEBRA, rows=[foreign])
    due = ["appr_1", "appr_3", "clr_1", "order:ord_3/0"]
    _same("what is due at 20", sorted(row.id for row in store.due(20)), due)
    _same("what is due at 4", store.due(4), [])
    cut = {row.id for row in store.due(30, limit=2)}
    _same("whether a sweep of two includes the two oldest", {"appr_3", "clr_1"} <= cut, True)
    _same("whether a sweep of two is at most two of each kind", len(cut) <= 6, True)
    store.close()


def domains_are_listed_for_all_tenants(fresh: Open) -> None:
    """The active pointers and the published versions, as they stand."""
    store = fresh()
    first = ActiveDomain(ACME, "order", "refunds", "refunds-v1", "sha256:1")
    second = structs.replace(first, version="refunds-v2", digest="sha256:2")
    foreign = ActiveDomain(ZEBRA, "order", "refunds", "refunds-v1", "sha256:1")
    version = DomainVersion(ACME, "refunds-v1", "refunds", "sha256:1", b"{}")
    some.write(store, ACME, rows=[first, version])
    some.write(store, ACME, rows=[second])
    some.write(store, ZEBRA, rows=[foreign])
    _same("active domains", sorted(store.active_domains(), key=lambda row: row.tenant), [second, foreign])
    _same("published versions", store.domain_versions(), [version])
    store.close()


def tiles_grow_and_checkpoints_add_up(fresh: Open) -> None:
    """An upper tile is replaced as it fills; a checkpoint is found by size, and the newest without one."""
    store = fresh()
    notes = [CheckpointRow(ACME, size, b"note %d" % size) for size in (1, 2, 10)]
    _same("the newest checkpoint of nothing", store.checkpoint(ACME), None)
    some.write(store, ACME, tiles=[TileRow(ACME, 1, 0, b"\x01" * 32)], checkpoints=notes[:1])
    some.write(store, ACME, tiles=[TileRow(ACME, 1, 0, b"\x02" * 64)], checkpoints=notes[1:])
    _same("the tile", store.tile(ACME, 1, 0), b"\x02" * 64)
    _same("a tile that is not there", store.tile(ACME, 0, 0), None)
    _same("the newest checkpoint", store.checkpoint(ACME), notes[2])
    _same("the checkpoint at 2", store.checkpoint(ACME, size=2), notes[1])
    _same("the checkpoint at 3", store.checkpoint(ACME, size=3), None)
    _same("all checkpoints", store.checkpoints(ACME), notes)
    _same("one checkpoint after 1", store.checkpoints(ACME, after=1, limit=1), [notes[1]])
    store.close()


def tenants_never_see_each_other(fresh: Open) -> None:
    """Everything that asks for a tenant answers for that tenant, whatever ids the two have in common."""
    store = fresh()
    evidence: dict[str, Any] = {
        "receipts": [some.receipt(ACME, "rcpt_1", 0)],
        "tiles": [TileRow(ACME, 0, 0, b"\0" * 32)],
    }
    some.write(store, ACME, rows=some.rows(ACME), checkpoints=[CheckpointRow(ACME, 1, b"note")], **evidence)
    keys = [some.key(row) for row in some.rows(ZEBRA)]
    loaded = store.load([ZEBRA], keys)
    _same("another tenant's head", loaded.heads, {ZEBRA: None})
    _same("another tenant's rows", loaded.rows, dict.fromkeys(keys))
    queries = (store.records, store.receipts, store.entities, store.approvals, store.clearances, store.checkpoints)
    for query in queries:
        _same(f"another tenant's {query.__name__}", query(ZEBRA), [])
    found = [store.receipt(ZEBRA, "rcpt_1"), store.tile(ZEBRA, 0, 0), store.checkpoint(ZEBRA)]
    _same("another tenant's receipt, tile and checkpoint", found, [None, None, None])
    some.write(store, ZEBRA, rows=some.rows(ZEBRA))
    _same("this tenant's row after the other wrote", some.load(store, some.rows(ACME)[0]), some.rows(ACME)[0])
    store.close()


def notes_alone_make_no_tenant(fresh: Open) -> None:
    """They stand beside a log, so a name that has nothing else is nothing that an auditor looks for a log of."""
    store = fresh()
    note = NoteRow(ZEBRA, "device:0000", b"{}", 1, 1, 1)
    store.append(Append([], [note], [], (), [], []))
    some.write(store, ACME)
    _same("the note", store.row(NoteRow, ZEBRA, "device:0000"), note)
    _same("tenants", store.tenants(), [ACME])
    store.close()


def readers_see_whole_commits(fresh: Open) -> None:
    """While one thread appends three records at a time, others read: never part of a commit, never less than before."""
    store = fresh()
    stop = threading.Event()

    def read() -> None:
        seen = 0
        while not stop.is_set():
            seqs = [row.seq for row in store.records(ACME)]
            whole = seqs == list(range(len(seqs))) and len(seqs) % 3 == 0 and len(seqs) >= seen
            _same(f"whether {seqs} after {seen} records is whole", whole, True)
            seen = len(seqs)

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        try:
            for start in range(0, 120, 3):
                some.write(store, ACME, records=[some.record(ACME, start + more) for more in range(3)])
        finally:
            stop.set()
    for reader in readers:
        reader.result()
    store.close()


def a_peek_gives_what_a_load_gives(fresh: Open) -> None:
    """The same heads and the same rows, absent ones as None, before and after each of them changed."""
    store = fresh()
    rows = some.rows(ACME)
    keys = [*map(some.key, rows), *map(some.key, some.rows(ZEBRA))]

    def compare(when: str) -> None:
        peeked, loaded = store.peek([ACME, ZEBRA], keys), store.load([ACME, ZEBRA], keys)
        _same(f"heads that were peeked at {when}", peeked.heads, loaded.heads)
        _same(f"rows that were peeked at {when}", peeked.rows, loaded.rows)

    compare("before anything was written")
    some.write(store, ACME, rows=rows)
    compare("after a commit")
    moved: list[Row] = [EntityState(ACME, ORDER, "refunds", "REFUNDED", 3), some.clearance("clr_9", status="unknown")]
    some.write(store, ACME, rows=moved)
    compare("after a second one")
    peeked = store.peek([], map(some.key, moved)).rows
    _same("rows that were peeked at last", list(peeked.values()), moved)
    store.close()


def a_peek_sees_what_is_committed_and_nothing_else(fresh: Open) -> None:
    """Also while the writer is in the middle of a commit, and after one that failed on the way."""
    store = fresh()
    before = EntityState(ACME, ORDER, "refunds", "PAID", 1)
    now = some.write(store, ACME, rows=[before])
    new = EntityState(ACME, "order:ord_2", "refunds", "CREATED", 1)
    keys = [some.key(before), some.key(new)]
    seen: list[Any] = []

    def peek() -> None:
        peeked = store.peek([ACME], keys)
        seen.append((peeked.heads[ACME], list(peeked.rows.values())))

    def signing(*, fails: bool) -> Iterator[Receipt]:
        """Receipts are drawn while the rows are on their way: that is when another thread looks."""
        with ThreadPoolExecutor(1) as pool:
            pool.submit(peek).result()
        if fails:
            raise _SigningFailed
        yield from ()

    after = structs.replace(before, state="REFUNDED", version=2)
    for fails in (True, False):
        attempt = some.batch(
            ACME, now, records=[some.record(ACME, 1)], rows=[after, new], receipts=signing(fails=fails)
        )
        with suppress(_SigningFailed):
            store.append(attempt)
        peek()
    _same(
        "what was peeked at while a commit was on its way, and after it failed", seen[:3], [(now, [before, None])] * 3
    )
    _same("what was peeked at after the commit", seen[3], (attempt.heads[0][1], [after, new]))
    store.close()


def a_peek_leaves_nothing_behind(fresh: Open) -> None:
    """What a reader looked at is not what the writer goes by."""
    store = fresh()
    first, second = (EntityState(ACME, ORDER, "refunds", state, version) for version, state in enumerate("AB", 1))
    keys = [some.key(first)]
    _same("the row before it is there", store.peek([ACME], keys).rows, {keys[0]: None})
    some.write(store, ACME, rows=[first])
    _same("the row that the writer loads", some.load(store, first), first)
    store.peek([ACME], keys)
    some.write(store, ACME, rows=[second])
    _same("the row that the writer loads after the next commit", some.load(store, first), second)
    store.close()


def peeks_beside_a_writer_never_go_back(fresh: Open) -> None:
    """While one thread commits version after version, others peek: never an older version than they saw before."""
    store = fresh()
    stop = threading.Event()
    versions = [EntityState(ACME, ORDER, "refunds", "PAID", version) for version in range(1, 80)]
    key = some.key(versions[0])

    def look() -> None:
        seen = 0
        while not stop.is_set():
            row = store.peek([ACME], [key]).rows[key]
            version = row.version if isinstance(row, EntityState) else 0
            _same(f"whether version {version} after {seen} goes forward", version >= seen, True)
            seen = version

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(look) for _ in range(3)]
        try:
            for row in versions:
                some.write(store, ACME, rows=[row])
        finally:
            stop.set()
    for reader in readers:
        reader.result()
    store.close()


CHECKS: tuple[Check, ...] = (
    absent_is_a_loaded_none,
    rows_come_back_as_they_were_written,
    rows_are_replaced_whole,
    a_stale_head_writes_nothing,
    the_first_head_is_compared_too,
    one_stale_tenant_refuses_the_batch,
    a_record_has_its_place_once,
    a_receipt_is_written_once,
    a_failure_on_the_way_writes_nothing,
    what_a_digest_names_never_changes,
    a_published_version_never_changes,
    a_sealed_key_never_becomes_another,
    records_are_read_in_order,
    a_log_is_unsigned_until_a_note_covers_its_last_record,
    receipts_are_found_and_read_in_order,
    entities_are_read_in_order,
    approvals_are_read_oldest_first,
    clearances_are_read_oldest_first,
    due_rows_are_those_whose_time_has_come,
    domains_are_listed_for_all_tenants,
    tiles_grow_and_checkpoints_add_up,
    tenants_never_see_each_other,
    notes_alone_make_no_tenant,
    readers_see_whole_commits,
    a_peek_gives_what_a_load_gives,
    a_peek_sees_what_is_committed_and_nothing_else,
    a_peek_leaves_nothing_behind,
    peeks_beside_a_writer_never_go_back,
)
"""For every store. Each takes a function that makes a fresh, empty one."""


def what_was_appended_is_there_after_reopening(place: Open) -> None:
    """Head, rows, records and evidence, all of it."""
    store = place()
    kept, tile, note = some.receipt(ACME, "rcpt_1", 0), TileRow(ACME, 0, 0, b"\x01" * 32), CheckpointRow(ACME, 1, b"n")
    now = some.write(store, ACME, rows=some.rows(ACME), receipts=[kept], tiles=[tile], checkpoints=[note])
    records = store.records(ACME)
    store.close()
    again = place()
    _same("the head after reopening", again.heads(), [now])
    _same("the records after reopening", again.records(ACME), records)
    for row in some.rows(ACME):
        _same(f"the {type(row).__name__} after reopening", some.load(again, row), row)
    found = [again.receipts(ACME), again.tile(ACME, 0, 0), again.checkpoints(ACME)]
    _same("the evidence after reopening", found, [[kept], tile.hashes, [note]])
    again.close()


def a_reopened_store_compares_the_same_head(place: Open) -> None:
    """What was loaded before the store was closed is still the head to compare with; what was stale still is."""
    store = place()
    first = some.write(store, ACME)
    second = some.write(store, ACME)
    store.close()
    again = place()
    _refused(StoreConflict, again, some.batch(ACME, first, records=[some.record(ACME, 2)]))
    again.append(some.batch(ACME, second, records=[some.record(ACME, 2)]))
    _same("the records after reopening", [row.seq for row in again.records(ACME)], [0, 1, 2])
    again.close()


def closing_twice_is_fine(place: Open) -> None:
    store = place()
    store.close()
    store.close()


DURABLE_CHECKS: tuple[Check, ...] = (
    what_was_appended_is_there_after_reopening,
    a_reopened_store_compares_the_same_head,
    closing_twice_is_fine,
)
"""For stores that outlive their process. Each takes a function that opens the same place every time."""


class _SigningFailed(Exception):
    pass


def _same(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


def _refused(error: type[StoreError], store: Store, attempt: Append) -> None:
    try:
        store.append(attempt)
    except error:
        return
    raise AssertionError(f"expected append to raise {error.__name__}, and it took the batch")


def _nothing_but(store: Store, head: LogHead) -> None:
    """The store holds the one record under this head, and none of the sample rows."""
    _same("the head after the refused batch", store.heads(), [head])
    _same("the records after the refused batch", [row.seq for row in store.records(ACME)], [0])
    keys = [some.key(row) for row in some.rows(ACME)]
    _same("the rows after the refused batch", store.load([], keys).rows, dict.fromkeys(keys))
    store.close()
