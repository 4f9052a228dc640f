"""`kiff new`: a project that runs, from a template. It is there as a whole, or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from kiff.cli.output import SCHEMA, output_option, print_json, print_rows
from kiff.domain.issue import did_you_mean
from kiff.errors import InvalidInput

ROOT = Path(__file__).parents[1] / "templates"
EVERY_PROJECT = "project"
"""The template whose files every project gets."""

TEMPLATES = {"agentic-ops": "support-ops"}
"""Template -> the name that the project's own takes the place of."""

NEXT = (
    ("cd {}", ""),
    ("make demo", "five tickets, five outcomes: without KIFF, with it, and the proof"),
    ("make test", "the tests of the domain"),
    ("kiff check", "what is wrong with kiff.yaml, and how to mend it"),
)

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")


@click.command("new")
@click.argument("name")
@click.option(
    "--template",
    "-template",
    metavar="TEMPLATE",
    default="agentic-ops",
    show_default=True,
    help=f"What to begin with: {', '.join(TEMPLATES)}.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be written, and write nothing.")
@output_option
def command(name: str, template: str, dry_run: bool, output: str) -> None:
    """Make a project: a governed domain that runs.

    NAME may have a path before it, as in github.com/your/project: the folder is its last part, and is made here.
    """
    folder = _folder(name)
    domain = folder.name.lower().replace("_", "-").replace(".", "-")
    files = dict(_files(template, domain))
    _free(folder)
    if not dry_run:
        _write(folder, files)
    if output == "json":
        told = {"folder": str(folder), "template": template, "domain": domain, "dry_run": dry_run}
        print_json({"kiff": SCHEMA, **told, "files": list(files)})
    else:
        print_rows(output, "files", ("file",), [{"file": f"{folder}/{file}"} for file in files])
    if not dry_run:
        for line, what in NEXT:
            click.echo(f"  {line.format(folder):<12} {what}".rstrip(), err=True)


def _folder(name: str) -> Path:
    """The folder that a name stands for.

    Raises:
        click.UsageError: it is a path, or no name for a project.
    """
    before, _, last = name.removesuffix("/").rpartition("/")
    if name.startswith((".", "/", "~")) or (before and Path(before).is_dir()):
        raise click.UsageError(f"`{name}` is a path, and a project is made here: cd there, then give its name alone")
    if not _NAME.fullmatch(last):
        expected = "a letter, then up to 62 letters, digits, dots, hyphens or underscores"
        raise click.UsageError(f"expected a name ({expected}), found `{last}`")
    return Path(last)


def _files(template: str, domain: str) -> Iterator[tuple[str, str]]:
    """Name and text of each file of a new project.

    Raises:
        click.UsageError: there is no such template.
    """
    if template not in TEMPLATES:
        fix = did_you_mean(template, TEMPLATES) or f"there is {', '.join(TEMPLATES)}"
        raise click.UsageError(f"there is no template `{template}`; {fix}")
    filled = {TEMPLATES[template]: domain, "@KIFF_VERSION@": version("kiff")}
    paths = [path for folder in (template, EVERY_PROJECT) for path in (ROOT / folder).iterdir() if path.is_file()]
    for path in sorted(paths, key=lambda path: path.name):
        text = path.read_text("utf-8")
        for placeholder, value in filled.items():
            text = text.replace(placeholder, value)
        yield path.name, text


def _free(folder: Path) -> None:
    """Nothing that is there is ever touched."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidInput(f"`{folder}` is there already, and is not a folder", field="name", hint="take another name")
    if folder.is_dir() and any(folder.iterdir()):
        raise InvalidInput(f"`{folder}` is there already, and is not empty", field="name", hint="take another name")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Beside its place first, then into it: whoever interrupts, or has no room, has no half of a project."""
    try:
        with TemporaryDirectory(dir=".", prefix=f".{folder.name}-") as beside:
            project = Path(beside) / "project"
            project.mkdir()
            for name, text in files.items():
                (project / name).write_text(text, "utf-8")
            project.rename(folder)
    except OSError as error:
        message = f"`{folder}` cannot be made: {error.strerror or error}"
        raise InvalidInput(message, field="name", hint="nothing was written") from error
