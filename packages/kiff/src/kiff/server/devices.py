"""How a program without a browser gets a session (RFC 8628): it shows a code, and a signed-in person approves it.

INVARIANT: nobody is made anything here. What a person approved is a note of who they are and with which credential;
that credential is read again when the session is issued, and the session's id follows from the program's own code, so
it is issued once. Codes are kept as digests. Notes are written only when nobody wrote them meanwhile, and their places
are used again, so callers without a key cannot fill the database.
"""

from __future__ import annotations

import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import Literal

from msgspec import Struct, json, structs

from kiff.errors import Conflict, NotFound, Overloaded
from kiff.protocol.actor import Caller
from kiff.protocol.authority import Credential
from kiff.runtime.commands import SYSTEM
from kiff.runtime.ports import Clock, Store
from kiff.runtime.rows import NoteRow
from kiff.runtime.runtime import Runtime
from kiff.server.problems import HttpError

SECONDS = 600
INTERVAL_SECONDS = 5
HOME = "kiff:logins"
"""Where the notes are, before anybody knows whose login it will be. No tenant can be called so (`is_tenant`)."""
PLACES = 65_536
TRIES = 8
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels and no digits (RFC 8628 section 6.1): no words, and nothing that looks like something else."""
CODE_LETTERS = 8


class Approver(Struct, frozen=True, forbid_unknown_fields=True):
    """The person who said yes: in which tenant, and with which credential."""

    tenant: str
    credential: str


class Flow(Struct, frozen=True, forbid_unknown_fields=True):
    """One login on its way.

    Args:
        device, user: digests of the two codes.
        client, address: what the program calls itself, and where it called from.
        tenant: the only tenant whose people may approve it; None for any.
        asked_at, expires_at, polled_at: instants (ms).
        interval: seconds that the program has to wait before it asks again.
    """

    device: str
    user: str
    client: str
    address: str
    tenant: str | None
    asked_at: int
    expires_at: int
    polled_at: int | None = None
    interval: int = INTERVAL_SECONDS
    status: Literal["waiting", "approved", "denied"] = "waiting"
    approver: Approver | None = None


class Devices:
    """The logins that wait for a person."""

    def __init__(self, runtime: Runtime, store: Store, clock: Clock) -> None:
        self._runtime = runtime
        self._store = store
        self._clock = clock

    async def start(self, client: str, tenant: str | None, address: str) -> tuple[str, str]:
        """Begins a login. Returns the program's code and the person's.

        Raises:
            Overloaded: too many wait already.
        """
        for _ in range(TRIES):
            user_code = "".join(secrets.choice(LETTERS) for _ in range(CODE_LETTERS))
            place = _place(user_code)
            note = self._note(place)
            if self._flow(note) is not None:
                continue
            device_code = f"{place}.{secrets.token_urlsafe(32)}"
            now = self._clock.now()
            flow = Flow(_digest(device_code), _digest(user_code), client, address, tenant, now, now + SECONDS * 1000)
            if await self._write(place, note, flow):
                return device_code, f"{user_code[:4]}-{user_code[4:]}"
        raise Overloaded("too many logins wait for their approval; try again shortly")

    def waiting(self, user_code: str, tenant: str) -> Flow:
        """The login that waits under a person's code.

        Args:
            tenant: of the person who asks.

        Raises:
            NotFound: none does, or not any more, or it is for another tenant: one answer for all.
        """
        flow = self._found(user_code, tenant)[2]
        if flow.status != "waiting":
            raise _nobody()
        return flow

    async def answer(self, user_code: str, credential: Credential, verdict: Literal["approved", "denied"]) -> Flow:
        """A person's answer. The first one stands; given again, it is the same.

        Raises:
            NotFound: as `waiting`.
        """
        approver = Approver(credential.tenant, credential.id)
        for _ in range(TRIES):
            place, note, flow = self._found(user_code, credential.tenant)
            answered = structs.replace(flow, status=verdict, approver=approver)
            if answered == flow:
                return flow
            if flow.status != "waiting":
                raise _nobody()
            if await self._write(place, note, answered):
                return answered
        raise Overloaded("this login changes too fast; try again")

    async def poll(self, device_code: str) -> tuple[Flow, Approver]:
        """What became of a login, once a person approved it.

        Raises:
            HttpError: nobody answered yet, the answer was no, the program asks too often, or its code is of no use.
        """
        for _ in range(TRIES):
            place = device_code.partition(".")[0]
            note = self._note(place)
            flow = self._flow(note)
            if flow is None or not compare_digest(flow.device, _digest(device_code)):
                raise gone()
            if flow.status == "denied":
                raise denied()
            if flow.approver is not None:
                return flow, flow.approver
            polled, hurried = self._polled(flow)
            if await self._write(place, note, polled):
                raise _wait(polled, hurried=hurried)
        raise Overloaded("this login changes too fast; try again")

    async def end(self, device_code: str) -> None:
        """Its session is issued: its place is free."""
        place = device_code.partition(".")[0]
        await self._write(place, self._note(place), None)

    def _polled(self, flow: Flow) -> tuple[Flow, bool]:
        """The flow after a poll, and whether that came too soon: then the interval is 5 seconds longer from now on."""
        now = self._clock.now()
        hurried = flow.polled_at is not None and now < flow.polled_at + flow.interval * 1000
        interval = flow.interval + INTERVAL_SECONDS if hurried else flow.interval
        return structs.replace(flow, polled_at=now, interval=interval), hurried

    def _found(self, user_code: str, tenant: str) -> tuple[str, NoteRow | None, Flow]:
        """The flow of a person's code, with its place and the note it was read from."""
        code = user_code.replace("-", "").upper()
        place = _place(code)
        note = self._note(place)
        flow = self._flow(note)
        if flow is None or not compare_digest(flow.user, _digest(code)) or flow.tenant not in (None, tenant):
            raise _nobody()
        return place, note, flow

    def _note(self, place: str) -> NoteRow | None:
        return self._store.row(NoteRow, HOME, f"device:{place}")

    def _flow(self, note: NoteRow | None) -> Flow | None:
        """The flow in a place; None when it is free."""
        flow = None if note is None or not note.body else json.decode(note.body, type=Flow)
        return flow if flow is not None and self._clock.now() < flow.expires_at else None

    async def _write(self, place: str, note: NoteRow | None, flow: Flow | None) -> bool:
        """Writes a place as it was read; False when somebody else did meanwhile."""
        body = b"" if flow is None else json.encode(flow)
        times = 0 if note is None else note.times
        try:
            await self._runtime.note(Caller(SYSTEM, (), HOME), f"device:{place}", body, times=times)
        except Conflict:
            return False
        return True


def gone() -> HttpError:
    """The code is unknown, too old, or its session was issued: one answer for all."""
    return HttpError("expired_token", "the device code is not valid any more; start the login again")


def denied() -> HttpError:
    return HttpError("access_denied", "the login was denied")


def _nobody() -> NotFound:
    return NotFound(f"no login waits under this code; it is good once, and for {SECONDS // 60} minutes")


def _wait(flow: Flow, *, hurried: bool) -> HttpError:
    message = f"nobody answered yet; ask again in {flow.interval} seconds"
    return HttpError("slow_down" if hurried else "authorization_pending", message, interval=flow.interval)


def _place(user_code: str) -> str:
    """Where the flow of a person's code is: found without a search, and told by the program's code too."""
    return f"{int.from_bytes(sha256(user_code.encode()).digest()[:8]) % PLACES:04x}"


def _digest(code: str) -> str:
    return sha256(code.encode()).hexdigest()
