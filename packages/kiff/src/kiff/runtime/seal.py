"""From changes to one commit: record bytes, leaf hashes, the new head, signed receipts, tiles, checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from msgspec import Struct, json, structs

from kiff.errors import NotFound
from kiff.ledger.checkpoint import Checkpoint, sign_checkpoint
from kiff.ledger.keys import Signer
from kiff.ledger.receipts import sign, sign_batch, signature_text
from kiff.ledger.tiles import WIDTH, completed
from kiff.ledger.tree import EMPTY, HASH_BYTES, Log, extend, leaf_hash, root
from kiff.protocol.receipt import Issuer, Receipt, receipt_core
from kiff.protocol.record import Record, record_bytes
from kiff.runtime.ports import Append, Ids, Store
from kiff.runtime.rows import CheckpointRow, LogHead, RecordRow, TileRow
from kiff.runtime.world import OpenLog, World

Signers = Callable[[str], Signer]
"""The signer of a tenant."""
Sign = Callable[[Signers, list[Receipt]], list[Receipt]]


class Tail(Struct, frozen=True):
    """Leaf hashes since a log's last full tile, as of one root."""

    root: bytes
    leaves: tuple[bytes, ...]


def sign_each(signers: Signers, receipts: list[Receipt]) -> list[Receipt]:
    """One signature a receipt: each is a standard JWS of its own."""
    return [structs.replace(r, signature=signature_text(sign(signers(r.tenant), r.core))) for r in receipts]


def sign_together(signers: Signers, receipts: list[Receipt]) -> list[Receipt]:
    """One signature a tenant over its receipts of a commit: cheaper, verified with a path beside it."""
    by_tenant: dict[str, list[Receipt]] = {}
    for receipt in receipts:
        by_tenant.setdefault(receipt.tenant, []).append(receipt)
    return [
        structs.replace(receipt, signature=signature_text(share), batch=json.encode(share.path))
        for tenant, own in by_tenant.items()
        for receipt, share in zip(own, sign_batch(signers(tenant), [each.core for each in own]), strict=True)
    ]


class Sealer:
    """Turns a stepped world into what the store appends. One per lane.

    Args:
        issuer: the name in a receipt's `issued_by`, and the host part of a log's origin.
        signing: `sign_each` or `sign_together`.
    """

    def __init__(self, store: Store, signers: Signers, issuer: str, ids: Ids, signing: Sign) -> None:
        self._store = store
        self._signers = signers
        self._issuer = issuer
        self._ids = ids
        self._signing = signing
        self._tails: dict[str, Tail] = {}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kiff-sign")

    def seal(self, world: World, checkpoints: Iterable[str] = ()) -> tuple[Append, dict[str, Exception]]:
        """The commit for everything the world took.

        Args:
            checkpoints: tenants whose new head is to be signed in the same commit.

        Returns:
            The commit, and why a head is not signed in it: no tenant waits because of another one's key.
        """
        batch = Append([], list(world.changed.values()), [], (), [], [])
        grown = [(log, *self._written(log.records)) for log in world.logs.values() if log.records]
        batch.receipts = self._signed([receipt for _, receipts, _ in grown for receipt in receipts])
        for log, _, bodies in grown:
            self._extend(batch, log, bodies)
        heads = {tenant: log.head for tenant, log in world.logs.items()} | {new.tenant: new for _, new in batch.heads}
        unsigned: dict[str, Exception] = {}
        for tenant in checkpoints:
            head = heads.get(tenant)
            try:
                if head is None:
                    raise NotFound(f"`{tenant}` has no log yet")
                batch.checkpoints.append(self.checkpoint(head))
            except Exception as error:  # noqa: BLE001  a signer may be a service of the operator's, and fail in any way
                unsigned[tenant] = error
        return batch, unsigned

    def checkpoint(self, head: LogHead) -> CheckpointRow:
        """The signed note over a head."""
        note = Checkpoint(f"{self._issuer}/log/{head.log_id}", head.size, head.root)
        return CheckpointRow(head.tenant, head.size, sign_checkpoint(note, self._signers(head.tenant)))

    def close(self) -> None:
        self._thread.shutdown()

    def _extend(self, batch: Append, log: OpenLog, bodies: list[bytes]) -> None:
        """Adds a tenant's records and new head to the commit."""
        old, tenant = log.head, log.records[0].tenant
        leaves = [leaf_hash(body) for body in bodies]
        batch.records += [
            RecordRow(tenant, record.seq, record.entity, leaf, body)
            for record, leaf, body in zip(log.records, leaves, bodies, strict=True)
        ]
        size, last = (0, EMPTY) if old is None else (old.size, _log(old))
        grown = completed(size, self._tail(old), leaves, lambda level, number: self._store.tile(tenant, level, number))
        batch.tiles += [TileRow(tenant, tile.level, tile.index, tile.data) for tile in grown.tiles]
        new = extend(last, leaves)
        log_id = self._ids.draw() if old is None else old.log_id
        head = LogHead(tenant, log_id, new.size, root(new), b"".join(new.frontier), log.at)
        batch.heads.append((old, head))
        self._tails[tenant] = Tail(head.root, grown.tail)

    def _written(self, records: list[Record]) -> tuple[list[Receipt], list[bytes]]:
        """The bytes of records, and of the receipts they bind."""
        receipts: list[Receipt] = []
        bodies: list[bytes] = []
        for record in records:
            core = None
            if record.receipt is not None:
                core = receipt_core(
                    record.receipt,
                    Issuer(self._issuer, self._signers(record.tenant).kid),
                    tenant=record.tenant,
                    entity=record.entity,
                    trace_id=record.trace_id,
                    issued_at=record.at,
                    domain_version=record.domain_version,
                    policy_version=record.policy_version,
                )
                receipts.append(Receipt(record.tenant, record.receipt.id, record.seq, core))
            bodies.append(record_bytes(record, core))
        return receipts, bodies

    def _tail(self, head: LogHead | None) -> tuple[bytes, ...]:
        """Kept from the last commit; read back when that commit did not happen, or another writer was here."""
        if head is None:
            return ()
        kept = self._tails.get(head.tenant)
        if kept is not None and kept.root == head.root:
            return kept.leaves
        start = head.size - head.size % WIDTH
        if head.size == start:
            return ()
        return tuple(self._store.leaves(head.tenant, after=start - 1, limit=head.size - start))

    def _signed(self, receipts: list[Receipt]) -> Iterator[Receipt]:
        """Signatures release the interpreter, so many are made while the rows are hashed and bound."""
        if len(receipts) < 2:
            return iter(self._signing(self._signers, receipts))
        pending = self._thread.submit(self._signing, self._signers, receipts)
        return _later(pending)


def _later(pending: Future[list[Receipt]]) -> Iterator[Receipt]:
    yield from pending.result()


def _log(head: LogHead) -> Log:
    cut = range(0, len(head.frontier), HASH_BYTES)
    return Log(head.size, tuple(head.frontier[at : at + HASH_BYTES] for at in cut))
