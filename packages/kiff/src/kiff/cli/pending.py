"""What a change of what is in force means for approvals that are open."""

from __future__ import annotations

import click


def say_pending(pending: int) -> None:
    """Says on stderr what becomes of them; nothing when there are none."""
    if pending:
        stay = "1 pending approval stays" if pending == 1 else f"{pending} pending approvals stay"
        means = "decided again under what is in force when used, and a grant satisfies only what it was asked for"
        click.echo(f"{stay}: {means}", err=True)
