"""What goes wrong in PostgreSQL or on the way to it, as KIFF's own errors. Here and nowhere else.

No message of the server is passed on whole: it may hold values of the row it speaks of.
"""

from __future__ import annotations

from types import TracebackType

import asyncpg

from kiff.errors import KiffError, StoreConflict, StoreCorrupt, StoreError, StoreInDoubt, StoreRefused, StoreUnavailable

_AGAIN = ("40001", "40P01", "55P03", "22012", "42P06", "42P07", "42710")
"""Serialization failure, deadlock, a lock that was not to be had in time, what a guard says of a row that somebody
wrote meanwhile (see `statements`), and a schema, table or policy that somebody made meanwhile.
"""
_REFUSED = ("22", "23", "42501", "54")
"""The value, the constraint, the policy, the size: these rows are refused whenever they are sent."""
LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What the driver raises when the connection ended or went silent; internal, when that caught it between two steps."""
_CORRUPT = ("XX001", "XX002")
_NO_SCHEMA = ("3F000", "42P01")


class translated:
    """Driver errors as KIFF's own.

    Args:
        writing: a connection that is lost leaves open whether the rows were written.
    """

    __slots__ = ("_writing",)

    def __init__(self, *, writing: bool = False) -> None:
        self._writing = writing

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, KiffError):
            raise explained(error, writing=self._writing) from error


def explained(error: Exception, *, writing: bool = False) -> StoreError:
    """The error of ours for one of the driver's, of the server's, or of the network's."""
    if isinstance(error, asyncpg.PostgresError):
        return _said(error, writing)
    if isinstance(error, asyncpg.exceptions.DataError | OverflowError | UnicodeError | ValueError | TypeError):
        return StoreRefused(f"a row cannot be written: {type(error).__name__}")
    if isinstance(error, LOST):
        return _lost(f"the database does not answer ({type(error).__name__})", writing)
    return _lost(f"the database driver failed ({type(error).__name__})", writing)


def _said(error: asyncpg.PostgresError, writing: bool) -> StoreError:
    """What the server itself said. It says so instead of committing, unless it was being stopped."""
    state = str(error.sqlstate or "")
    about = ", ".join(
        f"{what} `{name}`" for what in ("table", "constraint") if (name := getattr(error, f"{what}_name", None))
    )
    named = f"{type(error).__name__}, {about}" if about else type(error).__name__
    if state in _AGAIN:
        return StoreConflict(f"another writer was first ({named})")
    if state.startswith(_REFUSED):
        return StoreRefused(f"the database refuses the rows ({named})", sqlstate=state)
    if state in _CORRUPT:
        return StoreCorrupt(f"the database is damaged ({named})", sqlstate=state)
    if state in _NO_SCHEMA:
        hint = "kiff migrate --store URL makes the tables"
        return StoreUnavailable(f"the database has not the tables of KIFF ({named})", sqlstate=state, hint=hint)
    if state.startswith(("57P", "08")):
        return _lost(f"the database is being stopped, or is starting ({named})", writing)
    return StoreUnavailable(f"the database cannot serve ({named})", sqlstate=state)


def _lost(message: str, writing: bool) -> StoreError:
    return StoreInDoubt(message) if writing else StoreUnavailable(message)
