"""The sockets that a server listens on.

With several workers each has a socket of its own on the same address (SO_REUSEPORT), so the system deals connections
out evenly: from one socket that all shared, whoever woke first took a whole burst. The parent keeps every socket open,
so connections that wait for a worker outlive it.
"""

from __future__ import annotations

import socket

from kiff.errors import InvalidInput

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on, with nobody else on its address.

    Args:
        port: 0 takes a free one.

    Raises:
        InvalidInput: the address cannot be bound; it says why.
    """
    bound = _bound(host, port)
    try:
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise _unusable(host, port, error) from error
    return bound


def share(host: str, port: int, count: int) -> list[socket.socket]:
    """Sockets on one address. Each takes its share of the connections once somebody listens on it.

    Raises:
        InvalidInput: as `listen`.
    """
    # Looked at without sharing first: two servers of one user would share the address, and neither would know.
    with _bound(host, port) as alone:
        port = alone.getsockname()[1]
    return [_bound(host, port, shared=True) for _ in range(count)]


def again(given_up: socket.socket) -> socket.socket:
    """Another socket on a shared address, in place of one that is closed. Nobody listens on it yet.

    Raises:
        InvalidInput: as `listen`.
    """
    host, port = given_up.getsockname()[:2]
    bound = _bound(host, port, shared=True)
    given_up.close()
    return bound


def url_of(bound: socket.socket) -> str:
    """Where a program on this machine reaches it."""
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return f"http://{'127.0.0.1' if host == '0.0.0.0' else shown}:{port}"


def _bound(host: str, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By its protocol asyncio knows a TCP socket, and switches off the delay that waits for a fuller packet.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise _unusable(host, port, error) from error
    return bound


def _unusable(host: str, port: int, error: OSError) -> InvalidInput:
    message = f"`{host}:{port}` cannot be bound ({error.strerror}); choose another with --host and --port"
    return InvalidInput(message, field="--port")
