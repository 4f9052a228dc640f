"""A tenant for one test, on the server that a module shares: cheaper than a server of its own."""

from __future__ import annotations

import copy
from itertools import count

from served import Served

_NUMBERS = count(1)


class OwnTenant(Served):
    """The shared server, seen by a fresh tenant.

    Attributes:
        tenant: its name; `keys` are its own.
    """

    def __init__(self, shared: Served) -> None:
        self.__dict__ = copy.copy(shared.__dict__)
        self.tenant = f"tenant-{next(_NUMBERS)}"
        self.keys = self.found(self.tenant)
