"""What every test shares: the hypothesis profiles, and a PostgreSQL.

`test` (the default) draws the same examples on every machine, so a red run is the change's fault. `soak`
(KIFF_SOAK=1) draws new ones, many more. Both print the blob that reproduces a failure, and neither has a
deadline: no test asserts a time.
"""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings
from postgres_server import Databases, NoPostgres, server

collect_ignore = ["frameworks"]  # each in an environment of its own: `make frameworks`

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


@pytest.fixture(scope="session")
def postgres() -> Databases:
    """A real PostgreSQL: `fresh()` databases, their `url`s for other roles, and a look into them by `execute`."""
    try:
        return server()
    except NoPostgres as missing:
        pytest.skip(str(missing))


@pytest.fixture
def fresh_database(postgres: Databases) -> str:
    """The URL of an empty database of the test's own."""
    return postgres.fresh()
