"""What can go wrong with a guard. A refusal is nothing wrong: it is a value (`Decision`), or `Hold` instead of a run.

GuardError
├── ConfigurationError      what the guard was made with cannot be right
│   └── MissingFramework    an adapter is used without its framework
├── ArgumentsRefused        a call whose arguments no decision can be bound to
├── AmbiguousTool           a tool that two bindings claim
├── LedgerError             receipts cannot be kept
└── ClientFailed            KIFF gave no answer to go by; also a ConnectionError
    ├── Unreachable         no connection, or it broke
    ├── DeadlineExceeded    no answer in time
    ├── BadAnswer           an answer that is none of KIFF's
    └── Refused             KIFF understood, and said no to the request itself

Every class has a stable `code`. In enforce each of them withholds the call; in observe none stops a tool.
"""

from __future__ import annotations


class ActionFailed(Exception):
    """Raised by a tool that knows that nothing happened. Any other error leaves it unknown whether something did."""


class GuardError(Exception):
    """Anything that this package raises by itself."""

    code = "guard_error"


class ConfigurationError(GuardError, ValueError):
    """What the guard was made with cannot be right: the message names what, and what to write instead."""

    code = "configuration"


class MissingFramework(ConfigurationError, ImportError):
    """An adapter is used and its framework is not installed."""

    code = "missing_framework"


class ArgumentsRefused(GuardError, ValueError):
    """The arguments of a call cannot be written as JSON, so no decision can be bound to them."""

    code = "arguments_refused"


class AmbiguousTool(GuardError, LookupError):
    """A tool's name fits two patterns that are bound to different actions, so nobody can say which one it is."""

    code = "ambiguous_tool"


class LedgerError(GuardError, OSError):
    """Receipts cannot be kept where they should."""

    code = "ledger_failed"


class ClientFailed(GuardError, ConnectionError):
    """KIFF gave no answer to go by."""

    code = "client_failed"


class Unreachable(ClientFailed):
    """No connection could be made, or it broke before an answer."""

    code = "unreachable"


class DeadlineExceeded(ClientFailed):
    """The answer did not come in time."""

    code = "deadline_exceeded"


class BadAnswer(ClientFailed):
    """What came back is not an answer of KIFF's, or not to what was asked."""

    code = "bad_answer"


class Refused(ClientFailed):
    """KIFF refused the request itself.

    Args:
        message: what KIFF said.
        status: the HTTP status.
        code: KIFF's own code of the refusal, "" if it gave none.
    """

    code = "refused"

    def __init__(self, message: str, *, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code or "refused"
