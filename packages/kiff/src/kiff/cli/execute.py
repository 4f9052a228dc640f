"""`kiff execute`: an action through the gate and its executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kiff.cli.call import call_options, put
from kiff.cli.executors_file import registry
from kiff.cli.exits import Exit
from kiff.cli.settings import setting_option


@click.command("execute")
@call_options
@setting_option("executors", "The Python file that holds EXECUTORS.")
def command(executors: Path, **said: Any) -> Exit:
    """Run an action through its executor, if the gate allows it now. A server has executors of its own.

    ACTION and ENTITY are as in `kiff propose`. Ends with 0 (it ran and succeeded), 1 (it failed), 14 (nobody knows
    how it ended), 10 (held for a person), 11 (refused), 12 (denied) or 13 (expired).
    """
    return put("execute", **said, executors=lambda: registry(executors))
