"""A message on its way to an endpoint: signed by Standard Webhooks, sent once, and what its answer means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from msgspec import Struct
from standardwebhooks import Webhook

from kiff.errors import InvalidInput
from kiff.runtime.outbox import LONGEST_PAUSE_MS
from kiff.server.egress import Egress, NoAnswer, NotSent, TargetRefused

TIMEOUT_SECONDS = 15.0
"""How long an endpoint may take, from the look-up of its name to the end of its answer."""
ANSWER_BYTES = 4_096
"""What is read of an answer: nothing in it matters but its status."""
SAID_CHARACTERS = 200
MEDIA = "application/json"
_SECONDS = re.compile(r"[0-9]{1,9}")
_ASKS_FOR_TIME = (429, 503)


class Ended(Struct, frozen=True):
    """How an attempt ended.

    Args:
        how: see `Attempted`.
        said: why it was not delivered, in a few words.
        asked_ms: how long the endpoint asked to be left alone.
        status: of its answer; None when there was none.
    """

    how: Literal["delivered", "failed", "refused", "dropped"]
    said: str = ""
    asked_ms: int | None = None
    status: int | None = None


def headers(id: str, body: bytes, secrets: Sequence[str], now: int) -> dict[str, str]:
    """What is sent with a message, so that whoever has one of the secrets can tell that it is genuine.

    Args:
        id: the same at every attempt.
        secrets: `whsec_…`, one signature each.
        now: instant (ms) of the attempt.
    """
    at = datetime.fromtimestamp(now // 1_000, UTC)
    signed = " ".join(Webhook(secret).sign(id, at, body.decode()) for secret in secrets)
    named = {"webhook-id": id, "webhook-timestamp": str(now // 1_000), "webhook-signature": signed}
    return {"content-type": MEDIA, "user-agent": "kiff-webhooks", **named}


def send(egress: Egress, url: str, id: str, body: bytes, secrets: Sequence[str], now: int) -> Ended:
    """Sends a message once."""
    signed = headers(id, body, secrets, now)
    try:
        answer = egress.post(url, signed, body, TIMEOUT_SECONDS, max_bytes=ANSWER_BYTES)
    except TargetRefused:
        # Which address a name has inside is nothing that a tenant is told.
        return Ended("failed", "where its URL leads nothing may be sent")
    except InvalidInput as error:
        return Ended("failed", error.message[:SAID_CHARACTERS])
    except (NotSent, NoAnswer) as error:
        return Ended("failed", error.message[:SAID_CHARACTERS])
    status = answer.status
    if 200 <= status < 300:
        return Ended("delivered", status=status)
    if status == 410:
        return Ended("refused", "answered 410", status=status)
    if 300 <= status < 400:
        return Ended("failed", f"answered {status}, and redirects are not followed", status=status)
    asked = _asked_ms(answer.headers.get("retry-after", ""), now) if status in _ASKS_FOR_TIME else None
    return Ended("failed", f"answered {status}", asked, status)


def _asked_ms(retry_after: str, now: int) -> int | None:
    """How long an endpoint asks to be left alone: seconds, or a date (RFC 9110, 10.2.3)."""
    if _SECONDS.fullmatch(retry_after):
        asked = int(retry_after) * 1_000
    else:
        try:
            until = parsedate_to_datetime(retry_after)
        except ValueError:
            return None
        asked = int(until.replace(tzinfo=until.tzinfo or UTC).timestamp() * 1_000) - now
    return min(asked, LONGEST_PAUSE_MS) if asked > 0 else None
