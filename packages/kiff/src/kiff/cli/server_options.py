"""What `kiff up` and `kiff serve` share: where to listen, where to keep things, what may run, and the log."""

from __future__ import annotations

import json
import logging
import stat
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kiff.cli.settings import setting_option
from kiff.errors import InvalidInput

if TYPE_CHECKING:
    from kiff.server.remote_settings import RemoteSettings
    from kiff.server.settings import Oidc

F = TypeVar("F", bound=Callable[..., Any])
LEVELS = ("debug", "info", "warning", "error")
PLACES = 5
"""How many of the innermost calls a log line names."""
SECRETS = "adapters.toml"
PROVIDER = "oidc.toml"


def server_options(command: F) -> F:
    """Adds `--data`, `--host`, `--port`, `--issuer` and `--log-level`."""
    for option in reversed(
        (
            setting_option("data", "The folder of the database, the keys and the rest."),
            setting_option("host", "The address to listen on."),
            setting_option("port", "The port; 0 takes a free one."),
            setting_option("issuer", "The name in receipts and log origins."),
            setting_option("log_level", "debug, info, warning or error."),
        )
    ):
        command = option(command)
    return command


def rollback_option(command: F) -> F:
    """Adds `--accept-rollback`."""
    return click.option(
        "--accept-rollback",
        multiple=True,
        metavar="TENANT",
        help="Go on with a log that holds less than was seen of it; the log records that. Say it once, not for good.",
    )(command)


def port_of(text: str) -> int:
    """A port number.

    Raises:
        InvalidInput: it is none.
    """
    if text.isdigit() and int(text) < 65_536:
        return int(text)
    raise InvalidInput(f"`{text:.20}` is no port; 0 to 65535", field="--port")


def start_logging(level: str) -> None:
    """Lines of JSON on stderr, and nothing else: from our own loggers and the server's, and what others warn of.

    Raises:
        InvalidInput: there is no such level.
    """
    if level not in LEVELS:
        raise InvalidInput(f"`{level:.20}` is no log level; {', '.join(LEVELS)}", field="--log-level")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.captureWarnings(True)
    for name in ("kiff", "uvicorn", None):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
        # What the libraries below say in detail may hold what they were given.
        logger.setLevel(level.upper() if name is not None else max(logging.WARNING, getattr(logging, level.upper())))
    threading.excepthook = _unhandled
    sys.unraisablehook = _unhandled


def _unhandled(said: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """An exception that nobody caught, in a thread or a finalizer."""
    error = said.exc_value
    told = None if error is None else (type(error), error, said.exc_traceback)
    logging.getLogger("kiff").error("an exception was not handled", exc_info=told)


class JsonLines(logging.Formatter):
    """One object a line; everything outside of ASCII is escaped, so no value can forge a line or move a cursor.

    Of an exception it tells the type and the place, never the text, which may hold what a caller sent or a secret.
    For the same reason only the first line of a message is told: libraries describe what they held in the others.
    """

    _OWN = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {
        "message",
        "asctime",
        "taskName",
        "color_message",  # uvicorn's, for terminals
    }

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage().split("\n", 1)[0],
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in self._OWN}
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])[-PLACES:]
            line["where"] = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
        return json.dumps(line, default=str).replace("\x7f", "\\u007f")


def adapter_secrets(data: Path) -> dict[str, tuple[str, ...]]:
    """The webhook secrets of `adapters.toml` in the data folder: `["<tenant>/<adapter>"]`, `secrets = ["…"]`.

    Raises:
        InvalidInput: it is readable by others, is no TOML, or says something else.
    """
    file = data / SECRETS
    return {name: _secrets(file, name, table) for name, table in (_private(file) or {}).items()}


def login_provider(data: Path) -> Oidc | None:
    """The login provider of `oidc.toml` in the data folder: issuer, client_id, client_secret, tenant, and the claim.

    Raises:
        InvalidInput: it is readable by others, is no TOML, or does not say what is needed.
    """
    file = data / PROVIDER
    said = _private(file)
    if said is None:
        return None
    from msgspec import ValidationError, convert  # most servers have no such file

    from kiff.server.oidc import require_usable
    from kiff.server.settings import Oidc

    try:
        found = convert(said, Oidc)
        require_usable(found)
    except ValidationError as error:
        raise InvalidInput(f"`{file}`: {str(error)[:1].lower()}{str(error)[1:]}", field=str(file)) from error
    except InvalidInput as error:
        raise InvalidInput(f"`{file}`: {error.message}", field=str(file)) from error
    return found


def remote_executors(data: Path) -> RemoteSettings:
    """What `executors.toml` and `mcp.toml` in the data folder say about executors that are reached by an address.

    Raises:
        InvalidInput: one is readable by others, is no TOML, or says something else.
    """
    from kiff.server.remote_settings import HTTPS_FILE, MCP_FILE, remote_settings

    return remote_settings(_private(data / HTTPS_FILE), _private(data / MCP_FILE))


def _private(file: Path) -> dict[str, Any] | None:
    """What a file of secrets says; None when there is none.

    Raises:
        InvalidInput: it cannot be read, or others can read it too.
    """
    try:
        mode = file.stat().st_mode
        said = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}", field=str(file)) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise InvalidInput(
            f"`{file}` holds secrets and is open to other users; run `chmod 600 {file}`", field=str(file)
        )
    return said


def _secrets(file: Path, name: str, table: object) -> tuple[str, ...]:
    secrets = table["secrets"] if isinstance(table, Mapping) and table.keys() == {"secrets"} else None
    right = isinstance(secrets, list) and secrets and all(isinstance(each, str) and each for each in secrets)
    tenant, _, adapter = name.partition("/")
    if not tenant or not adapter or not right or not isinstance(secrets, list):
        message = f'`{file}`: expected ["<tenant>/<adapter>"] with secrets = ["…"], found `{name:.60}`'
        raise InvalidInput(message, field=str(file))
    return tuple(secrets)
