"""`kiff propose`: may the caller's own code run this action now?"""

from __future__ import annotations

from typing import Any

import click

from kiff.cli.call import call_options, put
from kiff.cli.exits import Exit


@click.command("propose")
@call_options
@click.option("--settles", is_flag=True, help="Promise to report the outcome: kiff operations settle.")
def command(**said: Any) -> Exit:
    """Ask whether an action may run now, by the caller's own hand.

    ACTION is a name of the domain, ENTITY is written `type:id`. When it is allowed there is a clearance for 60
    seconds. Ends with 0 (allowed), 10 (held for a person), 11 (refused), 12 (denied) or 13 (expired).
    """
    return put("decide", **said)
