"""`make demo STORE=postgres`: the demo on a PostgreSQL that is started for it. What it holds is kept for the next run.

Nobody reaches it over the network: its socket is in a folder of its own.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from postgres_server import READY_SECONDS, NoPostgres, _binaries, _is_ready, _readable, _unprivileged

FOLDER = Path(".demo")
OWNER, DATABASE, PORT = "kiff_demo", "kiff_demo", 5432
# Reads a pipe that nobody writes to. At its end, when the demo is over or was killed, the server ends in good order.
WATCH = """
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -INT "$pid"
while [ -e "$1/data/postmaster.pid" ]; do sleep 0.1; done
rm -rf "$2"
"""


def main(arguments: list[str]) -> int:
    """Runs `kiff demo` on it, with these arguments. Returns its exit code."""
    if "--fresh" in arguments:
        arguments.remove("--fresh")
        for left in ("postgres", "on-postgres"):
            shutil.rmtree(FOLDER / left, ignore_errors=True)
    with _running(FOLDER.absolute() / "postgres") as url:
        demo = [sys.executable, "-c", "from kiff.cli import main; main()", "demo", "--dir", str(FOLDER)]
        process = subprocess.Popen([*demo, "--store", url, *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the demo has it too, and ends what is in flight
        return process.wait()


@contextmanager
def _running(folder: Path) -> Iterator[str]:
    """A server on the data in a folder, which is made when it is not there. Brings the URL of the demo's database."""
    as_whom, sockets = _unprivileged(), Path(tempfile.mkdtemp(prefix="kiff-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    binaries = _readable(_binaries(), sockets, as_whom)
    for each in (folder, sockets):
        each.chmod(0o700)
        if as_whom:
            os.chown(each, as_whom["user"], as_whom["group"])
    if not (folder / "data" / "PG_VERSION").exists():
        _initialise(binaries, folder / "data", as_whom)
    (folder / "data" / "postmaster.pid").unlink(missing_ok=True)
    command = ["sh", "-c", WATCH, "sh", str(folder), str(sockets)]
    watch = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        _start(binaries, folder, sockets, as_whom)
        asyncio.run(_prepare(f"postgresql://postgres@/postgres?host={quote(str(sockets))}&port={PORT}"))
        yield f"postgresql://{OWNER}@/{DATABASE}?host={quote(str(sockets))}&port={PORT}"
    finally:
        assert watch.stdin is not None
        watch.stdin.close()
        watch.wait()


def _initialise(binaries: Path, data: Path, as_whom: dict[str, Any]) -> None:
    command = [binaries / "initdb", "-D", data, "-U", "postgres", "-E", "UTF8", "--locale=C", "--auth=trust"]
    ran = subprocess.run([*command, "--no-instructions"], capture_output=True, text=True, **as_whom)
    if ran.returncode != 0:
        raise SystemExit(f"the demo's database cannot be made:\n{ran.stderr}")


def _start(binaries: Path, folder: Path, sockets: Path, as_whom: dict[str, Any]) -> None:
    settings = {"listen_addresses": "", "unix_socket_directories": sockets, "port": PORT}
    options = [f"--{name}={value}" for name, value in settings.items()]
    with (folder / "log").open("ab") as log:
        command = [binaries / "postgres", "-D", folder / "data", *options]
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, **as_whom)
    end = time.monotonic() + READY_SECONDS
    while not _is_ready(folder / "data" / "postmaster.pid"):
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"the demo's database does not start; {folder / 'log'} says why")
        time.sleep(0.01)


async def _prepare(superuser: str) -> None:
    """The demo's own role and database are there."""
    connection = await asyncpg.connect(superuser)
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", OWNER):
            await connection.execute(f"CREATE ROLE {OWNER} LOGIN")
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE):
            await connection.execute(f"CREATE DATABASE {DATABASE} OWNER {OWNER}")
    finally:
        await connection.close()


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except NoPostgres as missing:
        sys.exit(str(missing))
