"""A peer's process, as it looks from here."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.peers.environment import ROOT, NotThere


class Peer:
    """A process of the peers' environment that takes its turns.

    Args:
        python: of that environment.
        module: the subject's, in benchmarks.peers.
        folder: where its files go: on the disk that KIFF is measured on.

    Raises:
        NotThere: it does not start.
    """

    def __init__(self, python: Path, module: str, folder: Path) -> None:
        self._folder = folder
        self._complaints = (folder / f"{module}.stderr").open("w+")
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.peers.{module}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            text=True,
        )
        self.versions: dict[str, str] = self._heard()["versions"]

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()
        self._complaints.close()

    def seconds(self, job: str, **asked: Any) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"job": job, "folder": str(self._folder), **asked}) + "\n")
        self._process.stdin.flush()
        return float(self._heard()["seconds"])

    def _heard(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._complaints.seek(0)
            said = self._complaints.read().strip().splitlines() or ["it said nothing"]
            raise NotThere(f"its process ended: {said[-1][:200]}")
        heard: dict[str, Any] = json.loads(line)
        return heard
