"""What the model checks share with the fault tests: the log of their figures."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))  # `reliability`: figures that add up over runs
