"""What the log tells of a row."""

from __future__ import annotations

from typing import Any

Fields = dict[str, Any]
Expected = dict[tuple[type, str], Fields]
"""(row type, key) -> the columns the log tells of. `answer` is a dict of the answer's members."""
