"""`python -m kiff_guard.cli`, where the script is not on the path."""

from __future__ import annotations

import sys

from kiff_guard.cli import main

sys.exit(main())
