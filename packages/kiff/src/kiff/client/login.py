"""Getting a session: with the one-time token of a new server, or by a code that a signed-in person approves.

The second way is the device flow (RFC 8628): `start` it, show the person `user_code` and `verification_uri`, and
`wait` for their answer.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kiff.client.connection import Connection
from kiff.client.paths import one
from kiff.errors import KiffError, Unanswered

DEVICE = "/v1/auth/device"
SLOWER_SECONDS = 5
"""How much longer to wait after `slow_down` (RFC 8628 section 3.5)."""


class Session(Struct, frozen=True):
    """A session of a member. `session` is its secret: what a `Client` takes as its key."""

    session: str
    tenant: str
    member: str
    expires_at: str

    def __repr__(self) -> str:
        return f"Session(session=…, tenant={self.tenant!r}, member={self.member!r}, expires_at={self.expires_at!r})"


class Started(Struct, frozen=True):
    """A login that waits for a person. `device_code` is a secret of the program that began it."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int
    verification_uri_complete: str | None = None

    def __repr__(self) -> str:
        return f"Started(device_code=…, user_code={self.user_code!r}, verification_uri={self.verification_uri!r})"


class Device(Struct, frozen=True):
    """What a person is asked: which program wants to act in their name, from where, since when."""

    status: str
    client: str
    address: str
    asked_at: str
    expires_at: str
    tenant: str | None = None


class Login:
    """The ways to a session, and out of it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def by_token(self, token: str) -> Session:
        """A session for the one-time token that a server printed on its own machine."""
        return self._connection.value(Session, "POST", "/v1/auth/session", body={"token": token})

    def start(self, client: str = "", tenant: str | None = None) -> Started:
        """Begins a login that a person approves elsewhere.

        Args:
            client: what the person is shown.
            tenant: only people of this tenant may approve it.
        """
        body: dict[str, Any] = {"client": client} | ({} if tenant is None else {"tenant": tenant})
        return self._connection.value(Started, "POST", f"{DEVICE}/start", body=body)

    def wait(self, started: Started, *, wait: Callable[[float], None] = time.sleep) -> Session:
        """The session, once a person approved it.

        Raises:
            KiffError: with the code `access_denied` (a person said no) or `expired_token` (nobody answered in time).
        """
        interval, waited = float(started.interval), 0.0
        while waited <= started.expires_in:
            wait(interval)
            waited += interval
            try:
                return self._connection.value(
                    Session, "POST", f"{DEVICE}/token", body={"device_code": started.device_code}
                )
            except Unanswered as lost:  # a connection that times out is to be asked less often (section 3.5)
                last: KiffError = lost
                interval *= 2
            except KiffError as error:
                last = error
                if error.code not in ("authorization_pending", "slow_down"):
                    raise
                interval = _interval(error, interval)
        raise last

    def show(self, user_code: str) -> Device:
        """Which program waits under a code, for the person who is to approve it."""
        return self._connection.value(Device, "GET", f"{DEVICE}/{one(user_code, 'user_code')}")

    def approve(self, user_code: str) -> Device:
        """Lets the program act in the name of the key's holder, who must be a person."""
        return self._connection.value(Device, "POST", f"{DEVICE}/{one(user_code, 'user_code')}/approve")

    def deny(self, user_code: str) -> Device:
        """Says no to the program."""
        return self._connection.value(Device, "POST", f"{DEVICE}/{one(user_code, 'user_code')}/deny")

    def out(self) -> None:
        """Ends the session that the key is."""
        self._connection.value(dict[str, Any], "POST", "/v1/auth/logout")


def _interval(error: KiffError, interval: float) -> float:
    """Seconds until the next question: what the server says, and never less than before."""
    said = error.detail.get("interval")
    slower = interval + SLOWER_SECONDS if error.code == "slow_down" else interval
    return max(slower, float(said)) if isinstance(said, int) else slower
