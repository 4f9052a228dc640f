"""What the guard adds to a tool call, besides asking KIFF, and what its import costs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import http
from benchmarks.floors import cpu_us
from benchmarks.lines import figure
from benchmarks.subject import PARAMETERS
from kiff_guard import Decision, Guard

ARGS = {"order_id": "ord_001", "amount": 49.0, "reason": "customer request"}
IMPORT = "import time; begin = time.process_time(); import kiff_guard; print(time.process_time() - begin)"
IN_USE = {"action": "AUTO_REFUND", "entity_type": "order", "entity_arg": "order"}
ROUNDS = 15  # of a program: its start varies by more than what is measured
HOOK = [sys.executable, "-m", "kiff_guard.hooks", "claude-code"]


class Yes:
    """A KIFF that says yes at once, so that only the guard is measured."""

    def decide(self, tenant: str, agent: str, tool: str, args: dict[str, Any], run_context: Any = None) -> Decision:
        return Decision("allowed", proposal_id="prop_1")


def measure(folder: Path, rounds: int) -> None:
    for name, call in _calls().items():
        figure(f"guard, {name}", f"{cpu_us(call):.1f} us", "at most 50 us")
    figure("guard, import of the core", _milliseconds([sys.executable, "-c", IMPORT], rounds, told=True), "under 30 ms")
    figure("guard, kiff-hook that observes, from start to end", _hook_observes(folder, rounds), "under 150 ms")
    figure("guard, kiff-hook that enforces, KIFF's answer included", _hook_enforces(folder, rounds), "under 150 ms")


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


def _milliseconds(
    command: list[str],
    rounds: int,
    *,
    told: bool = False,
    given: Callable[[int], str] = lambda number: "",
    variables: dict[str, str] | None = None,
) -> str:
    """The median of some runs of a program: as long as it took, or as long as it says."""
    times = []
    environment = {**os.environ, **(variables or {})}
    for number in range(max(rounds, ROUNDS)):
        begin = time.perf_counter()
        ended = subprocess.run(
            command, input=given(number), capture_output=True, text=True, check=True, env=environment
        )
        times.append(float(ended.stdout) if told else time.perf_counter() - begin)
        assert told or ended.stdout.strip() == "{}", f"the hook let no call go: {ended.stdout}"
    return f"{statistics.median(times) * 1e3:.1f} ms"


def _event(number: int) -> str:
    """What an agent tells the hook before a refund of an order that no other run refunds."""
    call = {"session_id": "s", "tool_use_id": f"t{number}", "tool_name": "refund"}
    return json.dumps({"hook_event_name": "PreToolUse", **call, "tool_input": {"order": str(number), **PARAMETERS}})


def _hook_observes(folder: Path, rounds: int) -> str:
    return _milliseconds(
        [*HOOK, "--mode", "observe"], rounds, given=_event, variables={"HOME": str(folder / "observes")}
    )


def _hook_enforces(folder: Path, rounds: int) -> str:
    """Beside a server that decides, signs and keeps each decision."""
    data, home = folder / "enforced", folder / "enforces"
    http.prepare(data, max(rounds, ROUNDS))
    settings = home / ".config/kiff/guard.json"
    settings.parent.mkdir(parents=True)
    with http.served(data, folder) as (port, key):
        told = {"mode": "enforce", "url": f"http://127.0.0.1:{port}", "agent": "ops-agent", "tools": {"refund": IN_USE}}
        settings.write_text(json.dumps(told))
        settings.chmod(0o600)
        return _milliseconds(HOOK, rounds, given=_event, variables={"HOME": str(home), "KIFF_API_KEY": key})
