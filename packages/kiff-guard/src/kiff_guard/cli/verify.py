"""`kiff-guard verify`: is a receipts file what its guard wrote?"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

from kiff_guard.cli import NOT_OK, OK
from kiff_guard.cli.text import visible
from kiff_guard.errors import LedgerError
from kiff_guard.ledgers.verify import Verified, verify

_HASH = re.compile(r"(hmac-)?sha256:[0-9a-f]{64}")
SHOWN = 20


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the receipts file")
    parser.add_argument("--head", type=_hash, metavar="HASH", help="the head an earlier check printed")
    parser.add_argument("--size", type=_size, metavar="N", help="the size an earlier check printed")
    parser.add_argument("--key-file", metavar="FILE", help="a file that holds nothing but the key it is sealed with")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.epilog = "Ends with 0 when nothing is wrong, 1 when something is, 2 when it could not be checked."


def run(arguments: argparse.Namespace) -> int:
    found = verify(arguments.file, key=_key(arguments.key_file), head=arguments.head or "", size=arguments.size)
    print(json.dumps({"ok": found.ok, **asdict(found)}, indent=2) if arguments.json else _told(arguments.file, found))
    return OK if found.ok else NOT_OK


def _told(path: str, found: Verified) -> str:
    return "\n".join([*_summary(path, found), *_details(found)])


def _summary(path: str, found: Verified) -> list[str]:
    if not found.ok:
        told = [f"{visible(path)}: broken"]
        told += [f"  line {each.line}: {visible(each.message)}" for each in found.problems[:SHOWN] if each.line]
        told += [f"  {visible(each.message)}" for each in found.problems[:SHOWN] if not each.line]
        more = found.more + max(0, len(found.problems) - SHOWN)
        return [*told, f"  and {more} more"] if more else told
    return [
        f"{visible(path)}: ok",
        f"  {_count(found.receipts, 'receipt')}, {_count(len(found.unsettled), 'call')} without an end",
        f"  head {found.head}",
        f"  size {found.size}",
    ]


def _details(found: Verified) -> list[str]:
    unsettled = [
        f"  line {each.line}: {visible(each.tool)} began at {visible(each.at)} and nobody wrote how it ended"
        for each in found.unsettled[:SHOWN]
    ]
    if len(found.unsettled) > SHOWN:
        unsettled.append(f"  and {len(found.unsettled) - SHOWN} more without an end")
    notes = [f"  {visible(each)}" for each in found.notes[:SHOWN]]
    shows = [f"shown: {each}" for each in found.shows]
    return [*unsettled, *notes, *shows, *(f"not shown: {each}" for each in found.cannot_show)]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _key(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise LedgerError(f"the key file `{path}` cannot be read: {error.strerror or error}") from error


def _hash(text: str) -> str:
    if not _HASH.fullmatch(text):
        raise argparse.ArgumentTypeError("expected a hash as `verify` prints it, sha256:<64 hexadecimal digits>")
    return text


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError("expected a number of lines as `verify` prints it")
    return int(text)
