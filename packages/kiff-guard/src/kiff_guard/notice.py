"""What the guard tells the operator, by the logger `kiff_guard`. Logging is imported when there is a word to say."""

from __future__ import annotations


def warn(message: str, *about: object) -> None:
    import logging

    logging.getLogger("kiff_guard").warning(message, *about)


def alarm(message: str, *about: object) -> None:
    import logging

    logging.getLogger("kiff_guard").error(message, *about)
