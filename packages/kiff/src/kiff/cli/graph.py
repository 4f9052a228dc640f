"""`kiff graph`: the state machine of a domain, drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from kiff.cli.domain_file import domain_argument, read_domain
from kiff.cli.drawing import ASCII, GLYPHS, Picture, dot, picture, plain, svg
from kiff.cli.output import painted
from kiff.errors import InvalidInput

_FORMATS = {"text": plain, "dot": dot, "svg": svg}


@click.command("graph")
@domain_argument
@click.option(
    "--format",
    "drawn_as",
    type=click.Choice(list(_FORMATS)),
    help="How to draw it.  [default: what the name given with --to ends with, else text]",
)
@click.option("--to", type=click.Path(dir_okay=False, path_type=Path), help="The file to draw into, instead of stdout.")
def command(file: Path, drawn_as: str | None, to: Path | None) -> None:
    """Draw the state machine of a domain.

    The states, the events that lead from one to another, and in each state the actions that may start there: their
    risk, whether a person approves, and the event they report. A draft is drawn too, as far as it goes.
    """
    drawn = picture(read_domain(file))
    ending = to.suffix[1:] if to is not None else ""
    drawn_as = drawn_as or (ending if ending in _FORMATS else "text")
    if to is None:
        print(_for_stdout(drawn) if drawn_as == "text" else _FORMATS[drawn_as](drawn), end="")
        return
    try:
        to.write_text(_FORMATS[drawn_as](drawn), "utf-8")
    except OSError as error:
        raise InvalidInput(f"`{to}` cannot be written: {error.strerror}", field="--to") from error
    click.echo(f"wrote {to}", err=True)


def _for_stdout(drawn: Picture) -> str:
    """Text in colours where somebody looks, in signs that the stream has."""
    try:
        "".join(GLYPHS).encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return plain(drawn, ASCII, painted)
    return plain(drawn, GLYPHS, painted)
