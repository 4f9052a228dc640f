"""What is open between two events: a hook is a new process each time, and only this folder remembers.

One small file for each call that was let go and is not settled, and one for each that waits for a person. There are
digests and ids in them, and no argument of any call.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from typing import Any

from kiff_guard.errors import LedgerError

OPEN_SECONDS = 3600.0
"""A call that nobody settled by then is told as unknown."""
HELD_SECONDS = 7 * 86_400.0
SWEEP_SECONDS = 60.0
FILES_LIMIT = 5_000
BYTES_LIMIT = 16_384
TRIES = 5
SWEEP_LIMIT = 50
"""How much one process tidies up: the agent waits for it."""

_HELD, _SWEPT = "held", "swept"


class Gone(LedgerError):
    """The folder is not there."""


class Kept:
    """The folder of one agent's session.

    Args:
        folder: the state folder of all of them; made, and open to nobody else.
        session: the dialect's name and the agent's own session id.

    Raises:
        LedgerError: the folder cannot be made, or others may write into it.
    """

    def __init__(self, folder: str, *session: str) -> None:
        self.folder = folder
        _private(folder)
        self._session = os.path.join(folder, _name("session", *session))

    def put(self, call: tuple[str, ...], receipt_id: str, told: dict[str, Any]) -> None:
        """Remembers a call that was let go.

        Args:
            call: what it is known by when it ends. Two calls that look alike are told apart by their receipts.

        Raises:
            LedgerError: it cannot be written.
        """
        path = os.path.join(self._session, f"{_name(*call)}-{time.time_ns():020d}-{receipt_id[-12:]}")
        for _ in range(TRIES):
            _private(self._session)
            try:
                _write(path, told)
            except Gone:  # another hook found the folder empty, and took it away
                continue
            return
        raise LedgerError(f"the state folder {self._session} is taken away again and again")

    def take(self, call: tuple[str, ...]) -> dict[str, Any] | None:
        """The oldest open call that is known by this, and nobody else's from now on; None if there is none."""
        prefix = f"{_name(*call)}-"
        for name in sorted(_listed(self._session)):
            if name.startswith(prefix):
                told = _claimed(os.path.join(self._session, name))
                if told is not None:
                    return told
        return None

    def rest(self) -> Iterator[dict[str, Any]]:
        """Every call of the session that is still open, and nobody else's from now on."""
        for name in sorted(_listed(self._session)):
            told = _claimed(os.path.join(self._session, name))
            if told is not None:
                yield told
        with suppress(OSError):
            os.rmdir(self._session)

    def hold(self, call: tuple[str, ...], approval_id: str) -> None:
        """Remembers which approval a call waits for."""
        folder = os.path.join(self.folder, _HELD)
        _private(folder)
        _write(os.path.join(folder, _name(*call)), {"approval_id": approval_id})

    def held(self, call: tuple[str, ...]) -> str:
        """The approval that the call waits for; "" if none."""
        told = _read(os.path.join(self.folder, _HELD, _name(*call))) or {}
        approval_id = told.get("approval_id", "")
        return approval_id if isinstance(approval_id, str) else ""

    def forget(self, call: tuple[str, ...]) -> None:
        """The call waits no more."""
        with suppress(OSError):
            os.unlink(os.path.join(self.folder, _HELD, _name(*call)))

    def stale(self, now: float) -> Iterator[dict[str, Any]]:
        """Calls of any session that nobody will settle any more; some of them, once a minute, oldest first.

        When there are too many files, the oldest go early: as unknown, as they would have gone later.
        """
        marker = os.path.join(self.folder, _SWEPT)
        if 0 <= now - _touched(marker) < SWEEP_SECONDS:  # a clock that went back sweeps at once, and not after years
            return
        with suppress(OSError):
            os.close(os.open(marker, os.O_WRONLY | os.O_CREAT, 0o600))
            os.utime(marker, (now, now))
        _forget_old(os.path.join(self.folder, _HELD), now - HELD_SECONDS)
        found = sorted((_touched(path), path) for path in self._all())
        spare = max(0, len(found) - FILES_LIMIT)
        for number, (touched, path) in enumerate(found[:SWEEP_LIMIT]):
            if number >= spare and touched > now - OPEN_SECONDS:
                break
            told = _claimed(path)
            if told is not None:
                yield told

    def _all(self) -> Iterator[str]:
        for session in _listed(self.folder):
            folder = os.path.join(self.folder, session)
            if session in (_HELD, _SWEPT):
                continue
            names = _listed(folder)
            yield from (os.path.join(folder, name) for name in names)
            if not names:
                with suppress(OSError):
                    os.rmdir(folder)


def _name(*parts: str) -> str:
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _private(folder: str) -> None:
    """
    Raises:
        LedgerError: the folder cannot be made, or others may write into it.
    """
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        found = os.lstat(folder)
    except OSError as error:
        raise LedgerError(f"the state folder {folder} cannot be made: {error}") from error
    foreign = os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & 0o022)
    if foreign or not stat.S_ISDIR(found.st_mode):
        message = "must be a folder of yours that nobody else may write"
        raise LedgerError(f"the state folder {folder} {message}; run `chmod 0700 {folder}`")


def _write(path: str, told: dict[str, Any]) -> None:
    """All of it or nothing.

    Raises:
        Gone: its folder is not there. LedgerError: it cannot be written.
    """
    raw = json.dumps(told).encode()
    if len(raw) > BYTES_LIMIT:
        raise LedgerError(f"what is to be remembered of a call has {len(raw)} bytes, and {BYTES_LIMIT} is the most")
    half = f"{path}.{os.getpid()}.half"
    try:
        file = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            left = memoryview(raw)
            while left:  # a disk that is almost full takes some of it
                left = left[os.write(file, left) :]
        finally:
            os.close(file)
        os.replace(half, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(half)
        kind = Gone if isinstance(error, FileNotFoundError) else LedgerError
        raise kind(f"the state file {path} cannot be written: {error}") from error


def _claimed(path: str) -> dict[str, Any] | None:
    """What a file says, to the one who takes it; None to everybody else. Half-written files are only cleared away.

    Whoever removes it has taken it. Until then another process may take it out of this one's hands: the files of one
    that died have to be taken too.
    """
    mine = f"{path}.{os.getpid()}.taken"
    try:
        os.rename(path, mine)
        told = None if ".half" in path else _read(mine)
        os.unlink(mine)
    except OSError:
        return None
    return told


def _read(path: str) -> dict[str, Any] | None:
    try:
        with open(path, "rb") as file:
            told = json.loads(file.read(BYTES_LIMIT + 1))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _touched(path: str) -> float:
    try:
        return os.lstat(path).st_mtime
    except OSError:
        return 0.0


def _forget_old(folder: str, before: float) -> None:
    old = [path for name in _listed(folder) if _touched(path := os.path.join(folder, name)) < before]
    for path in old[:SWEEP_LIMIT]:
        with suppress(OSError):
            os.unlink(path)
