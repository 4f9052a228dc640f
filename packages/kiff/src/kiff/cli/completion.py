"""`kiff completion`: the shell's half of completing commands, options and names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "fish", "zsh")
VARIABLE = "_KIFF_COMPLETE"
_WHERE = {
    "bash": 'put this line into ~/.bashrc:  eval "$(kiff completion bash)"',
    "fish": "run:  kiff completion fish > ~/.config/fish/completions/kiff.fish",
    "zsh": 'put this line into ~/.zshrc:  eval "$(kiff completion zsh)"',
}


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print what makes SHELL complete kiff commands. Where it belongs is said on stderr."""
    completion = get_completion_class(shell)
    assert completion is not None, "click knows the three"
    click.echo(completion(context.find_root().command, {}, "kiff", VARIABLE).source())
    click.echo(_WHERE[shell], err=True)
