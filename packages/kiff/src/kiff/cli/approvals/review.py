"""`kiff approvals grant` and `deny`: a person's answer, with its reason, never by accident."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import click

from kiff.cli.answer import fields
from kiff.cli.approvals.facts import facts, for_people, still
from kiff.cli.decision import exit_of
from kiff.cli.executors_file import registry
from kiff.cli.exits import Exit
from kiff.cli.output import output_option, print_fields
from kiff.cli.place import Place
from kiff.cli.place_options import acting_place_option
from kiff.cli.repeat import repeated, repeating_option
from kiff.cli.safe_text import visible
from kiff.cli.settings import setting_option
from kiff.client.nouns import Operation
from kiff.runtime import Reviewed

Verdict = Literal["grant", "deny"]


def _review_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(
        (
            click.argument("approval_id"),
            click.option("--reason", metavar="TEXT", help="Why; asked for on a terminal when left out."),
            repeating_option("--key", "review"),
            click.option("--dry-run", is_flag=True, help="Say whether it would count, and write nothing."),
            output_option,
            acting_place_option,
        )
    ):
        command = option(command)
    return command


@click.command("grant")
@_review_options
@click.option("--yes", is_flag=True, help="Do not ask; not enough for an action of high risk.")
@click.option("--confirm", metavar="ENTITY", help="The entity once more, as in order:ord_002: what high risk asks for.")
@setting_option("executors", "Holds EXECUTORS, for an approval that runs at once (on_grant: run).")
def grant(yes: bool, confirm: str | None, executors: Path, **said: Any) -> Exit:
    """Say yes to the call that APPROVAL_ID holds: to that call, once, before its use-by.

    Nobody grants what they proposed. Where several people must say yes, it stays held until the last of them did (and
    this ends with 10). Afterwards the caller repeats the call with --approval; with `on_grant: run` in
    the contract KIFF runs it at once.
    """
    return _Review("grant", executors=executors, yes=yes, confirm=confirm, **said).run()


@click.command("deny")
@_review_options
def deny(**said: Any) -> Exit:
    """Say no to the call that APPROVAL_ID holds, for good."""
    return _Review("deny", **said).run()


class _Review:
    """One answer: looked at, confirmed, given, shown."""

    def __init__(
        self,
        verdict: Verdict,
        *,
        approval_id: str,
        reason: str | None,
        id: str | None,
        dry_run: bool,
        output: str,
        place: Place,
        executors: Path | None = None,
        yes: bool = False,
        confirm: str | None = None,
    ) -> None:
        self.verdict: Verdict = verdict
        self.approval_id, self.reason, self.key = approval_id, reason, id
        self.dry_run, self.output, self.place = dry_run, output, place
        self.executors, self.yes, self.confirm = executors, yes, confirm

    def run(self) -> Exit:
        with self.place.reading() as reading:
            approval = reading.approval(self.approval_id)
            looked = reading.look(approval)
            if not self.dry_run and sys.stdin.isatty():
                _tell(for_people(facts(approval, looked)))
        reason = self.reason or _asked_reason(self.verdict)
        if self.verdict == "grant" and not self.dry_run:
            (self._confirm_high if looked.risk in (None, "high") else self._confirm)(approval.entity)
        with repeated("--key", self.key, "review", quiet=self.dry_run) as key:
            executors = self._executors if approval.on_grant == "run" or self.dry_run else dict
            answer = self.place.review(self.verdict, self.approval_id, reason, key, executors, dry_run=self.dry_run)
        return self._shown(answer)

    def _confirm_high(self, entity: str) -> None:
        """High risk: the entity is named once more, so that it is not the next one in a row of yeses."""
        said = self.confirm
        if said is None and self.yes:
            raise click.UsageError(f"--yes is not enough for an action of high risk: give --confirm {entity}")
        if said is None and sys.stdin.isatty():
            said = click.prompt(f"type {entity} to grant", err=True)
        if said is None:
            raise click.UsageError(f"the action is of high risk: name its entity with --confirm {entity}")
        if said != entity:
            raise click.UsageError(f"--confirm says `{visible(said)}`, and the call is about `{entity}`")

    def _confirm(self, entity: str) -> None:
        if self.yes or self.confirm == entity:
            return
        if not sys.stdin.isatty():
            raise click.UsageError("say --yes to grant it without being asked")
        click.confirm("grant it?", abort=True, err=True)

    def _executors(self) -> Mapping[str, Callable[..., Any]]:
        """What a grant may run. Only a dry run can do without the file."""
        if self.executors is None or (self.dry_run and not self.executors.is_file()):
            return {}
        return registry(self.executors)

    def _shown(self, answer: Reviewed) -> Exit:
        told = fields(answer, dry_run=self.dry_run, without=("decision",))
        allowed = None if answer.operation_id is None else "allowed"
        told["outcome"] = allowed if answer.decision is None else answer.decision.outcome
        told["message"] = None if answer.decision is None else answer.decision.message
        ended = None if self.dry_run else self._ended(answer)
        told["operation_status"] = None if ended is None else ended.status
        print_fields(self.output, told)
        self._say_what_is_next(answer, ended)
        if answer.decision is not None and answer.decision.outcome != "allowed":
            return exit_of(answer.decision)
        if answer.status == "pending":
            return Exit.HELD
        return _ENDED.get(ended.status, Exit.FAILED) if ended is not None else Exit.DONE

    def _say_what_is_next(self, answer: Reviewed, ended: Operation | None) -> None:
        if ended is not None and ended.status in ("unknown", "open"):
            hint = f"kiff operations settle {ended.id}"
            click.echo(f"  hint   do not send it again: look where it went, then {hint}", err=True)
        elif answer.status == "granted" and answer.operation_id is None and not self.dry_run:
            click.echo(f"  next   the caller repeats the call with --approval {answer.id}", err=True)
        elif answer.status == "pending":
            click.echo(f"  next   it takes {still(answer.still_needed)}", err=True)

    def _ended(self, answer: Reviewed) -> Operation | None:
        """How the operation of `on_grant: run` ended."""
        if answer.operation_id is None:
            return None
        with self.place.reading() as reading:
            return reading.operation(answer.operation_id)


_ENDED = {"succeeded": Exit.DONE, "unknown": Exit.UNKNOWN, "open": Exit.UNKNOWN}


def _asked_reason(verdict: Verdict) -> str:
    if not sys.stdin.isatty():
        raise click.UsageError("a review gives its reason: --reason TEXT")
    reason: str = click.prompt(f"reason to {verdict}", err=True)
    return reason


def _tell(told: dict[str, Any]) -> None:
    """The facts, on stderr: stdout is for the answer."""
    for name, value in told.items():
        if value not in (None, []):
            click.echo(f"  {name:<24}{visible(value)}", err=True)
