"""Writes that can be repeated: each has an id, so that an answer that was lost can be asked for again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from kiff.errors import Conflict, StoreError, Unanswered
from kiff.runtime.clock import Ulids


def repeating_option(flag: str, what: str) -> Callable[[Any], Any]:
    """Adds `--id` or `--key`: the same one brings the first answer again."""
    help = f"The {what}'s id; repeating it brings the first answer again. Drawn when left out."
    return click.option(flag, "id", metavar="ID", help=help)


@contextmanager
def repeated(flag: str, given: str | None, prefix: str, *, quiet: bool = False) -> Iterator[str]:
    """The id of one write; drawn, when none was given, and told when the write did not come to an answer.

    Args:
        quiet: nothing is written, so there is nothing to repeat.
    """
    id = given or f"{prefix}_{Ulids().draw()}"
    try:
        yield id
    except (KeyboardInterrupt, Conflict, StoreError, Unanswered, OSError) as error:
        lost = type(error) is Conflict or not isinstance(error, Conflict)  # its kinds are answers
        if lost and not quiet and given is None:
            click.echo(f"  again  {flag} {id} repeats this very call, and brings its answer if there is one", err=True)
            click.echo("         kiff operations list shows what had begun and was cut off", err=True)
        raise
