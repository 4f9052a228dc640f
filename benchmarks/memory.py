"""python -m benchmarks.memory deciding|verifying DATABASE [ORDER...]: the most memory this process had, in bytes."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.subject import AGENT, PARAMETERS, domain, from_threads, issue_refund
from kiff import Runtime
from kiff.analysis import verify_leaves
from kiff.ledger import Ed25519Signer, PublicKeys
from kiff.stores.keyfile import load_or_create
from kiff.stores.sqlite import SqliteStore

STATUS = Path("/proc/self/status")


def deciding(path: Path, orders: list[str]) -> None:
    executors = {"refund.issue_refund": issue_refund}
    with Runtime(SqliteStore(path), _signer(path), domains=[domain()], executors=executors) as runtime:

        def call(number: int) -> None:
            entity = f"order:{orders[number]}"
            runtime.execute(AGENT, entity=entity, action="AUTO_REFUND", parameters=PARAMETERS).result()

        from_threads(64, len(orders), call)


def verifying(path: Path, orders: list[str]) -> None:
    store = SqliteStore(path, read_only=True)
    verify_leaves(store, PublicKeys([_signer(path).public]))
    store.close()


def _signer(path: Path) -> Ed25519Signer:
    return load_or_create(path.with_name("key.pem"))


def most_bytes() -> int:
    """Of this program alone: what getrusage tells on Linux begins with what the parent had."""
    if STATUS.is_file():
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


WHAT: dict[str, Callable[[Path, list[str]], None]] = {"deciding": deciding, "verifying": verifying}

if __name__ == "__main__":
    what, path, *orders = sys.argv[1:]
    WHAT[what](Path(path), orders)
    print(most_bytes())
