"""Runs the invariants against a driver."""

from __future__ import annotations

import gc
import logging
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kiff_guard.conformance.driver import Driver
from kiff_guard.conformance.invariants import (
    awaiting,
    cancelling,
    concurrency,
    enforcing,
    exceptions,
    observing,
    people,
    receipts,
    resuming,
    streaming,
)
from kiff_guard.conformance.invariants.table import INVARIANTS, Invariant, NotHere, rows
from kiff_guard.conformance.report import FAILED, LACKS, PASSED, Report, Result, Violated
from kiff_guard.conformance.trial import ASYNC, SYNC, Trial

MODULES = (
    observing,
    enforcing,
    receipts,
    exceptions,
    concurrency,
    awaiting,
    cancelling,
    streaming,
    resuming,
    people,
)
"""Whose rows make the table."""
NO_LOOP = "it has no asynchronous way"


def run(driver: Driver, only: Iterable[str] = ()) -> Report:
    """Every invariant, each on every way the driver has. It raises nothing: `check` of the report does.

    Args:
        only: ids of invariants, to look at some; the report then has these alone.
    """
    chosen = set(only) or set(INVARIANTS)
    with _quiet():
        results = [_result(driver, row) for row in rows() if row.id in chosen]
    unknown = sorted((set(driver.lacks) | chosen) - set(INVARIANTS))
    results += [Result(id, FAILED, "there is no such invariant") for id in unknown]
    return Report(driver.name, str(getattr(driver, "version", "")), tuple(results))


def ways(driver: Driver) -> list[str]:
    """How the driver can be driven."""
    return [way for way in (SYNC, ASYNC) if callable(getattr(driver, way, None))]


def _result(driver: Driver, row: Invariant) -> Result:
    if row.id in driver.lacks:
        return _lacked(row, driver.lacks[row.id])
    able = [way for way in ways(driver) if way == ASYNC or not row.asynchronous]
    if not able:
        return _lacked(row, NO_LOOP)
    for way in able:
        try:
            row.check(Trial(driver, way))
        except NotHere as reason:
            return _lacked(row, str(reason))
        except Violated as violation:
            return Result(row.id, FAILED, f"{violation} ({way})")
        except Exception as error:  # noqa: BLE001  # a driver's, a guard's: nothing was shown
            return Result(row.id, FAILED, f"it broke: {error!r} at {_place(error)} ({way})")
        finally:
            gc.collect(1)  # what a run left behind is closed now, and not in the middle of another's
    return Result(row.id, PASSED)


def _lacked(row: Invariant, why: str) -> Result:
    if row.mandatory:
        return Result(row.id, FAILED, f"no driver may lack it ({why})")
    if not why.strip():
        return Result(row.id, FAILED, "it is lacked, and no reason is given")
    return Result(row.id, LACKS, why)


@contextmanager
def _quiet() -> Iterator[None]:
    """The guard tells of what breaks, and here it is broken on purpose."""
    log, silence = logging.getLogger("kiff_guard"), logging.NullHandler()
    propagates, log.propagate = log.propagate, False
    log.addHandler(silence)
    try:
        yield
    finally:
        log.removeHandler(silence)
        log.propagate = propagates


def _place(error: BaseException) -> str:
    """Where it was raised: file and line."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "?"
