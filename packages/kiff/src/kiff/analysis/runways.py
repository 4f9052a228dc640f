"""Who holds a runway, as records tell of it: one operation at a time, and those in doubt after it."""

from __future__ import annotations

from kiff.analysis.fields import Fields


class Held:
    """One runway: an entity's, or what an action's lock names."""

    def __init__(self) -> None:
        self._fencing = 0
        self._holder: str | None = None
        self._in_doubt: list[str] = []

    @property
    def row(self) -> Fields | None:
        """What its row must say; None when nobody ever held it."""
        if not self._fencing:
            return None
        return {"holder": self._holder, "fencing": self._fencing, "in_doubt": ",".join(self._in_doubt)}

    def take(self, operation_id: str) -> None:
        self._fencing, self._holder = self._fencing + 1, operation_id

    def free(self, operation_id: str) -> None:
        """It lets go; an operation in doubt takes it next."""
        self._in_doubt = [waiting for waiting in self._in_doubt if waiting != operation_id]
        if self._holder == operation_id:
            self._holder = self._in_doubt.pop(0) if self._in_doubt else None

    def doubt(self, operation_id: str) -> None:
        """Nobody knows any more how it ended: it takes the runway when that is free."""
        if self._holder is None:
            self._holder = operation_id
        elif self._holder != operation_id:
            self._in_doubt.append(operation_id)
