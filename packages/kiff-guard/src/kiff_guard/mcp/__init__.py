"""`kiff-mcp`: a gateway in front of any MCP server. Neither the server nor its clients have to change."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kiff_guard.mcp.desk import Desk
    from kiff_guard.mcp.options import Options
    from kiff_guard.mcp.stdio import Server

USAGE, CANNOT_START = 2, 127


def main(arguments: Sequence[str] | None = None) -> int:
    """The program. Gives its exit code: the server's, where it started one."""
    from kiff_guard.errors import ConfigurationError
    from kiff_guard.mcp import options
    from kiff_guard.mcp.desk import Desk, note
    from kiff_guard.mcp.held import Held

    try:
        told = options.read(sys.argv[1:] if arguments is None else arguments, os.environ)
        return _serve(told, Desk(options.guard_of(told), held=Held(told.receipts), reports=told.reports))
    except ConfigurationError as error:
        note(str(error))
        return USAGE
    except OSError as error:
        about = f"`{error.filename}`: {error.strerror}" if error.filename else str(error)
        note(f"cannot start {about}")
        return CANNOT_START


def _serve(told: Options, desk: Desk) -> int:
    if told.listen is not None:
        from kiff_guard.mcp.streamable import serve

        return serve(desk, told.upstream, told.listen, told.origins)
    from kiff_guard.mcp.stdio import Gateway

    return Gateway(desk, _server(told, desk)).run()


def _server(told: Options, desk: Desk) -> Server:
    if told.command:
        from kiff_guard.mcp.options import environment_of_the_server
        from kiff_guard.mcp.process import ServerProcess

        return ServerProcess(told.command, environment_of_the_server(os.environ))
    from kiff_guard.mcp.remote import RemoteServer
    from kiff_guard.mcp.upstream import Upstream

    return RemoteServer(Upstream(told.upstream), told.headers, desk.shelf)
