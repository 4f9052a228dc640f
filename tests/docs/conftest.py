"""Where the tests of the pages find a server, and a receiver of webhooks."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "server"))  # `served` and `hooked`
