"""Every store of ours against the suite that every store must pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import pytest

from kiff.errors import StoreRefused
from kiff.runtime.ports import Append, Key, Slice, Store
from kiff.stores import conformance_rows as some
from kiff.stores.conformance import (
    CHECKS,
    DURABLE_CHECKS,
    Check,
    a_peek_gives_what_a_load_gives,
    a_peek_leaves_nothing_behind,
    a_peek_sees_what_is_committed_and_nothing_else,
)
from kiff.stores.memory import MemoryStore
from kiff.stores.sqlite import SqliteStore


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_every_store_passes(store: str, check: Check, tmp_path: Path) -> None:
    number = count()
    fresh: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "sqlite": lambda: SqliteStore(tmp_path / f"{next(number)}.db"),
    }
    check(fresh[store])


@pytest.mark.parametrize("check", DURABLE_CHECKS, ids=lambda check: check.__name__)
def test_a_durable_store_keeps_what_it_was_given(check: Check, tmp_path: Path) -> None:
    check(lambda: SqliteStore(tmp_path / "kiff.db"))


class Forgetful(MemoryStore):
    """Leaves out what it does not have, where it should say that it is absent."""

    def load(self, tenants: object, keys: object) -> Slice:
        loaded = super().load(tenants, keys)  # type: ignore[arg-type]
        rows: dict[Key, object] = {key: row for key, row in loaded.rows.items() if row is not None}
        return Slice(loaded.now, loaded.heads, rows)  # type: ignore[arg-type]


class Careless(MemoryStore):
    """Takes a batch whatever the head is."""

    def append(self, batch: Append) -> None:
        self._write(batch, list(batch.receipts))


class Halfway(MemoryStore):
    """Writes first and looks afterwards."""

    def append(self, batch: Append) -> None:
        for row in batch.rows:
            self._write(Append([], [row], [], (), [], []), [])
        super().append(batch)


class Talkative(MemoryStore):
    """Answers for every tenant at once."""

    def records(self, tenant: str, **asked: object) -> list[object]:  # type: ignore[override]
        return [row for name in list(self._records) for row in super(Talkative, self).records(name, **asked)]  # type: ignore[arg-type]


@pytest.mark.parametrize("broken", [Forgetful, Careless, Halfway, Talkative])
def test_a_store_that_breaks_a_rule_fails_the_suite(broken: type[MemoryStore]) -> None:
    failed = []
    for check in CHECKS:
        try:
            check(broken)
        except (AssertionError, KeyError, StoreRefused):
            failed.append(check.__name__)
    assert failed, f"no check noticed {broken.__name__}"


class Shortsighted(MemoryStore):
    """Answers a peek with what it saw at the first one."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[Key, object] = {}

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        found = super().load(tenants, keys)
        rows = {key: self._seen.setdefault(key, row) for key, row in found.rows.items()}
        return Slice(found.now, found.heads, rows)  # type: ignore[arg-type]


class Hasty(MemoryStore):
    """Shows rows to a peek that are still on their way."""

    def __init__(self) -> None:
        super().__init__()
        self._coming: dict[Key, object] = {}

    def append(self, batch: Append) -> None:
        self._coming = {some.key(row): row for row in batch.rows}
        super().append(batch)

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        found = super().load(tenants, keys)
        rows = {key: self._coming.get(key, row) for key, row in found.rows.items()}
        return Slice(found.now, found.heads, rows)  # type: ignore[arg-type]


class Impressionable(MemoryStore):
    """Lets the writer go by what a reader looked at."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[Key, object] = {}

    def load(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        found = super().load(tenants, keys)
        rows = {key: self._kept.get(key, row) for key, row in found.rows.items()}
        return Slice(found.now, found.heads, rows)  # type: ignore[arg-type]

    def peek(self, tenants: Iterable[str], keys: Iterable[Key]) -> Slice:
        found = super().load(tenants, keys)
        self._kept |= found.rows
        return found


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Shortsighted, a_peek_gives_what_a_load_gives),
        (Hasty, a_peek_sees_what_is_committed_and_nothing_else),
        (Impressionable, a_peek_leaves_nothing_behind),
        (Shortsighted, a_peek_sees_what_is_committed_and_nothing_else),
    ],
)
def test_a_store_whose_peek_breaks_a_rule_fails_the_check_of_that_rule(broken: type[MemoryStore], check: Check) -> None:
    with pytest.raises(AssertionError):
        check(broken)


def test_a_store_that_forgets_fails_the_durable_checks() -> None:
    with pytest.raises(AssertionError):
        DURABLE_CHECKS[0](MemoryStore)
