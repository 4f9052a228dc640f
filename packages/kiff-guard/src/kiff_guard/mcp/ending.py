"""How a gateway's run ends: by its server, its client or a signal, and how long each is waited for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, current_thread, main_thread

EXIT_SECONDS = 5.0
FINISH_SECONDS = 60.0
"""How long a server may still work on its calls when the client is gone."""
LOOK_SECONDS = 0.05


class Ending:
    """Waits for the end, and hears the signals that ask for it.

    A signal may be taken by any thread, and only the main thread runs its handler: so the main thread waits where every
    signal wakes it, on a pipe.

    Args:
        told: called for each signal, in the thread that waits; its argument says whether it is the first.
    """

    def __init__(self, told: Callable[[bool], None]) -> None:
        self._tell = told
        self._woken, self._wake = os.pipe()
        self._over = False
        self._lock = Lock()
        self._signals: list[int] = []
        self.signal = 0
        os.set_blocking(self._wake, False)
        if current_thread() is main_thread():  # signals are the main thread's alone
            signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
            for each in (signal.SIGTERM, signal.SIGINT):
                signal.signal(each, lambda number, _: self._signals.append(number))

    def over(self) -> None:
        """This is the end."""
        with self._lock:
            first, self._over = not self._over, True
            if first:
                with suppress(BlockingIOError):  # then there is enough in it to wake whoever waits
                    os.write(self._wake, b"\0")

    def wait(self) -> None:
        while not self._over:
            os.read(self._woken, 64)
            self._hear()
        if current_thread() is main_thread():
            signal.set_wakeup_fd(-1)
        with self._lock:
            os.close(self._woken)
            os.close(self._wake)

    def _hear(self) -> None:
        while self._signals:
            first, self.signal = not self.signal, self._signals.pop(0)
            self._tell(first)
