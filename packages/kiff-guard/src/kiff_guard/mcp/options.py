"""What `kiff-mcp` is told on its command line and in its environment, and the guard that comes of it."""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kiff_guard.errors import ConfigurationError
from kiff_guard.guard import Guard
from kiff_guard.mcp.desk import ADAPTER
from kiff_guard.tool_map import ToolMap
from kiff_guard.version import VERSION

MODES = ("observe", "enforce")
UNMAPPED = ("withhold", "allow", "observe")
ERRORS = ("unknown", "failed")
TOOLS_FILE_LIMIT = 1024 * 1024
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_HEADERS_OF_OURS = frozenset(
    (
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect"),
        *("host", "last-event-id", "origin", "te", "trailer", "transfer-encoding", "upgrade", "user-agent"),
    )
)

_ABOUT = """
A gateway in front of any MCP server: every tool call is decided by KIFF before the server sees it.

  kiff-mcp [options] -- SERVER [ARGUMENT ...]              a server that speaks over stdin and stdout
  kiff-mcp [options] --upstream URL                        a server behind a URL, for a client that starts its servers
  kiff-mcp [options] --upstream URL --listen HOST:PORT     the same, for clients that are given a URL
"""
_KEYS = """
environment:
  KIFF_URL        where KIFF is, unless --url says
  KIFF_API_KEY    the key to ask with; the server is given no variable that begins with KIFF_
  VARIABLE        of --header: the whole value, such as `Bearer …`; a command line is seen by everybody on the machine
"""


@dataclass(frozen=True)
class Options:
    """What the gateway is to do.

    Attributes:
        command: starts the server; empty for one behind a URL.
        upstream: the server's URL.
        headers: what the upstream is sent beside, for its own authorization.
        listen: host and port to listen on; None for a client on stdin and stdout.
        origins: origins of web pages that may use the gateway, beside its own.
    """

    mode: str
    url: str
    key: str
    agent: str
    domain: str
    tools: ToolMap
    receipts: str
    unmapped: str
    fail_closed: bool
    errors: str = "unknown"
    reports: bool = False
    command: tuple[str, ...] = ()
    upstream: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    listen: tuple[str, int] | None = None
    origins: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"<Options {self.mode} {self.upstream or ' '.join(self.command[:1])}>"


def read(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options of one run.

    Raises:
        ConfigurationError: they cannot be right; names which, and what to write.
        SystemExit: --help, or an option that does not exist.
    """
    own, command = _split(arguments)
    given, more = _parser().parse_known_args(own)
    if more:
        hint = "" if command or given.upstream else "; a server and its arguments stand behind `--`"
        raise ConfigurationError(f"`{' '.join(more)}` is not understood{hint}; `kiff-mcp --help` shows the options")
    if bool(command) == bool(given.upstream):
        raise ConfigurationError("expected either `-- SERVER …` or `--upstream URL`; `kiff-mcp --help` shows both")
    if given.listen and not given.upstream:
        raise ConfigurationError("`--listen` is for a server behind a URL: `--upstream URL` says which")
    if given.origin and not given.listen:
        raise ConfigurationError("`--origin` is for a gateway that listens: `--listen HOST:PORT` says where")
    if given.header and (given.listen or not given.upstream):
        raise ConfigurationError("`--header` is for `--upstream` without `--listen`: there clients bring their own")
    key = environment.get("KIFF_API_KEY", "")
    if (given.mode == "enforce" or given.report) and not key:
        asks = "enforce asks" if given.mode == "enforce" else "`--report` tells"
        raise ConfigurationError(f"{asks} KIFF, so it needs a key: set KIFF_API_KEY")
    return Options(
        mode=given.mode,
        url=given.url or environment.get("KIFF_URL", ""),
        key=key,
        agent=given.agent,
        domain=given.domain,
        tools=_tools(given.tools, given.bind),
        receipts=given.receipts,
        unmapped=given.unmapped,
        fail_closed=not given.fail_open,
        errors=given.errors,
        reports=given.report,
        command=tuple(command),
        upstream=given.upstream,
        headers=tuple(_header(each, environment) for each in given.header),
        listen=_address(given.listen) if given.listen else None,
        origins=tuple(given.origin),
    )


def guard_of(options: Options) -> Guard:
    """The guard that the gateway asks.

    Raises:
        ConfigurationError: what it is made of cannot be right.
    """
    client: Any = None
    if options.mode == "enforce" or options.reports:
        from kiff_guard.client import DEFAULT_URL, HTTPClient

        client = HTTPClient(options.key, options.tools, options.url or DEFAULT_URL, domain=options.domain)
    ledger: Any = None
    if options.receipts:
        from kiff_guard.ledgers.jsonl import JSONLLedger

        ledger = JSONLLedger(options.receipts)
    return Guard(
        client,
        agent=options.agent or None,
        mode="enforce" if options.mode == "enforce" else "observe",
        ledger=ledger,
        fail_closed=options.fail_closed,
        errors=options.errors,
        unmapped=options.unmapped if options.mode == "enforce" else None,
        adapter=ADAPTER,
    )


def environment_of_the_server(environment: Mapping[str, str]) -> dict[str, str]:
    """What the server gets of the environment: the key is none of its business."""
    return {name: value for name, value in environment.items() if not name.upper().startswith("KIFF_")}


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, and what stands behind it."""
    if "--" not in arguments:
        return list(arguments), []
    at = list(arguments).index("--")
    return list(arguments[:at]), list(arguments[at + 1 :])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "kiff-mcp",
        usage="kiff-mcp [options] -- SERVER [ARGUMENT ...]",
        description=_ABOUT,
        epilog=_KEYS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    say = parser.add_argument
    say("--version", action="version", version=f"kiff-mcp {VERSION}")
    say("--mode", choices=MODES, default="observe", help="observe: look on, never stop a call; enforce: ask KIFF first")
    say("--tools", metavar="FILE", default="", help="JSON: which tool is which action of the domain")
    say("--bind", metavar="TOOL=ACTION,TYPE,ARG", action="append", default=[], help="the same for one tool; repeatable")
    say("--url", default="", help="where KIFF is")
    say("--agent", metavar="ID", default="", help="who acts; a key that is bound to an agent says so by itself")
    say("--domain", metavar="NAME", default="", help="the domain that is meant, when another one must not answer")
    say("--receipts", metavar="FILE", default="", help="keep receipts here: chained, `kiff-guard verify` checks them")
    say("--unmapped", choices=UNMAPPED, default="withhold", help="tools without an action, in enforce")
    say("--errors", choices=ERRORS, default="unknown", help="what KIFF is told of a tool that says it failed")
    say("--fail-open", action="store_true", help="let calls run when KIFF cannot be asked; receipts say so")
    say("--report", action="store_true", help="tell KIFF which tools the server has; no value is told")
    say("--upstream", metavar="URL", default="", help="the server's URL")
    say("--header", metavar="NAME=VARIABLE", action="append", default=[],
        help="send the server this header with what is in this environment variable; repeatable")  # fmt: skip
    say("--listen", metavar="HOST:PORT", default="", help="where clients find the gateway; else stdin and stdout")
    say("--origin", metavar="ORIGIN", action="append", default=[], help="a web page that may use it; repeatable")
    return parser


def _tools(path: str, bindings: Sequence[str]) -> ToolMap:
    tools = ToolMap.from_settings(_file(path), path) if path else ToolMap()
    for each in bindings:
        tool, _, rest = each.partition("=")
        parts = [part.strip() for part in rest.split(",")]
        if not tool or len(parts) != 3 or not all(parts):
            raise ConfigurationError(
                f"`--bind {each}` must be TOOL=ACTION,TYPE,ARG, such as refund=REFUND,Order,order_id"
            )
        tools.bind(tool, *parts)
    return tools


def _file(path: str) -> dict[str, Any]:
    """The bindings by tool: the file itself, or what stands under `tools` in it."""
    try:
        with open(path, "rb") as file:
            told = json.loads(file.read(TOOLS_FILE_LIMIT).decode("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"`--tools {path}` cannot be read: {getattr(error, 'strerror', '') or error}"
        ) from error
    if isinstance(told, dict) and isinstance(told.get("tools"), dict) and "action" not in told["tools"]:
        told = told["tools"]
    if not isinstance(told, dict):
        raise ConfigurationError(f"`--tools {path}` is no JSON object of tools and their bindings")
    return told


def _header(text: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """A header and its value. KIFF's own variables go to KIFF alone."""
    name, _, variable = text.partition("=")
    if not _HEADER.fullmatch(name) or not variable:  # what stands there may be the value itself, so it is not shown
        raise ConfigurationError("`--header` must be NAME=VARIABLE, such as Authorization=SHOP_AUTHORIZATION")
    if name.lower().startswith("mcp-") or name.lower() in _HEADERS_OF_OURS:
        raise ConfigurationError(f"`--header {name}`: this header is said by the gateway itself")
    value, key = environment.get(variable, "").strip(), environment.get("KIFF_API_KEY", "")
    if variable.upper().startswith("KIFF_") or (key and key in value):
        raise ConfigurationError(
            f"`--header {name}` would tell the server what is KIFF's: use a variable of the server's own"
        )
    if not value or not all(" " <= letter <= "~" for letter in value):
        raise ConfigurationError(
            f"`--header {name}`: the environment variable {variable} is not set to a line of ASCII"
        )
    return name, value


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"`--listen {text}` must be HOST:PORT, such as 127.0.0.1:8790")
    return host.strip("[]"), int(port)


def from_environment(arguments: Sequence[str]) -> Options:
    """The options of this process."""
    return read(arguments, os.environ)
