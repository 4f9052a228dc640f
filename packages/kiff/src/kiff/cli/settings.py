"""Where things are: the flag, else the KIFF_* variable, else ./kiff.toml, else the user's kiff.toml, else the default.

The environment and the settings files are read here, once a run, and nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from kiff.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])

FILE = "kiff.toml"


class Settings(NamedTuple):
    """What a command takes when no flag says otherwise.

    Args:
        db: the database file; a text when it is the URL of one on PostgreSQL.
        domain: the kiff.yaml.
        principals: who may act (`--as`).
        executors: the Python file that holds EXECUTORS.
        tenant: whose log.
        data: a server's folder.
        host, port: where a server listens.
        issuer: the name in a server's receipts and log origins.
        log_level: debug, info, warning or error.
        url: the server that commands talk to, instead of a database; empty for none.
    """

    db: Path | str = Path("kiff.db")
    domain: Path = Path("kiff.yaml")
    principals: Path = Path("principals.toml")
    executors: Path = Path("actions.py")
    tenant: str = "default"
    data: Path = Path("kiff-data")
    host: str = "127.0.0.1"
    port: str = "8480"
    issuer: str = "kiff"
    log_level: str = "warning"
    url: str = ""


PATHS = frozenset(name for name, default in Settings._field_defaults.items() if isinstance(default, Path))


def variable(name: str) -> str:
    """`db` is KIFF_DB."""
    return f"KIFF_{name.upper()}"


def setting_option(name: str, help: str, *, to: str | None = None) -> Callable[[F], F]:
    """Adds the flag of one setting.

    Args:
        to: what the command's function calls it, when not by the setting's name.
    """
    return click.option(
        f"--{name.replace('_', '-')}",
        to or name,
        type=DATABASE if name == "db" else click.Path(path_type=Path) if name in PATHS else str,
        default=lambda: getattr(settings(), name),
        show_default=str(Settings._field_defaults[name]),
        help=f"{help}  [env var: {variable(name)}]",
    )


def settings() -> Settings:
    """The settings of this run.

    Raises:
        InvalidInput: a settings file cannot be read, or says something that is no setting.
    """
    root = click.get_current_context().find_root()
    if root.obj is None:
        root.obj = _found(os.environ)
    found: Settings = root.obj
    return found


def secret() -> str | None:
    """KIFF_KEY: a key that stands above the credentials file. A secret is no setting, and has no flag."""
    return os.environ.get("KIFF_KEY") or None


def configuration() -> Path:
    """The user's configuration folder of KIFF; it may not be there."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kiff"


def _found(environment: Mapping[str, str]) -> Settings:
    said = _read(configuration() / FILE) | _read(Path(FILE))
    for name in Settings._fields:
        if value := environment.get(variable(name)):
            said[name] = _meant(name, value, Path())
    return Settings(**said)  # type: ignore[arg-type]  # _read gives each setting its type


def _read(file: Path) -> dict[str, Path | str]:
    """What one file says; paths are meant from its folder."""
    try:
        text = file.read_bytes().decode()
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}", field=str(file)) from error
    import tomllib

    try:
        said = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"`{file}` is not TOML: {error}", field=str(file)) from error
    for name, value in said.items():
        if name not in Settings._fields:
            raise InvalidInput(f"`{file}`: `{name}` is no setting; there are {', '.join(Settings._fields)}", field=name)
        if not isinstance(value, str) or not value or "\0" in value:
            raise InvalidInput(f"`{file}`: `{name}` must be a text", field=name)
    return {name: _meant(name, value, file.parent) for name, value in said.items()}


def _meant(name: str, value: str, folder: Path) -> Path | str:
    return folder / value if name in PATHS and not is_url(value) else value


def is_url(value: str) -> bool:
    """Whether it is the URL of a database, and not the path of one."""
    return value.startswith(("postgresql://", "postgres://"))


class _Database(click.Path):
    """A path, or the URL of a database on PostgreSQL, which stays a text."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        if not isinstance(value, str) or not is_url(value):
            return super().convert(value, parameter, context)
        name = None if parameter is None else parameter.name
        by_hand = context and name and context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if by_hand and (urlsplit(value).password or "password=" in value):
            message = "every user of this machine can read a password on a command line"
            self.fail(f"{message}; leave it to KIFF_DB, PGPASSWORD or ~/.pgpass", parameter, context)
        return value


DATABASE = _Database(path_type=Path)
