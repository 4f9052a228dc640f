"""Room at what is outside, for each tenant and target: so many calls at once, one when it failed of late, none between.

A target that hangs can then hold a few of a tenant's executor slots and not all of them, and one that is down is left
alone for a while: callers are told so before anything is decided.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil

from kiff.errors import ActionFailed, Overloaded

FAILURES = 5
"""So many calls in a row that did not get through, and nothing is sent for a while."""
OPEN_SECONDS = 10.0
"""How long. Then one call tries; it closes the circuit, or opens it again."""

Key = tuple[str, str]
"""(tenant, target)."""


class _Circuit:
    """What is known of one target.

    Attributes:
        asked: calls that wait for their answer, from before their decision on.
        running: calls that are at the target now.
        failures: calls in a row that did not get through.
        opened: when the last of them was too many (monotonic seconds).
    """

    __slots__ = ("asked", "failures", "opened", "running")

    def __init__(self) -> None:
        self.asked = 0
        self.running = 0
        self.failures = 0
        self.opened: float | None = None

    def room(self, at_once: int, now: float) -> int:
        if self.opened is None:
            return at_once
        return 0 if now - self.opened < OPEN_SECONDS else 1


class Circuits:
    """Every target's circuit. Those that have nothing to tell are forgotten."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._circuits: dict[Key, _Circuit] = {}
        self._lock = threading.Lock()

    def reserve(self, key: Key, at_once: int) -> None:
        """Takes room for a call that is to be decided.

        Raises:
            Overloaded: there is none; it says when to try again.
        """
        with self._lock:
            circuit = self._circuits.setdefault(key, _Circuit())
            now = self._monotonic()
            if circuit.asked < circuit.room(at_once, now):
                circuit.asked += 1
                return
            wait, message = 1, f"`{key[1]}` has {at_once} calls of yours in work; try again shortly"
            if circuit.opened is not None:
                wait = max(1, ceil(circuit.opened + OPEN_SECONDS - now))
                message = f"`{key[1]}` did not answer the last {circuit.failures} calls; it is tried again soon"
            self._forget(key, circuit)
        raise Overloaded(message, target=key[1], retry_after_seconds=wait)

    def release(self, key: Key) -> None:
        with self._lock:
            circuit = self._circuits[key]
            circuit.asked -= 1
            self._forget(key, circuit)

    @contextmanager
    def running(self, key: Key, at_once: int) -> Iterator[None]:
        """A call is at the target while this is open.

        Raises:
            ActionFailed: it may not go there now; nothing was sent.
        """
        with self._lock:
            circuit = self._circuits.setdefault(key, _Circuit())
            if circuit.running >= circuit.room(at_once, self._monotonic()):
                self._forget(key, circuit)
                why = "it has enough calls in work" if circuit.opened is None else "it did not answer the last calls"
                raise ActionFailed(f"nothing was sent to `{key[1]}`: {why}")
            circuit.running += 1
        try:
            yield
        finally:
            with self._lock:
                circuit.running -= 1
                self._forget(key, circuit)

    def told(self, key: Key, *, reached: bool) -> None:
        """Whether a call got through: an answer of any kind came back, other than a failure of the server itself."""
        with self._lock:
            circuit = self._circuits.setdefault(key, _Circuit())
            circuit.failures = 0 if reached else circuit.failures + 1
            if reached:
                circuit.opened = None
            elif circuit.failures >= FAILURES:
                circuit.opened = self._monotonic()
            self._forget(key, circuit)

    def _forget(self, key: Key, circuit: _Circuit) -> None:
        if not (circuit.asked or circuit.running or circuit.failures):
            self._circuits.pop(key, None)
