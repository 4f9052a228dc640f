"""What every store must do with deliveries: find what has come due, keep the order of an entity, lend each once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from msgspec import structs

from kiff.runtime.ports import Append, Store
from kiff.runtime.rows import Delivery
from kiff.stores import conformance_rows as some
from kiff.stores.conformance_rows import ACME, ZEBRA

Open = Callable[[], Store]
HOOK, OTHER = "whk_1", "whk_2"
NOW, LATER, MUCH_LATER = 2_000, 9_000, 90_000


def deliveries_are_listed_in_order(fresh: Open) -> None:
    """One endpoint's, of one status or all, after a cursor, up to a limit."""
    store = _holding(fresh, some.delivery(10, HOOK), some.delivery(2, HOOK, status="dead"), some.delivery(3, OTHER))
    _put(store, some.delivery(4, HOOK, tenant=ZEBRA))
    _same("all of an endpoint", _seqs(store.deliveries(ACME, HOOK)), [2, 10])
    _same("after the first", _seqs(store.deliveries(ACME, HOOK, after=2)), [10])
    _same("one at most", _seqs(store.deliveries(ACME, HOOK, limit=1)), [2])
    _same("the dead ones", _seqs(store.deliveries(ACME, HOOK, status="dead")), [2])
    store.close()


def a_backlog_is_an_endpoint_whose_time_has_come(fresh: Open) -> None:
    """Named once each, whatever the tenant; not before its first delivery is due."""
    store = _holding(fresh, some.delivery(1, OTHER, due_at=LATER), some.delivery(2, HOOK), some.delivery(3, HOOK))
    _put(store, some.delivery(1, HOOK, tenant=ZEBRA))
    _same("before anything is due", store.backlogs(999), [])
    _same("when some are", store.backlogs(NOW), [(ACME, HOOK), (ZEBRA, HOOK)])
    _same("when all are", store.backlogs(LATER), [(ACME, HOOK), (ACME, OTHER), (ZEBRA, HOOK)])
    store.close()


def a_lease_is_nobody_elses(fresh: Open) -> None:
    """What was taken is taken until its time is up, or until it was written."""
    store = _holding(fresh, some.delivery(1, HOOK))
    [taken] = store.lease(ACME, HOOK, NOW, LATER, limit=9)
    _same("for somebody else", store.lease(ACME, HOOK, NOW, LATER, limit=9), [])
    _same("when its time is up", _seqs(store.lease(ACME, HOOK, LATER, MUCH_LATER, limit=9)), [1])
    again = store.deliveries(ACME, HOOK)[0]
    assert again.version >= taken.version, "a row went back"
    _put(store, structs.replace(again, due_at=NOW, version=again.version + 1))
    _same("when it was written", _seqs(store.lease(ACME, HOOK, NOW, LATER, limit=9)), [1])
    store.close()


def only_the_first_of_an_entity_is_lent(fresh: Open) -> None:
    """Others wait for it while it is on its way, and while it waits to be tried again; not for a dead one."""
    line = [some.delivery(seq, HOOK) for seq in (1, 2)]
    store = _holding(fresh, *line, some.delivery(3, HOOK, entity="order:other"), some.delivery(9, HOOK, entity=""))
    taken = store.lease(ACME, HOOK, NOW, LATER, limit=9)
    _same("the first of each", sorted(_seqs(taken)), [1, 3, 9])
    _same("while they are on their way", store.lease(ACME, HOOK, NOW, LATER, limit=9), [])
    [first] = (row for row in taken if row.seq == 1)
    failed = structs.replace(first, attempts=1, due_at=MUCH_LATER, version=first.version + 1)
    _put(store, failed)
    _same("while the first waits", _seqs(store.lease(ACME, HOOK, NOW, LATER, limit=9)), [])
    _put(store, structs.replace(failed, status="dead", version=failed.version + 1))
    _same("when it is dead", _seqs(store.lease(ACME, HOOK, NOW, LATER, limit=9)), [2])
    store.close()


def what_was_told_is_gone(fresh: Open) -> None:
    """Taken out in one commit; the next of its entity is the first by then. A newer one of its key stays."""
    store = _holding(fresh, some.delivery(1, HOOK), some.delivery(2, HOOK))
    [first] = store.lease(ACME, HOOK, NOW, LATER, limit=9)
    store.append(Append([], [], [], (), [], [], [first]))
    _same("the row", store.row(Delivery, ACME, first.id), None)
    _same("what a load finds", some.load(store, first), None)
    _same("the next", _seqs(store.lease(ACME, HOOK, NOW, LATER, limit=9)), [2])
    _put(store, some.delivery(1, HOOK))
    [again] = store.lease(ACME, HOOK, NOW, LATER, limit=9)
    _same("one in its place", again.seq, 1)
    newer = structs.replace(again, version=again.version + 1)
    _put(store, newer)
    store.append(Append([], [], [], (), [], [], [again]))
    _same("a newer one", store.row(Delivery, ACME, newer.id), newer)
    store.close()


def what_is_first_due_is_lent_first(fresh: Open) -> None:
    """And no more than was asked for; dead ones come when they are to be forgotten."""
    rows = [some.delivery(n, HOOK, entity=f"order:{n}", due_at=1_000 - n) for n in range(3)]
    store = _holding(fresh, *rows, some.delivery(8, HOOK, status="dead", due_at=NOW))
    _same("two at most", sorted(_seqs(store.lease(ACME, HOOK, NOW, LATER, limit=2))), [1, 2])
    _same("the others", sorted(_seqs(store.lease(ACME, HOOK, NOW, LATER, limit=9))), [0, 8])
    store.close()


def of_many_who_ask_at_once_each_gets_others(fresh: Open) -> None:
    """Every delivery is lent once, whoever asks at the same time."""
    store = _holding(fresh, *(some.delivery(n, HOOK, entity=f"order:{n}") for n in range(40)))
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(store.lease, ACME, HOOK, NOW, LATER, limit=7) for _ in range(16)]
        found = sorted(row.seq for each in asked for row in each.result())
    left = _seqs(store.lease(ACME, HOOK, NOW, LATER, limit=99))
    _same("what was lent, and what is left", sorted(found + left), list(range(40)))
    store.close()


OUTBOX_CHECKS: tuple[Callable[[Open], None], ...] = (
    deliveries_are_listed_in_order,
    a_backlog_is_an_endpoint_whose_time_has_come,
    a_lease_is_nobody_elses,
    only_the_first_of_an_entity_is_lent,
    what_was_told_is_gone,
    what_is_first_due_is_lent_first,
    of_many_who_ask_at_once_each_gets_others,
)


def _holding(fresh: Open, *rows: Delivery) -> Store:
    store = fresh()
    _put(store, *rows)
    return store


def _put(store: Store, *rows: Delivery) -> None:
    store.append(Append([], list(rows), [], (), [], []))


def _seqs(rows: list[Delivery]) -> list[int]:
    return [row.seq for row in rows]


def _same(what: str, found: object, expected: object) -> None:
    assert found == expected, f"{what}: expected {expected!r}, found {found!r}"
