"""What every test shares: the hypothesis profiles.

`test` (the default) draws the same examples on every machine, so a red run is the change's fault. `soak`
(KIFF_SOAK=1) draws new ones, many more. Both print the blob that reproduces a failure, and neither has a
deadline: no test asserts a time.
"""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

settings.register_profile("test", max_examples=60, derandomize=True, deadline=None, print_blob=True)
settings.register_profile(
    "soak",
    max_examples=5_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("soak" if os.environ.get("KIFF_SOAK") == "1" else "test")

# A shell that runs the tests in the background has them ignore Ctrl-C, and the programs they start would inherit
# that: those tests send it on purpose.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
