"""What `kiff propose` and `kiff execute` share: a call on an entity, its options, and how it is put to the gate."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec import Struct

from kiff.cli.database import database_option, snapshot, writing
from kiff.cli.decision import show_decision, show_rehearsed
from kiff.cli.exits import Exit
from kiff.cli.given import pairs
from kiff.cli.output import output_option
from kiff.cli.principals import acting_options, caller
from kiff.cli.repeat import repeated, repeating_option
from kiff.protocol.actor import Caller
from kiff.protocol.proposal import Mode
from kiff.runtime import Decided, Runtime
from kiff.runtime.ports import Executor
from kiff.runtime.rehearsal import Rehearsal

F = TypeVar("F", bound=Callable[..., Any])


def call_options(command: F) -> F:
    """Adds what a call is made of, who makes it, and where."""
    for option in reversed(
        (
            click.argument("action"),
            click.argument("entity"),
            click.option("-p", "--parameter", "given", metavar="NAME=VALUE", multiple=True, help="May be repeated."),
            click.option("--parameters", metavar="JSON", help="All of them: a JSON object, @FILE, or - for stdin."),
            click.option(
                "--approval", "approval_id", metavar="ID", help="The granted approval of a call that was held."
            ),
            click.option("--reasoning", metavar="TEXT", help="Why; shown to reviewers, compared nowhere."),
            repeating_option("--id", "proposal"),
            click.option("--dry-run", is_flag=True, help="Say what the gate would say, and write nothing."),
            acting_options,
            output_option,
            database_option,
        )
    ):
        command = option(command)
    return command


class Call(Struct, frozen=True):
    """One command line of `propose` or `execute`, read."""

    action: str
    entity: str
    parameters: dict[str, Any]
    id: str
    approval_id: str | None
    reasoning: str | None

    def named(self) -> dict[str, Any]:
        """As the runtime and the edge take it."""
        return {
            "entity": self.entity,
            "action": self.action,
            "parameters": self.parameters,
            "id": self.id,
            "approval_id": self.approval_id,
            "reasoning_summary": self.reasoning,
        }


def put(
    mode: Mode,
    *,
    action: str,
    entity: str,
    given: tuple[str, ...],
    parameters: str | None,
    approval_id: str | None,
    reasoning: str | None,
    id: str | None,
    dry_run: bool,
    acting: str | None,
    principals: Path,
    output: str,
    database: Path,
    tenant: str,
    executors: Mapping[str, Executor] | None = None,
    settles: bool = False,
) -> Exit:
    """Puts one call to the gate, or rehearses it, and shows what came of it."""
    who = caller(acting, principals, tenant)
    said = pairs(given, parameters, flag="--parameters")
    with repeated("--id", id, "prop", quiet=dry_run) as id:
        call = Call(action, entity, said, id, approval_id, reasoning)
        if dry_run:
            return _rehearse(mode, who, call, output, database, executors or {}, settles)
        # What executors print is no data of ours.
        with redirect_stdout(sys.stderr), writing(database, executors) as runtime:
            answer = _ask(runtime, mode, who, call, settles)
            version = runtime.read.receipt(answer.receipt_id, tenant=tenant)["domain_version"]
        return show_decision(answer, output, domain_version=version)


def _ask(runtime: Runtime, mode: Mode, who: Caller, call: Call, settles: bool) -> Decided:
    if mode == "execute":
        return runtime.execute(who, **call.named()).result()
    return runtime.propose(who, **call.named(), settles=settles).result()


def _rehearse(
    mode: Mode, who: Caller, call: Call, output: str, database: Path, executors: Mapping[str, Executor], settles: bool
) -> Exit:
    with snapshot(database) as still:
        rehearsal = Rehearsal(still, executors)
        change = rehearsal.take(rehearsal.edge.propose(mode, who, **call.named(), settles=settles))
    return show_rehearsed(change, output, action=call.action, entity=call.entity)
