"""Commands of the form `kiff <noun> <verb>`. A noun alone lists."""

from __future__ import annotations

import click


class Noun(click.Group):
    """A group whose verb is `list` when none is given: `kiff approvals`, `kiff approvals --tenant acme`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if not first or (first.startswith("-") and first not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)
