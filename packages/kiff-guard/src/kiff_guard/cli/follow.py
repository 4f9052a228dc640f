"""The lines of a file that grows."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

from kiff_guard.cli.text import visible
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers.line import BYTES_LIMIT

_PAUSE_SECONDS = 0.2
_CHUNK = 1_048_576


def follow(path: str, *, once: bool, say: Callable[[str], None]) -> Iterator[bytes]:
    """Every whole line, without its line break; without end unless `once`.

    Args:
        path: the file. It is waited for; when another one takes its place, that one is followed from its beginning.
        once: end where the file ends now.
        say: told what is waited for.

    Raises:
        LedgerError: it cannot be read; or, with `once`, it is not there.
    """
    waiting = False
    while True:
        try:
            with open(path, "rb") as file:
                waiting = False
                yield from _lines(file, path, once=once)
            if once:
                return
            say(f"`{visible(path)}` was replaced or cut: following what is there now")
        except FileNotFoundError as error:
            if once:
                raise LedgerError(f"there is no file at `{path}`") from error
            if not waiting:
                say(f"waiting for `{visible(path)}`")
            waiting = True
        except OSError as error:
            raise LedgerError(f"`{path}` cannot be read: {error.strerror or error}") from error
        time.sleep(_PAUSE_SECONDS)


def _lines(file: BinaryIO, path: str, *, once: bool) -> Iterator[bytes]:
    held = b""
    while True:
        if part := file.read(_CHUNK):
            *whole, held = (held + part).split(b"\n")
            yield from whole
            if len(held) > BYTES_LIMIT:
                raise LedgerError(f"`{path}` holds a line that is too long: it is no receipts file")
        elif once or not _same(file, path):
            return
        else:
            time.sleep(_PAUSE_SECONDS)


def _same(file: BinaryIO, path: str) -> bool:
    """Is it still the file at its path, and no shorter than what was read of it?"""
    held = os.fstat(file.fileno())
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) and there.st_size >= file.tell()
