"""What the guard adds to a tool call, besides asking KIFF, and what its import costs."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.floors import cpu_us
from benchmarks.lines import figure
from kiff_guard import Decision, Guard

ARGS = {"order_id": "ord_001", "amount": 49.0, "reason": "customer request"}
IMPORT = "import time; begin = time.process_time(); import kiff_guard; print(time.process_time() - begin)"
HOOK = '{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t","tool_name":"Bash","tool_input":{}}'


class Yes:
    """A KIFF that says yes at once, so that only the guard is measured."""

    def decide(self, tenant: str, agent: str, tool: str, args: dict[str, Any], run_context: Any = None) -> Decision:
        return Decision("allowed", proposal_id="prop_1")


def measure(rounds: int) -> None:
    for name, call in _calls().items():
        figure(f"guard, {name}", f"{cpu_us(call):.1f} us", "at most 50 us")
    figure("guard, import of the core", _milliseconds([sys.executable, "-c", IMPORT], rounds, told=True), "under 30 ms")
    figure("guard, start of kiff-hook with its answer", _hook(rounds), "under 150 ms")


def _calls() -> dict[str, Callable[[], object]]:
    """One guarded call in each shape; the tool itself does nothing."""
    enforce, observe = Guard(Yes(), mode="enforce", agent="ops-agent"), Guard(mode="observe")
    numbers = iter(range(10**9))

    def vote() -> object:
        decision = enforce.decide_only("refund", ARGS, call_id=f"call-{next(numbers)}")
        return enforce.settle(decision, result="done")

    return {
        "enforce, evaluate": lambda: enforce.evaluate("refund", ARGS, lambda: "done", call_id=f"call-{next(numbers)}"),
        "enforce, decide_only and settle": vote,
        "observe, evaluate": lambda: observe.evaluate("refund", ARGS, lambda: "done", call_id=f"call-{next(numbers)}"),
    }


def _milliseconds(command: list[str], rounds: int, *, told: bool = False, given: str = "") -> str:
    """The median of some runs of a program: as long as it took, or as long as it says."""
    times = []
    for _ in range(max(rounds, 3)):
        begin = time.perf_counter()
        ended = subprocess.run(command, input=given, capture_output=True, text=True)
        times.append(float(ended.stdout) if told else time.perf_counter() - begin)
    return f"{statistics.median(times) * 1e3:.1f} ms"


def _hook(rounds: int) -> str:
    return _milliseconds([sys.executable, "-m", "kiff_guard.hooks", "claude-code"], rounds, given=HOOK)
