"""`kiff approvals`: what waits for a person, and the person's answer."""

from __future__ import annotations

import click

from kiff.cli.approvals.listing import list_, show
from kiff.cli.approvals.review import deny, grant
from kiff.cli.approvals.watch import watch
from kiff.cli.noun import Noun


@click.group("approvals", cls=Noun)
def command() -> None:
    """See what waits for a person, and answer it."""


for each in (list_, show, grant, deny, watch):
    command.add_command(each)
