"""`make frameworks`: the tests of every row of matrix.toml, each in its own environment, some at a time.

python tests/frameworks latest|floor|together [NAME ...] [--jobs N]

A line for each row, its log in .frameworks/logs, and an exit code that is not 0 if anything failed. The reports of the
conformance suite are compared with docs/reference/conformance.json; with KIFF_WRITE_DOCS=1 they are taken over.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from conformance_table import changed, module_of, take_over
from environments import FOLDER, NoPython, clean, made, python_of
from matrix import COLUMNS, HERE, RESULTS, ROOT, Row, rows

LIMIT_SECONDS = 20 * 60
"""Of one row: what hangs must not hang the rest."""
SHOWN_LINES = 40
OTHERWISE = "the docs say otherwise of"
COUNTS = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)")
SUM = re.compile(r"\d+ \w+ in [\d.]+s\b")
QUIET = {
    "OTEL_SDK_DISABLED": "true",
    "AGNO_TELEMETRY": "false",
    "ANONYMIZED_TELEMETRY": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
}
"""No framework calls home from a test."""
SECRETS = re.compile(r"(_API_KEY|_TOKEN|_SECRET)$|^KIFF_")


@dataclass(frozen=True)
class Outcome:
    """Attributes:
    verdict: ok, FAILED, or skipped.
    said: counts, or why.
    """

    row: Row
    verdict: str
    said: str
    installing: float = 0.0
    testing: float = 0.0

    def line(self) -> str:
        times = f"{self.testing:6.1f} s  (made in {self.installing:.1f} s)" if self.testing else ""
        return f"{self.verdict:8s} {self.row.name:27s} {self.said:34s} {times}".rstrip()


def main(words: list[str] | None = None) -> int:
    options = _options(words)
    known = rows()
    unknown = sorted(set(options.names) - {row.name for row in known})
    if unknown:
        print(f"no such row in matrix.toml: {', '.join(unknown)}; there are {', '.join(row.name for row in known)}")
        return 2
    chosen = [row for row in known if (row.name in options.names) or (not options.names and row.takes(options.column))]
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as threads:
        for outcome in threads.map(lambda row: _run(row, options.column), chosen):
            print(outcome.line(), flush=True)
            outcomes.append(outcome)
            if outcome.verdict == "FAILED" and OTHERWISE not in outcome.said:
                _show(outcome.row, options.column)
    failed = [outcome.row.name for outcome in outcomes if outcome.verdict == "FAILED"]
    if failed:
        print(f"{len(failed)} of {len(chosen)} failed: {' '.join(failed)}; logs are in {FOLDER.name}/logs")
    if any(OTHERWISE in outcome.said for outcome in outcomes):
        print("with KIFF_WRITE_DOCS=1 the docs take over what came out")
    return 1 if failed else 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="frameworks")
    parser.add_argument("column", choices=COLUMNS)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(words)


def _run(row: Row, column: str) -> Outcome:
    if column not in row.columns:
        return Outcome(row, "skipped", row.why)
    started = time.monotonic()
    try:
        folder = made(row, column)
    except NoPython as missing:
        return Outcome(row, "skipped", str(missing))
    except subprocess.CalledProcessError as error:
        return Outcome(row, "FAILED", f"its pins cannot be installed: {_last(error.output or '')}")
    installing = time.monotonic() - started
    code, log, reports = _test(row, column, folder)
    text = log.read_text("utf-8", "replace")
    testing = time.monotonic() - started - installing
    said = _counts(text)
    if code != 0 or "passed" not in said:  # what ended without a word has tested nothing
        return Outcome(row, "FAILED", said or _last(text), installing, testing)
    differs = _compared(row, column, reports)
    return Outcome(row, "FAILED" if differs else "ok", differs or said, installing, testing)


def _test(row: Row, column: str, folder: Path) -> tuple[int, Path, Path]:
    """(exit code, log, folder of reports) of pytest in the row's environment."""
    name = f"{row.name}-{column}"
    home, reports, logs = (FOLDER / each for each in (f"home/{name}", f"reports/{name}", "logs"))
    for fresh in (home, reports):
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
    logs.mkdir(exist_ok=True)
    plain = {key: value for key, value in clean().items() if not SECRETS.search(key)}
    kiff = {"KIFF_CONFORMANCE_OUT": str(reports), "KIFF_BIN": os.environ.get("KIFF_BIN", str(ROOT / ".venv/bin/kiff"))}
    path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    command = [python_of(folder), "-m", "pytest", "-q", "-c", HERE / "pytest.ini", "--rootdir", HERE]
    log = logs / f"{name}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, *(HERE / tests for tests in row.tests)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**plain, **QUIET, **kiff, "HOME": str(home), "PATH": path},
            start_new_session=True,
        )
        try:
            return process.wait(LIMIT_SECONDS), log, reports
        except subprocess.TimeoutExpired:
            out.write(f"\nended after {LIMIT_SECONDS} s\n".encode())
            return -1, log, reports
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends what the tests left running: they have a process group of their own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _counts(text: str) -> str:
    """What pytest counted, by the line that sums up."""
    ends = [line for line in text.splitlines() if SUM.search(line)]
    return ", ".join(f"{count} {what}" for count, what in COUNTS.findall(ends[-1])) if ends else ""


def _show(row: Row, column: str) -> None:
    """The end of a log, on the terminal of whoever has only that."""
    log = FOLDER / "logs" / f"{row.name}-{column}.log"
    if log.exists():
        print("".join(f"    {line}\n" for line in log.read_text("utf-8", "replace").splitlines()[-SHOWN_LINES:]))


def _last(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "it says nothing"


def _compared(row: Row, column: str, folder: Path) -> str:
    """Why the reports are not those of the docs; "" if they are, or have been taken over."""
    fresh = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    reported = {module_of(report["adapter"]) for report in fresh}
    silent = [adapter for adapter in row.adapters if adapter not in reported]
    if silent:
        return f"no report of {', '.join(silent)}"
    column = RESULTS[column]
    if os.environ.get("KIFF_WRITE_DOCS"):
        take_over(column, fresh)
        return ""
    differs = changed(column, fresh)
    return f"{OTHERWISE} {', '.join(differs)}" if differs else ""


if __name__ == "__main__":
    sys.exit(main())
