"""Where the reports of the conformance suite go: for the table in docs/reference/conformance.md."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiff_guard.conformance import Report

FOLDER = "KIFF_CONFORMANCE_OUT"


def keep(report: Report) -> Report:
    """Writes a report down where `make frameworks` looks for it, and gives it back: `keep(run(driver)).check()`."""
    folder = os.environ.get(FOLDER)
    if folder:
        name = re.sub(r"\W+", "-", report.adapter).strip("-")
        Path(folder, f"{name}.json").write_text(json.dumps(report.as_dict(), indent=1) + "\n", "utf-8")
    return report
