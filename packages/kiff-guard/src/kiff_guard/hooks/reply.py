"""The one answer of a hook's process. Whoever is first gives it: the flow, the deadline, or a signal.

INVARIANT: in enforce, what goes wrong before the answer is out answers no, twice over: the agent's own JSON for it on
stdout, and exit status 2, which every agent takes for no whatever stands there.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from threading import Lock, Thread
from typing import Any

from kiff_guard.hooks.dialects import Dialect
from kiff_guard.hooks.event import BEFORE

ANSWERED, COMPLAINS, BLOCKS = 0, 1, 2
"""Exit statuses. 1 shows a message and stops nothing: it is for what came too late to be stopped."""
STDOUT, STDERR = 1, 2
STEP_SECONDS = 0.25


class Reply:
    """What the agent is told.

    Attributes:
        blocks: a failure withholds. False in observe, where nothing that fails stops a tool.
        event: the agent's name of the event that is answered; of the one before a call, until it is known.
        late: the call ran already: a failure can only be complained about.
    """

    def __init__(self, dialect: Dialect, stdout: int | None) -> None:
        self.dialect = dialect
        self._stdout = stdout
        self.blocks = True
        self.event = dialect.first
        self.late = False
        self._knows = False
        self._status: int | None = None
        self._turn = Lock()
        self._begun = time.monotonic()
        self._seconds = 0.0

    @property
    def status(self) -> int:
        """The exit status. Until an answer is out it is no where it has to be: a process that ends now says it."""
        if self._status is not None:
            return self._status
        return BLOCKS if self._guards else ANSWERED

    @property
    def _guards(self) -> bool:
        return self.blocks and not self.late

    def arm(self, seconds: float) -> None:
        """From now on a signal, or the end of the time, is answered too. `within` says another time later.

        A thread waits, not an alarm: Python hears of an alarm only between two of its own steps, and a name that a
        resolver does not answer is one long step.
        """
        for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(number, self._stopped)
        self.within(seconds)
        Thread(target=self._out_of_time, name="kiff-hook-deadline", daemon=True).start()

    def within(self, seconds: float) -> None:
        """How long this process may take, from its start."""
        self._seconds = seconds

    def answers(self, name: Any) -> None:
        """Which event it is, before anything else is looked at in it: what ran is not told to have been withheld."""
        moment = self.dialect.moments.get(name) if isinstance(name, str) else None
        if moment is not None:
            self.event, self.late, self._knows = name, moment != BEFORE, True

    def allow(self) -> None:
        """No objection."""
        self._give({}, "", ANSWERED)

    def deny(self, why: str) -> None:
        """The call must not run."""
        self._give(self.dialect.deny(self.event, why), "", ANSWERED)

    def pause(self, why: str) -> None:
        """The run ends here, until somebody resumes it."""
        assert self.dialect.pause is not None, "the dialect knows no pause"
        self._give(self.dialect.pause(self.event, why), "", ANSWERED)

    def broken(self, why: str) -> None:
        """The hook itself failed. After the answer there is only somebody to be told."""
        if self._turn.locked():
            self.note(f"kiff-hook: after its answer: {why}")
        elif not self.blocks:
            self._give({}, f"kiff-hook only observes, and something failed: {why}", ANSWERED)
        elif self.late:
            self._give({}, f"kiff-hook: {why}", COMPLAINS)
        else:
            end = "it did not run" if self._knows else "if it has not run yet, it does not run"
            text = f"KIFF withheld the call: error: {why}; {end}"
            self._give(self.dialect.deny(self.event, text), text, BLOCKS)

    def note(self, text: str) -> None:
        """Tells the person at the terminal."""
        _write(STDERR, f"{_line(text)}\n".encode())

    def _give(self, answer: dict[str, Any], message: str, status: int) -> None:
        if not self._turn.acquire(blocking=False):
            return
        if not self._guards:
            self._status = status
        if message:
            self.note(message)
        if _write(self._stdout, json.dumps(answer).encode() + b"\n"):
            self._status = status
        elif self._guards:
            self.note("KIFF withheld the call: the answer could not be written")

    def _stopped(self, number: int, frame: Any) -> None:
        try:
            self.broken(f"the hook was stopped by signal {number}")
        finally:
            os._exit(self.status)

    def _out_of_time(self) -> None:
        """Waits in short steps: the time may be changed meanwhile."""
        while (left := self._begun + self._seconds - time.monotonic()) > 0:
            time.sleep(min(left, STEP_SECONDS))
        try:
            self.broken(f"there was no answer within {self._seconds:g} seconds")
        finally:
            os._exit(self.status)


def take_stdout() -> int | None:
    """Stdout, for the answer alone: what else of this process writes there is heard on stderr. None: it is closed.

    It is taken before anything is opened: a file that is opened while stdout is closed gets its number.
    """
    try:
        stdout = os.dup(STDOUT)
    except OSError:
        stdout = None
    try:
        os.fstat(STDERR)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDERR)
    os.dup2(STDERR, STDOUT)
    sys.stdout = sys.stderr
    return stdout


def _write(number: int | None, data: bytes) -> bool:
    """Whether all of it went out."""
    if number is None:
        return False
    try:
        while data:
            data = data[os.write(number, data) :]
    except OSError:
        return False
    return True


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text)[:2000]
