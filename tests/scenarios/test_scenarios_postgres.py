"""Every case of spec/scenarios on PostgreSQL: on the runtime, and over HTTP by two servers whose calls alternate."""

from __future__ import annotations

from pathlib import Path

import pytest
from postgres_server import Databases
from scenario_cases import Case, cases
from scenario_drivers import Driver, Outside, SetClock, open_on
from scenario_http import OverHttp, over_http
from scenario_play import Play

from kiff.stores.postgres import PostgresStore

pytestmark = pytest.mark.slow

CASES = cases()


def named(case: Case) -> str:
    return f"{case.file}: {case.name}"


@pytest.fixture(scope="module")
def tables(postgres: Databases) -> str:
    """A database with the tables made, and nothing in them: to copy it is quicker than to make them."""
    url = postgres.fresh()
    PostgresStore(url).close()
    return url


@pytest.fixture
def database(postgres: Databases, tables: str) -> str:
    return postgres.fresh(tables)


def play(case: Case, folder: Path, database: str, *, http: bool) -> None:
    clock, outside = SetClock(), Outside()
    driver: Driver
    if http:
        driver = OverHttp(folder, case.domain, clock, outside, database)
    else:
        driver = open_on("postgres", folder, case.domain, clock, outside, database)
    try:
        Play(case, driver, clock, outside).run()
    finally:
        if outside.hanging:
            outside.release("succeed")
        driver.close()


@pytest.mark.soak
@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_scenario_goes_as_it_is_written_on_postgresql(case: Case, tmp_path: Path, database: str) -> None:
    play(case, tmp_path, database, http=False)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_scenario_goes_as_it_is_written_over_http_by_two_servers(case: Case, tmp_path: Path, database: str) -> None:
    play(over_http(case), tmp_path, database, http=True)
