"""`python -m kiff_guard.hooks`: where the script is not installed."""

import sys

from kiff_guard.hooks import main

sys.exit(main())
