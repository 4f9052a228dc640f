"""The log as anybody fetches it, checked by hashing written here: RFC 6962, nothing of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from served import TENANT, Served, wait_for

from kiff.errors import NotFound
from kiff.ledger import Ed25519Signer, Opened, open_checkpoint, parse_jwks, verify_consistency, verify_inclusion
from kiff.protocol.actor import Caller, Principal
from kiff.protocol.authority import AUTHOR, Member
from kiff.runtime import Runtime
from kiff.runtime.ports import Append
from kiff.runtime.rows import LogHead, RecordRow
from kiff.server.logs import Logs, entry_tile
from kiff.server.waiting import Waiting
from kiff.stores.memory import MemoryStore

pytestmark = pytest.mark.slow

NEIGHBOUR = "neighbour"
ORDERS = 80
"""Four records each: more than one full tile."""
SIGNER = Ed25519Signer(Ed25519PrivateKey.from_private_bytes(bytes(32)))


class LongLog(Served):
    """A shop whose log fills a tile, beside a tenant whose log is short."""

    @property
    def log_id(self) -> str:
        return str(self.get("/v1/log", "owner").body["log_id"])


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongLog]:
    long = LongLog(tmp_path_factory.mktemp("data"))
    try:
        long.paid(*(f"ord_{number}" for number in range(ORDERS)))
        long.keys |= {f"{NEIGHBOUR} {name}": key for name, key in long.found(NEIGHBOUR).items()}
        yield long
    finally:
        long.close()


def head(shop: Served, log_id: str) -> tuple[int, bytes]:
    """Size and root out of the text of a fetched head."""
    told = shop.get(f"/v1/log/{log_id}/checkpoint", None)
    assert told.status == 200
    _, size, root, _ = told.raw.decode().split("\n", 3)
    return int(size), base64.b64decode(root)


def split(size: int) -> Iterator[tuple[int, str]]:
    """The tiles of a tree's lowest level: how wide, and where."""
    for start in range(0, size, 256):
        width = min(256, size - start)
        yield width, f"{start // 256:03d}" + ("" if width == 256 else f".p/{width}")


def entries(shop: Served, log_id: str, size: int, key: str = "owner") -> list[bytes]:
    """The records of a log, out of its entry tiles."""
    found: list[bytes] = []
    for width, name in split(size):
        raw = shop.get(f"/v1/log/{log_id}/tile/entries/{name}", key).raw
        before = len(found)
        while raw:
            length = int.from_bytes(raw[:2], "big")
            found.append(raw[2 : 2 + length])
            raw = raw[2 + length :]
        assert len(found) == before + width
    return found


def rfc6962(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    left = 1
    while left * 2 < len(leaves):
        left *= 2
    return hashlib.sha256(b"\x01" + rfc6962(leaves[:left]) + rfc6962(leaves[left:])).digest()


def leaf(record: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + record).digest()


# --- refusals


@pytest.mark.parametrize(
    "rest",
    [
        "/checkpoint",
        "/tile/0/000",
        "/tile/entries/000",
        "/consistency?from=1",
    ],
)
def test_a_log_that_is_not_there_is_not_found(long: LongLog, rest: str) -> None:
    told = long.get(f"/v1/log/AAAAAAAAAAAAAAAAAAAAAAAAAA{rest}", "owner")
    assert (told.status, told.body["code"]) == (404, "not_found")


def test_entries_are_for_those_who_may_read_records(long: LongLog) -> None:
    path = f"/v1/log/{long.log_id}/tile/entries/000"
    assert long.get(path, None).status == 401
    assert long.get(path, "agent").status == 403
    told = long.get(path, "reviewer")
    assert (told.status, told.headers["cache-control"]) == (200, "private, no-store")


@pytest.mark.parametrize("name", ["000", "000.p/5", "777"])
def test_entries_of_another_tenant_are_answered_like_no_log(long: LongLog, name: str) -> None:
    key = f"{NEIGHBOUR} owner"
    told = long.get(f"/v1/log/{long.log_id}/tile/entries/{name}", key)
    none = long.get(f"/v1/log/AAAAAAAAAAAAAAAAAAAAAAAAAA/tile/entries/{name}", key)
    assert told.status == none.status == 404
    assert told.body["message"].replace(long.log_id, "") == none.body["message"].replace("A" * 26, "")


@pytest.mark.parametrize(
    "name",
    [
        "0/0",
        "0/0000",
        "00/000",
        "0/x000/001",
        "0/X001/000",
        "0/000.p/0",
        "0/000.p/05",
        "0/000.p/256",
        "0/000.p/999",
        "0/000/",
        "0/-01",
        "0/../0/000",
        "10/000",
        "a/000",
        "0/001",
        "0/777",
        "0/x999/x999/x999/x999/x999/999",
        "1/000",
        "1/000.p/2",
        "9/000.p/1",
        "entries/x001",
        "",
    ],
)
def test_there_is_one_address_of_each_tile_and_none_of_others(long: LongLog, name: str) -> None:
    told = long.get(f"/v1/log/{long.log_id}/tile/{name}", "owner")
    assert (told.status, told.headers["cache-control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("", "from"),
        ("from=0", "from"),
        ("from=-1", "from"),
        ("from=9&to=5", "from"),
        ("from=1&to=100000", "to"),
        ("from=100000", "from"),
        ("from=1&to=99999999999999999999", "to"),
        ("from=1&until=2", "until"),
    ],
)
def test_a_consistency_that_cannot_be_shown_is_refused(long: LongLog, query: str, field: str) -> None:
    told = long.get(f"/v1/log/{long.log_id}/consistency?{query}", None)
    assert (told.status, told.body["field"]) == (400, field)


def test_a_record_too_long_for_a_tile_is_told_and_not_cut_off() -> None:
    store = MemoryStore()
    head = LogHead("a", "log_a", 2, bytes(32), b"", 0)
    records = [RecordRow("a", seq, None, bytes(32), bytes(0xFFFF + seq)) for seq in range(2)]
    store.append(Append([(None, head)], [], records, [], [], []))
    assert entry_tile(store, head, 0, 1) == b"\xff\xff" + bytes(0xFFFF)
    with pytest.raises(NotFound, match="longer than 65535 bytes"):
        entry_tile(store, head, 0, 2)


class Still:
    """A clock that a test moves."""

    seconds = 0.0

    def now(self) -> int:
        return 1_700_000_000_000

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def runtime(store: MemoryStore, clock: Still) -> Iterator[Runtime]:
    """A runtime whose lane signs no head by itself, because no second passes."""
    with Runtime(store, SIGNER, clock=clock) as runtime:
        yield runtime


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def grow(runtime: Runtime, tenant: str, name: str) -> None:
    """One more record."""
    founder = Caller(Principal("founder", "service"), (AUTHOR,), tenant)
    runtime.establish(founder, Member(tenant, name, "human", None, None, "auditor", True)).result()


def test_anonymous_callers_make_a_lane_sign_at_most_once_a_second(
    store: MemoryStore, runtime: Runtime, clock: Still
) -> None:
    logs = Logs(store, runtime, clock.monotonic)

    async def ask() -> list[int]:
        waiting = Waiting(asyncio.get_running_loop())
        asked = (logs.signed(logs.of("a"), waiting) for _ in range(10))
        return [note.size for note in await asyncio.gather(*asked)]

    for number in range(5):
        grow(runtime, "a", f"m{number}")
        assert asyncio.run(ask()) == [1] * 10
    clock.seconds += 1.0
    assert asyncio.run(ask()) == [5] * 10
    assert [note.size for note in store.checkpoints("a")] == [1, 5]


def test_names_that_nobody_has_are_looked_up_at_most_once_a_second(
    store: MemoryStore, runtime: Runtime, clock: Still
) -> None:
    logs = Logs(store, runtime, clock.monotonic)
    with pytest.raises(NotFound):
        logs.named("nobodys")
    grow(runtime, "a", "m")  # as another process would: this one was not told
    [log_id] = [head.log_id for head in store.heads()]
    with pytest.raises(NotFound):
        logs.named(log_id)
    clock.seconds += 1.0
    assert logs.named(log_id).tenant == "a"


def test_an_older_head_is_served_when_no_fresh_one_can_be_signed(
    store: MemoryStore, runtime: Runtime, clock: Still
) -> None:
    logs = Logs(store, runtime, clock.monotonic)

    async def ask() -> int:
        return (await logs.signed(logs.of("a"), Waiting(asyncio.get_running_loop()))).size

    grow(runtime, "a", "m1")
    assert asyncio.run(ask()) == 1
    grow(runtime, "a", "m2")
    clock.seconds += 1.0
    runtime.close()
    newest = store.checkpoint("a")
    assert newest is not None
    assert asyncio.run(ask()) == newest.size


# --- what is given


def test_the_log_of_a_tenant_is_told_to_its_keys(long: LongLog) -> None:
    told = long.get("/v1/log", "agent").body
    assert told["origin"] == f"kiff/log/{told['log_id']}"
    size, root = head(long, told["log_id"])
    assert (told["size"], told["root"]) == (size, root.hex())
    assert long.get(told["checkpoint"], None).status == 200
    assert long.get("/v1/log", f"{NEIGHBOUR} agent").body["log_id"] != told["log_id"]


def test_a_head_is_a_signed_note_that_covers_what_was_acknowledged(long: LongLog) -> None:
    keys = parse_jwks(long.get("/.well-known/jwks.json", None).raw)
    told = long.get(f"/v1/log/{long.log_id}/checkpoint", None)
    opened = open_checkpoint(told.raw, keys)
    assert isinstance(opened, Opened), opened
    assert (opened.checkpoint.origin, opened.kid) == (f"kiff/log/{long.log_id}", long.tower.keys(TENANT).kid)
    assert told.headers["content-type"] == "text/plain; charset=utf-8"
    assert told.headers["cache-control"] == "public, max-age=1"


def test_the_root_is_rebuilt_from_the_records_alone(long: LongLog) -> None:
    size, root = head(long, long.log_id)
    assert size > 256, "the log fills a tile"
    records = entries(long, long.log_id, size)
    assert rfc6962([leaf(record) for record in records]) == root
    assert [json.loads(record)["seq"] for record in records] == list(range(size))
    changed = [records[0].replace(b"tenant", b"tenanr"), *records[1:]]
    assert rfc6962([leaf(record) for record in changed]) != root


def test_the_root_is_rebuilt_from_the_hashes_by_a_stranger(long: LongLog) -> None:
    size, root = head(long, long.log_id)
    leaves: list[bytes] = []
    for width, name in split(size):
        told = long.get(f"/v1/log/{long.log_id}/tile/0/{name}", None)
        assert told.headers["content-type"] == "application/octet-stream"
        kept = "public, max-age=31536000, immutable" if width == 256 else "public, max-age=60"
        assert told.headers["cache-control"] == kept
        leaves += [told.raw[at : at + 32] for at in range(0, len(told.raw), 32)]
    assert len(leaves) == size
    assert rfc6962(leaves) == root
    upper = long.get(f"/v1/log/{long.log_id}/tile/1/000.p/1", None).raw
    assert upper == rfc6962(leaves[:256])


def test_a_full_tile_is_also_served_in_part(long: LongLog) -> None:
    whole = long.get(f"/v1/log/{long.log_id}/tile/0/000", None).raw
    part = long.get(f"/v1/log/{long.log_id}/tile/0/000.p/100", None)
    assert part.raw == whole[: 100 * 32]


@pytest.mark.parametrize("seq", [0, 100, 255, 256, 300])
def test_a_record_is_shown_to_be_under_a_fetched_head(long: LongLog, seq: int) -> None:
    size, root = head(long, long.log_id)
    inclusion = long.tower.runtime.read.inclusion(TENANT, seq, size)
    record = entries(long, long.log_id, size)[seq]
    path = [bytes.fromhex(each) for each in inclusion["hashes"]]
    assert verify_inclusion(leaf(record), seq, size, path, root)


def test_the_log_is_shown_to_have_only_grown(long: LongLog) -> None:
    size, root = head(long, long.log_id)
    long.paid("ord_later")
    wait_for(lambda: head(long, long.log_id)[0] > size)
    newer, newer_root = head(long, long.log_id)
    told = long.get(f"/v1/log/{long.log_id}/consistency?from={size}&to={newer}", None).body
    assert (told["from"], told["to"]) == (size, newer)
    path = [bytes.fromhex(each) for each in told["hashes"]]
    assert verify_consistency(size, root, newer, newer_root, path)
    assert not verify_consistency(size, bytes(32), newer, newer_root, path)


def test_a_consistency_leads_to_the_newest_head_when_no_end_is_said(long: LongLog) -> None:
    told = long.get(f"/v1/log/{long.log_id}/consistency?from=1", None).body
    records = entries(long, long.log_id, told["to"])
    old, new = leaf(records[0]), rfc6962([leaf(record) for record in records])
    assert verify_consistency(1, old, told["to"], new, [bytes.fromhex(each) for each in told["hashes"]])


def test_a_stranger_checks_the_log_of_another_tenant_by_its_name(long: LongLog) -> None:
    key = f"{NEIGHBOUR} owner"
    log_id = long.get("/v1/log", key).body["log_id"]
    size, root = head(long, log_id)
    assert rfc6962([leaf(record) for record in entries(long, log_id, size, key)]) == root
    assert long.get(f"/v1/log/{log_id}/consistency?from=1&to={size}", None).status == 200
    assert long.get(f"/v1/log/{log_id}/tile/0/000.p/{size}", None).status == 200
