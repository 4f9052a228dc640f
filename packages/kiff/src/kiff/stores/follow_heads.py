"""Remembers how far each log came, a second behind the commits at most and never in their way.

On a store that others write too, each log is looked at again before its new head is remembered: a server that took
over for another one may lack what was acknowledged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from msgspec import structs

from kiff.errors import StoreCorrupt, StoreError, StoreUnavailable
from kiff.runtime.clock import Ulids
from kiff.runtime.commands import AcceptRollback
from kiff.runtime.ports import Store
from kiff.runtime.rows import CommandRow, LogHead
from kiff.stores.durable_file import alone_in
from kiff.stores.seen_heads import (
    Lost,
    Memory,
    Seen,
    accepting,
    lost_logs,
    lost_of,
    read_seen,
    rolled_back,
    write_seen,
)

EVERY_SECONDS = 1.0
RESTS = 5
"""How many times as long as the last write took it rests at least: with very many logs there is much to look at."""


def open_seen(file: Path, store: Store, *, accept: Iterable[str] = ()) -> SeenHeads:
    """Compares the store with what was seen of it, and goes on remembering.

    Args:
        accept: tenants whose log may have been rolled back; that is recorded.

    Raises:
        StoreError, InvalidInput: as `accepting`; StoreUnavailable, when the file cannot be written.
    """
    memory = accepting(file, store, accept)
    return SeenHeads(file, store, memory, lost_logs(store, memory.logs))


class SeenHeads:
    """Follows the commits of one process. `open_seen` makes it.

    Args:
        lost: the logs that were rolled back, each accepted in the memory.
    """

    def __init__(self, file: Path, store: Store, memory: Memory, lost: list[Lost]) -> None:
        ids, by = Ulids(), memory.accepted
        asked = [
            AcceptRollback(each.tenant, each.seen.log, each.seen.size, each.seen.root, by[each.tenant], ids.draw())
            for each in lost
        ]
        # A process that died before it remembered, or another one beside this, may have recorded it already.
        self.rollbacks = [each for each in asked if store.row(CommandRow, each.tenant, each.id) is None]
        self._file = file
        self._store = store
        self._accepted = {each.tenant for each in lost}
        self._doubted: dict[str, Seen] = {}
        self._lost: dict[str, Lost] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        # What was accepted is remembered once it is recorded, not before: until then it is asked again. What the file
        # accepts and is not lost was another database's: it accepts nothing of this one.
        known, to_record = read_seen(file), {each.tenant for each in self.rollbacks}
        self._fresh = {
            head.tenant: head
            for head in store.heads()
            if head.tenant not in to_record
            and (head.tenant in known.accepted or not _is(known.logs.get(head.tenant), head))
        }
        self._unsigned: dict[str, LogHead] = {}
        self._keep()

    def committed(self, heads: list[LogHead]) -> None:
        with self._lock:
            for head in heads:
                before = self._fresh.get(head.tenant)
                if before is not None and before.size >= head.size:
                    self._doubted.setdefault(head.tenant, _seen(before))  # what was committed before may be gone
                self._fresh[head.tenant] = head
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="kiff-seen", daemon=True)
                self._thread.start()
        self._wake.set()

    def require(self, tenant: str) -> None:
        """
        Raises:
            StoreRolledBack: the log lost something while this process ran.
        """
        if self._lost and (lost := self._lost.get(tenant)) is not None:
            raise rolled_back([lost])

    def close(self) -> None:
        """Calling it twice is fine."""
        self._closed.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()
        self._try_to_keep()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            began = time.monotonic()
            if not self._closed.is_set():
                self._try_to_keep()
            if self._closed.wait(max(EVERY_SECONDS, RESTS * (time.monotonic() - began))):
                return

    def _try_to_keep(self) -> None:
        """Decisions do not wait for this file: that it falls behind is told, and tried again."""
        try:
            self._keep()
        except StoreError as error:
            logging.getLogger("kiff").warning("heads are not remembered: %s", error.message)

    def _keep(self) -> None:
        """
        Raises:
            StoreError: the file or the store cannot serve; what is not kept yet is kept next time.
        """
        with self._lock:
            fresh, self._fresh = self._unsigned | self._fresh, {}
        if not fresh:
            return
        try:
            with alone_in(self._file.parent):
                self._put(fresh)
        except OSError as error:
            self._put_back(fresh)
            message = f"`{self._file}` cannot be written: {error.strerror}"
            raise StoreUnavailable(message, path=str(self._file)) from error
        except BaseException:
            self._put_back(fresh)
            raise

    def _put_back(self, fresh: dict[str, LogHead]) -> None:
        with self._lock:
            self._fresh = fresh | self._fresh

    def _put(self, fresh: dict[str, LogHead]) -> None:
        """Other processes of this installation remember in the same file: the longer log counts."""
        memory = read_seen(self._file)
        whole = fresh if self._store.exclusive else self._whole(fresh, memory)
        logs, unsigned = dict(memory.logs), dict[str, LogHead]()
        for tenant, head in whole.items():
            note = self._store.checkpoint(tenant)
            text = None if note is None else note.note.decode(errors="replace")
            logs[tenant] = self._later(logs.get(tenant), _seen(head, text), tenant)
            if note is None or note.size < head.size:
                unsigned[tenant] = head  # it is signed in a moment, and looked at again with the next ones
        for tenant in fresh.keys() & self._lost.keys():
            logs[tenant] = self._later(logs.get(tenant), self._lost[tenant].seen, tenant)  # so that a start refuses it
        waiting = {tenant: by for tenant, by in memory.accepted.items() if tenant not in whole}
        kept = structs.replace(memory, logs=logs, accepted=waiting)
        if kept != memory:
            write_seen(self._file, kept)
        self._accepted -= whole.keys()
        self._unsigned = unsigned

    def _whole(self, fresh: dict[str, LogHead], memory: Memory) -> dict[str, LogHead]:
        """The logs as they stand that hold what was seen of them. What another one lost stays remembered."""
        heads = self._store.peek(fresh, ()).heads
        found: dict[str, LogHead] = {}
        for tenant, committed in fresh.items():
            if tenant in self._lost:
                continue
            known = [_seen(committed)]
            if tenant not in self._accepted:
                known += [each for seen in (self._doubted, memory.logs) if (each := seen.get(tenant)) is not None]
            missing = [lost for seen in known if (lost := self._missing(tenant, heads[tenant], seen)) is not None]
            if (head := heads[tenant]) is not None and not missing:
                found[tenant] = head
                self._doubted.pop(tenant, None)
            else:
                lost = self._lost[tenant] = max(missing, key=lambda each: each.seen.size)
                logging.getLogger("kiff").error("the log of `%s` %s: it is not written any more", tenant, lost.said)
        return found

    def _missing(self, tenant: str, head: LogHead | None, seen: Seen) -> Lost | None:
        try:
            said = lost_of(self._store, head, seen)
        except StoreCorrupt as error:
            said = f"cannot be read as its head says: {error.message}"
        return Lost(tenant, seen, 0 if head is None else head.size, said) if said else None

    def _later(self, old: Seen | None, new: Seen, tenant: str) -> Seen:
        if old is None or old.log != new.log or old.size <= new.size or tenant in self._accepted:
            return new
        return old


def _seen(head: LogHead, note: str | None = None) -> Seen:
    return Seen(head.log_id, head.size, head.root.hex(), note)


def _is(seen: Seen | None, head: LogHead) -> bool:
    return seen is not None and (seen.log, seen.size, seen.root) == (head.log_id, head.size, head.root.hex())
