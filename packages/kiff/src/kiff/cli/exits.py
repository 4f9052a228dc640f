"""How a command ends. The numbers are an interface: scripts branch on them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command; docs/reference/cli.md says the same."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNLOADABLE = 3
    SIGN_IN = 4
    HELD = 10
    BLOCKED = 11
    DENIED = 12
    EXPIRED = 13
    UNKNOWN = 14
    INVALID = 20
    UNDECIDABLE = 21
    INTERRUPTED = 130


MEANING: dict[Exit, str] = {
    Exit.DONE: "done; what was asked for is so",
    Exit.FAILED: "failed; the message says why",
    Exit.USAGE: "the command line is not one KIFF understands",
    Exit.UNLOADABLE: "a test file, or the domain or policy it is about, cannot be loaded",
    Exit.SIGN_IN: "the server does not know who asks: log in, or give a key that is good",
    Exit.HELD: "the action is held for a person",
    Exit.BLOCKED: "the action, or the event, was refused",
    Exit.DENIED: "a reviewer denied the action",
    Exit.EXPIRED: "nobody answered in time",
    Exit.UNKNOWN: "the action ran, or may have, and nobody knows how it ended; do not send it again under another id",
    Exit.INVALID: "verification failed: something is not what was written",
    Exit.UNDECIDABLE: "verification could not decide: a key or a proof is missing",
    Exit.INTERRUPTED: "interrupted from the keyboard",
}

BY_STATUS = {"valid": Exit.DONE, "invalid": Exit.INVALID, "undecidable": Exit.UNDECIDABLE}
"""What a verdict ends with."""
