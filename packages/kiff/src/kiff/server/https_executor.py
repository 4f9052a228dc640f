"""An operation as one signed HTTPS request (Standard Webhooks), and what its answer proves.

    nothing of it was sent, or the policy forbids the target   failed: it did not happen
    200 with {status, message?, output?, events?}              what it says
    a status of DECLINED                                       failed: the executor refused it
    anything else                                              unknown: it may have happened

An unknown outcome is never sent again, unless the operator declared the executor idempotent: then the same operation
id is sent again while there is time, and what an earlier attempt may have done is not forgotten.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec import json
from standardwebhooks.webhooks import Webhook

from kiff.canonical import parse
from kiff.errors import InvalidInput
from kiff.protocol.instant import rfc3339
from kiff.runtime.executors import Operation
from kiff.runtime.ports import Clock
from kiff.server.egress import Answer, Egress, NoAnswer, NotSent, TargetRefused
from kiff.server.outcome import Outcome, failed, unknown
from kiff.server.remote_settings import HttpsExecutor

DECLINED = frozenset({400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 421, 422, 426, 428, 431, 451})
"""The request was understood as one that is not carried out (RFC 9110, 15.5). Not among them: 408 and 425 (it may be in
work), 409 (it may have been done before) and 429 (some count a request after they have taken it)."""
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
"""What the same id may be sent again after, when the executor is idempotent."""
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 8.0
_TRACE = re.compile(r"trace_([0-9a-f]{32})")


class Attempt(NamedTuple):
    """How one request ended.

    Args:
        said: what the executor reports; None when that cannot be told.
        why: in a sentence.
        declined: it is known that nothing happened.
        again: another request could end otherwise.
        reached: the host is there, and works.
        retry_after: seconds that it asks for.
    """

    said: dict[str, Any] | None
    why: str = ""
    declined: bool = False
    again: bool = False
    reached: bool = True
    retry_after: float = 0.0


class HttpsCalls:
    """Sends operations. Usable from any thread."""

    def __init__(self, egress: Egress, clock: Clock) -> None:
        self._egress = egress
        self._clock = clock
        self._closing = threading.Event()

    def run(self, url: str, how: HttpsExecutor, operation: Operation, seconds: float) -> Outcome:
        """Has an operation done, within so many seconds."""
        deadline = time.monotonic() + seconds
        body = json.encode(_told(operation))
        doubt = ""
        pause = PAUSE_SECONDS
        while True:
            attempt = self._attempt(url, how, operation, body, deadline - time.monotonic())
            if attempt.said is not None:
                return Outcome(attempt.said)
            if not attempt.declined:
                doubt = doubt or attempt.why
            wait = max(pause, attempt.retry_after)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
            ends = not how.idempotent or not attempt.again or time.monotonic() + wait >= deadline
            if ends or self._closing.wait(wait):
                ended = unknown if doubt else failed
                return ended(doubt or attempt.why, reached=attempt.reached)

    def close(self) -> None:
        """Ends the waiting between attempts."""
        self._closing.set()

    def _attempt(self, url: str, how: HttpsExecutor, operation: Operation, body: bytes, seconds: float) -> Attempt:
        headers = self._headers(how, operation, body)
        try:
            answer = self._egress.post(url, headers, body, seconds)
        except TargetRefused as error:
            return Attempt(None, f"nothing was sent: {error.message}", declined=True)
        except NotSent as error:
            return Attempt(None, f"nothing was sent: {error.message}", declined=True, again=True, reached=False)
        except NoAnswer as error:
            return Attempt(None, f"it was sent, and may have happened: {error.message}", again=True, reached=False)
        return _read(answer)

    def _headers(self, how: HttpsExecutor, operation: Operation, body: bytes) -> dict[str, str]:
        """Standard Webhooks 1.0: signed are the id, the time and the body."""
        now = datetime.fromtimestamp(self._clock.now() // 1000, UTC)
        text = body.decode()
        signatures = [Webhook(secret).sign(operation.id, now, text) for secret in how.secrets]
        headers = {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": "kiff",
            "webhook-id": operation.id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
            "idempotency-key": operation.id,
            "kiff-deadline": rfc3339(operation.deadline),
        }
        parent = traceparent(operation)
        return headers if parent is None else {**headers, "traceparent": parent}


def traceparent(operation: Operation) -> str | None:
    """The trace of an operation for whoever carries it out (W3C Trace Context); None when it is none of that form."""
    trace = _TRACE.fullmatch(operation.trace_id)
    return None if trace is None else f"00-{trace[1]}-{secrets.token_hex(8)}-00"


def _told(operation: Operation) -> dict[str, Any]:
    """What an executor gets to know: the fields of an `Operation`."""
    return {
        "operation_id": operation.id,
        "tenant": operation.tenant,
        "entity_type": operation.entity_type,
        "entity_id": operation.entity_id,
        "action": operation.action,
        "parameters": operation.parameters,
        "principal": operation.principal,
        "deadline": rfc3339(operation.deadline),
        "fencing": operation.fencing,
        "approval_id": operation.approval_id,
        "receipt_id": operation.receipt_id,
        "trace_id": operation.trace_id,
    }


def _read(answer: Answer) -> Attempt:
    status = answer.status
    if status in DECLINED:
        return Attempt(None, f"the executor answered {status}, and did nothing", declined=True)
    if status != 200:
        why = f"the executor answered {status}: it may have happened"
        return Attempt(None, why, again=status in AGAIN, reached=status < 500, retry_after=_retry_after(answer))
    if not answer.complete:
        return Attempt(None, "the executor's answer is too long: it may have happened")
    try:
        said = parse(answer.body).value
    except InvalidInput:
        said = None
    if not isinstance(said, dict):
        return Attempt(None, "the executor's answer is no JSON object: it may have happened")
    return Attempt(said)


def _retry_after(answer: Answer) -> float:
    """The seconds of a Retry-After; dates are left to the pause."""
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isascii() and asked.isdigit() and len(asked) < 6 else 0.0
