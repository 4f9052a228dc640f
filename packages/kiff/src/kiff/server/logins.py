"""How somebody without a key gets a session: a one-time token, used on the machine itself.

INVARIANT: a token leads to one session. The session's id follows from the token, and the batch that issues it
refuses an id that is there already, whichever process serves it.
"""

from __future__ import annotations

import secrets
from hashlib import sha256

from msgspec import Struct, json

from kiff.errors import Unauthorized
from kiff.protocol.actor import Caller
from kiff.protocol.authority import AUTHOR, OPERATOR, Credential
from kiff.runtime.commands import SYSTEM
from kiff.runtime.ports import Clock, Store
from kiff.runtime.rows import NoteRow
from kiff.runtime.runtime import Runtime
from kiff.server.secrets import draw

TOKEN_SECONDS = 15 * 60
SESSION_SECONDS = 12 * 3600
_NOTE = "login:"


class Login(Struct, forbid_unknown_fields=True):
    """Whom a token makes, and until when (ms)."""

    member: str
    expires_at: int


class Logins:
    """Issues login tokens, and sessions for them."""

    def __init__(self, runtime: Runtime, store: Store, clock: Clock) -> None:
        self._runtime = runtime
        self._store = store
        self._clock = clock

    def token(self, tenant: str, member: str) -> str:
        """A fresh one-time token for a member. It names its tenant, and is kept as its digest alone."""
        token = f"{tenant}.{secrets.token_urlsafe(32)}"
        login = Login(member, self._clock.now() + TOKEN_SECONDS * 1000)
        self._runtime.note(Caller(SYSTEM, (), tenant), _note(token), json.encode(login)).result()
        return token

    def session(
        self, tenant: str, member: str, label: str, once: bytes, *, on: Credential | None = None
    ) -> tuple[str, Credential, Caller]:
        """A session's secret and its row, with who issues it.

        Args:
            once: what it is given for.
            on: the credential on whose word it is given. The session can do nothing that this one could not, lasts
                no longer, and counts as minted by whoever minted it.
        """
        secret, presented = draw("session", tenant, once)
        expires_at = self._clock.now() + SESSION_SECONDS * 1000
        roles, domain, minter = "", None, SYSTEM.id
        if on is not None:
            roles, domain, minter = on.roles, on.domain, on.created_by
            if on.expires_at is not None:
                expires_at = min(expires_at, on.expires_at)
        row = Credential(
            tenant, presented.id, "session", presented.digest, label, member, roles, domain, minter, 0, expires_at
        )
        return secret, row, Caller(SYSTEM, (AUTHOR, OPERATOR), tenant)

    def open(self, token: str) -> tuple[str, Credential, Caller]:
        """The session that a token is good for; establishing it uses the token up.

        Raises:
            Unauthorized: there is no such token, or its time is up.
        """
        tenant = token.rpartition(".")[0]
        note = self._store.row(NoteRow, tenant, _note(token)) if tenant else None
        login = None if note is None or not note.body else json.decode(note.body, type=Login)
        if login is None or self._clock.now() >= login.expires_at:
            raise Unauthorized("the token is not valid; it is good once, and for a quarter of an hour")
        return self.session(tenant, login.member, "one-time token", token.encode())

    @staticmethod
    def used() -> Unauthorized:
        """What a second use is answered with."""
        return Unauthorized("the token is not valid; it is good once, and for a quarter of an hour")


def _note(token: str) -> str:
    return _NOTE + sha256(token.encode()).hexdigest()
