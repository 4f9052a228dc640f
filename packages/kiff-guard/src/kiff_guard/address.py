"""Where KIFF is, and by which proxy it is reached. A key goes to no other place, and not over an open line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kiff_guard.errors import ConfigurationError

_SHOWN = 80


class Address(NamedTuple):
    """One server.

    Args:
        host: as connections and certificates know it; without brackets.
        path: what stands before every path of the API; "" or `/…` without a slash at its end.
    """

    tls: bool
    host: str
    port: int
    path: str = ""

    @property
    def authority(self) -> str:
        """As the header Host writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.path}"

    @property
    def is_loopback(self) -> bool:
        """Is it this machine, by its name or number?"""
        return self.host == "localhost" or is_loopback(self.host)


def is_loopback(number: str) -> bool:
    """Is it a number of this machine, which no packet leaves?"""
    from ipaddress import ip_address

    try:
        return ip_address(number).is_loopback
    except ValueError:
        return False


class Proxy(NamedTuple):
    """An HTTP proxy that makes tunnels.

    Args:
        authorization: the value of Proxy-Authorization, "" for none.
    """

    host: str
    port: int
    authorization: str = ""

    def __repr__(self) -> str:
        return f"<Proxy {self.host}:{self.port}>"


def read_address(text: str, *, allow_insecure_http: bool = False) -> Address:
    """The server that a `base_url` names.

    Raises:
        ConfigurationError: it is no URL of a server, or plain HTTP to another machine.
    """
    from urllib.parse import urlsplit

    if not isinstance(text, str) or not all("!" <= letter <= "~" for letter in text):
        raise _no_address("base_url", "", "https://host or http://127.0.0.1:8480")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_address("base_url", text, "https://host or http://127.0.0.1:8480") from error
    more = "@" in parts.netloc or "?" in text or "#" in text or "\\" in text
    if parts.scheme not in ("http", "https") or more or not host:
        raise _no_address("base_url", text, "https://host without user, query or fragment")
    tls = parts.scheme == "https"
    address = Address(tls, host, port or (443 if tls else 80), parts.path.rstrip("/"))
    if not tls and not allow_insecure_http and not address.is_loopback:
        message = f"`base_url` is {address.url}: plain HTTP to another machine shows the key to everybody on the way"
        raise ConfigurationError(f"{message}; use https://, or allow_insecure_http=True on a line that is safe itself")
    return address


def read_proxy(address: Address, given: str | None, environment: Mapping[str, str]) -> Proxy | None:
    """The proxy before a server: the given one, or that of the environment. None: go straight there.

    Args:
        given: its URL; "" for none, whatever the environment says; None: look into the environment.

    Raises:
        ConfigurationError: it is no HTTP proxy, or would read what passes.
    """
    if given is not None:
        if given and not address.tls:
            raise ConfigurationError("`proxy` would read the key of a plain HTTP server; use https:// for `base_url`")
        return _proxy(given, "proxy") if given else None
    if not address.tls or address.is_loopback:
        return None
    name, text = next(
        ((name, environment[name]) for name in ("https_proxy", "HTTPS_PROXY") if name in environment), ("", "")
    )
    spared = environment.get("no_proxy", environment.get("NO_PROXY", ""))
    return None if not text or _is_spared(address, spared) else _proxy(text, name)


def _proxy(text: str, name: str) -> Proxy:
    from base64 import b64encode
    from urllib.parse import unquote, urlsplit

    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _no_address(name, "", "http://host:port") from None
    if parts.scheme != "http" or not host or not text.isascii() or not text.isprintable():
        raise _no_address(name, text, "http://host:port, a proxy that makes tunnels")
    if parts.username is None:
        return Proxy(host, port or 80)
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return Proxy(host, port or 80, f"Basic {b64encode(user.encode()).decode()}")


def _is_spared(address: Address, spared: str) -> bool:
    """Does NO_PROXY name the host, a domain it is in, or everything?"""
    for each in spared.split(","):
        name = each.strip().lower().lstrip(".")
        if name in ("*", address.host, f"{address.host}:{address.port}", f"[{address.host}]"):
            return True
        if name and address.host.endswith(f".{name}"):
            return True
    return False


def _no_address(name: str, text: str, expected: str) -> ConfigurationError:
    # What stands before an @ is a password.
    shown = text.rpartition("@")[2].partition("?")[0][:_SHOWN]
    return ConfigurationError(f"`{name}` is `{shown}`; expected {expected}")
