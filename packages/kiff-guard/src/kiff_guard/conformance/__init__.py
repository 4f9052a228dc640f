"""The contract every adapter keeps, as a suite that anybody can run: no test framework is needed.

from kiff_guard.conformance import run
run(MyDriver()).check()
"""

from kiff_guard.conformance.apart import run_apart
from kiff_guard.conformance.driver import Driver, Played, Scene, ToolCall, stoppable
from kiff_guard.conformance.invariants.table import Invariant, rows
from kiff_guard.conformance.published import AdapterDriver, ConformanceClient, run_conformance
from kiff_guard.conformance.report import NotConformant, Report, Result
from kiff_guard.conformance.scripted import Approval, Asked, Garbage, ScriptedClient, Settled
from kiff_guard.conformance.suite import run

__all__ = [
    "AdapterDriver",
    "Approval",
    "Asked",
    "ConformanceClient",
    "Driver",
    "Garbage",
    "Invariant",
    "NotConformant",
    "Played",
    "Report",
    "Result",
    "Scene",
    "ScriptedClient",
    "Settled",
    "ToolCall",
    "rows",
    "run",
    "run_apart",
    "run_conformance",
    "stoppable",
]
