"""`kiff replay`: history once more."""

from __future__ import annotations

from contextlib import closing

import click

from kiff.analysis import replay_store
from kiff.cli.database import Database, database_argument, open_database, shown
from kiff.cli.exits import Exit
from kiff.cli.output import output_option
from kiff.cli.progress import progress
from kiff.cli.safe_text import visible
from kiff.cli.verdict import print_verdict


@click.command("replay")
@database_argument
@output_option
def command(database: Database, output: str) -> Exit:
    """Fold every event in DATABASE again and decide every decision again, and compare with what is kept.

    Ends with 20 when anything comes out differently.
    """
    with closing(open_database(database)) as store, progress(f"replaying {visible(shown(database))}"):
        replayed = replay_store(store)
    counts = {"entities": replayed.entities, "events": replayed.events, "decisions": replayed.decisions}
    if replayed.erased:
        counts["not_decided_again"] = replayed.erased
    status = "valid" if replayed.match else "invalid"
    detail = "the rows are what the events lead to, and history decides as it did"
    if replayed.erased:
        detail += f", but for {replayed.erased} decisions that read what was erased since"
    rung = {"name": "REPLAYED", "ok": replayed.match, "detail": detail if replayed.match else "differs, see below"}
    print_verdict(output, "replay", shown(database), status, [rung], replayed.problems, counts)
    return Exit.DONE if replayed.match else Exit.INVALID
