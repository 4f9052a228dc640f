"""From a presented secret to a caller. Routing only: the batch that serves a write reads the same rows again.

Unknown, revoked, expired and wrong secrets take the same way and get the same answer (threat 22).
"""

from __future__ import annotations

import time
from hmac import compare_digest

from msgspec import Struct

from kiff.errors import Unauthorized
from kiff.protocol.actor import Caller
from kiff.protocol.authority import Credential, Member, authority, good, holder
from kiff.runtime.ports import Clock, Store
from kiff.server.secrets import Presented, read

FRESH_SECONDS = 1.0
"""How long a row may serve to draw up a write. The write itself is judged by the rows of its own batch."""
MOST = 16_384
_NOTHING = bytes(32)
_NOBODY = Presented("nobody", "key_0000000000", _NOTHING)
_NO_ROW = Credential("nobody", "key_0000000000", "key", _NOTHING, "", None, "", None, "nobody", 0, revoked_at=0)
"""What is compared when there is no row: it was never of any use."""


class Known(Struct, frozen=True):
    """A credential that was presented with its right secret.

    Args:
        read_at: monotonic seconds.
    """

    credential: Credential
    read_at: float


class Authenticator:
    """Finds credentials and members in a store."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[bytes, Known] = {}
        self._members: dict[tuple[str, str], tuple[Member | None, float]] = {}

    def credential(self, text: str | None, *, fresh: bool) -> Credential:
        """The credential whose secret this is.

        Args:
            fresh: read the row now; otherwise one read a moment ago will do.

        Raises:
            Unauthorized: it is none, or not any more.
        """
        if text is None:
            raise Unauthorized("send a key: Authorization: Bearer kiff_live_…")
        presented = read(text) or _NOBODY
        known = None if fresh else self._known.get(presented.digest)
        if known is not None and time.monotonic() - known.read_at < FRESH_SECONDS:
            return known.credential
        row = self._store.row(Credential, presented.tenant, presented.id) or _NO_ROW
        if not (compare_digest(row.digest, presented.digest) & good(row, self._clock.now())):
            raise Unauthorized("the credential is not valid")
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[presented.digest] = Known(row, time.monotonic())
        return row

    def caller(self, credential: Credential, acting: str | None, *, fresh: bool) -> Caller:
        """Whose authority a call with this credential has.

        Args:
            acting: who the body says acts.

        Raises:
            Unauthorized, Forbidden: as in `kiff.protocol.authority`.
        """
        who = holder(credential, acting, self._clock.now())
        return authority(credential, self._member(credential.tenant, who, fresh=fresh), who)

    def _member(self, tenant: str, id: str, *, fresh: bool) -> Member | None:
        now = time.monotonic()
        found = None if fresh else self._members.get((tenant, id))
        if found is not None and now - found[1] < FRESH_SECONDS:
            return found[0]
        row = self._store.row(Member, tenant, id)
        if len(self._members) >= MOST:
            self._members.clear()
        self._members[tenant, id] = (row, now)
        return row
