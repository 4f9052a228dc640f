"""Where requests to addresses that tenants named may go: https to public addresses, and what the operator allows.

The operator's word is `egress.toml` in the data folder:

    allow = ["hooks.internal", "hooks.internal:8443", "http://127.0.0.1:9000", "10.20.0.0/16"]
    ports = [8443]

A host is allowed at the standard ports (443 and `ports`), or at the one written with it (`:*` is any), in the clear
when it is written with http://. An allowed name may stand for a private address; a loopback, link-local or metadata
address has to be allowed as an address (`localhost` stands for loopback). A range says which addresses count as
public ones, whatever name leads there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from pathlib import Path

from msgspec import Struct

from kiff.errors import InvalidInput
from kiff.server.addresses import LOOPBACK, METADATA, PRIVATE, Address, Network, address_of, is_in, is_public

FILE = "egress.toml"
URL_CHARACTERS = 2_048
HTTPS, ANY_PORT = 443, 0
_PORTS = {"https": HTTPS, "http": 80}
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>/(?:[A-Za-z0-9._~:/?\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)?"
)
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_ENTRY = re.compile(r"(?P<plain>http://)?(?P<host>\[[^\]]+\]|[^:/\[\]]+)(?::(?P<port>[0-9]{1,5}|\*))?")


class TargetRefused(InvalidInput):
    """Nothing is ever sent there while the policy stands: never tried again."""


class Target(Struct, frozen=True):
    """A URL, taken apart.

    Args:
        host: lower case; an IPv6 address without its brackets.
        path: with the query.
        address: what the host is, when it is no name.
    """

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None

    @property
    def authority(self) -> str:
        """`host`, or `host:port`: what the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


class Allowed(Struct, frozen=True):
    """A host that the operator allows. `port`: None is the standard ones, 0 any."""

    host: str
    port: int | None
    plain: bool


class EgressPolicy(Struct, frozen=True):
    """Where requests may go. Without arguments: https, port 443, public addresses.

    Args:
        public: ranges that count as public.
    """

    hosts: tuple[Allowed, ...] = ()
    public: tuple[Network, ...] = ()
    ports: tuple[int, ...] = (HTTPS,)

    def target(self, url: str) -> Target:
        """The target of a URL that may be asked, as far as the URL alone says.

        Raises:
            TargetRefused: it is written in a way that programs read differently, or leads where nothing may go.
        """
        target = _target(url)
        allowed = self._allowed(target)
        if target.scheme != "https" and not allowed:
            raise _refused(f"expected https://, found `{target.scheme}://{target.authority}`", target)
        if target.port not in self.ports and not allowed:
            known = ", ".join(map(str, self.ports))
            raise _refused(f"port {target.port} of `{target.host}` is none of {known}", target)
        if target.address is not None:
            self.require_reachable(target, [target.address])
        return target

    def require_reachable(self, target: Target, addresses: Sequence[Address]) -> None:
        """Refuses a target when any of the addresses of its name is out of bounds.

        Raises:
            TargetRefused: names the address.
        """
        for address in addresses:
            if not is_public(address) and not self._reaches(target, address):
                raise _refused(f"`{target.host}` is at `{address}`, which is no public address", target)

    def _reaches(self, target: Target, address: Address) -> bool:
        """Whether the operator allows an address that is not public, for this target."""
        if is_in(address, self.public):
            return True
        if not self._allowed(target):
            return False
        if target.host == "localhost":
            return is_in(address, LOOPBACK)
        return target.address == address or (is_in(address, PRIVATE) and not is_in(address, METADATA))

    def _allowed(self, target: Target) -> bool:
        """Whether the operator named this host, with this port and scheme."""
        for entry in self.hosts:
            ports = self.ports if entry.port is None else (entry.port,)
            at_port = entry.port == ANY_PORT or target.port in ports
            if entry.host == target.host and at_port and (entry.plain or target.scheme == "https"):
                return True
        return False


def read_policy(data: Path) -> EgressPolicy:
    """The policy of `egress.toml` in the data folder; the strict one when there is no such file.

    Raises:
        InvalidInput: it cannot be read, is no TOML, or says something else.
    """
    file = data / FILE
    try:
        said = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return EgressPolicy()
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidInput(f"`{file}` cannot be read: {error}", field=str(file)) from error
    strange = sorted(said.keys() - {"allow", "ports"})
    allow, ports = said.get("allow", []), said.get("ports", [])
    if strange or not isinstance(allow, list) or not isinstance(ports, list):
        raise InvalidInput(f"`{file}`: expected the lists `allow` and `ports`, found {sorted(said)}", field=str(file))
    try:
        return policy_of(allow, ports)
    except InvalidInput as error:
        raise InvalidInput(f"`{file}`: {error.message}", field=str(file)) from error


def policy_of(allow: Iterable[str] = (), ports: Iterable[int] = ()) -> EgressPolicy:
    """A policy that allows more than the strict one.

    Args:
        allow: hosts and ranges, written as in `egress.toml`.
        ports: standard ports beside 443.

    Raises:
        InvalidInput: an entry is neither.
    """
    hosts: list[Allowed] = []
    ranges: list[Network] = []
    for entry in allow:
        found = _entry(entry)
        if isinstance(found, Allowed):
            hosts.append(found)
        else:
            ranges.append(found)
    return EgressPolicy(tuple(hosts), tuple(ranges), (HTTPS, *(_port(port) for port in ports)))


def _entry(text: object) -> Allowed | Network:
    if isinstance(text, str) and "/" in text.removeprefix("http://"):
        try:
            return ip_network(text)
        except ValueError as error:
            raise InvalidInput(f"`{text:.100}` in `allow` is no range of addresses: {error}", field="allow") from error
    found = _ENTRY.fullmatch(text) if isinstance(text, str) else None
    host = None if found is None else _host(found["host"])
    if found is None or host is None:
        message = f"`{text!s:.100}` in `allow` is neither host, host:port, http://host:port nor a range like 10.0.0.0/8"
        raise InvalidInput(message, field="allow")
    if found["port"] == "*":
        return Allowed(host[0], ANY_PORT, bool(found["plain"]))
    default = _PORTS["http"] if found["plain"] else None
    return Allowed(host[0], _port(int(found["port"])) if found["port"] else default, bool(found["plain"]))


def _port(port: object) -> int:
    if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65_536:
        return port
    raise InvalidInput(f"`{port!s:.20}` is no port; 1 to 65535", field="ports")


def _target(url: str) -> Target:
    found = _URL.fullmatch(url) if len(url) <= URL_CHARACTERS else None
    if found is None:
        message = (
            f"expected https://host/path in plain ASCII, of at most {URL_CHARACTERS} characters, without a user, a "
            f"password or a fragment, found `{ascii(url)[1:-1]:.100}`"
        )
        raise TargetRefused(message, field="url")
    host = _host(found["host"])
    if host is None:
        raise TargetRefused(
            f"`{found['host']:.100}` is neither a host name nor an address as usually written", field="url"
        )
    port = int(found["port"]) if found["port"] else _PORTS[found["scheme"]]
    if not 0 < port < 65_536:
        raise TargetRefused(f"`{port}` is no port; 1 to 65535", field="url")
    return Target(found["scheme"], host[0], port, found["path"] or "/", host[1])


def _host(text: str) -> tuple[str, Address | None] | None:
    """A host in the form that is compared, and its address when it is one; None when it is neither."""
    host = text.lower()
    bracketed = host.startswith("[")
    address = address_of(host[1:-1] if bracketed else host)
    if address is not None:
        return (str(address), address) if bracketed == (address.version == 6) else None
    labels = host.split(".")
    # A name that ends in a number is an address to whoever parses it the old way (WHATWG URL, "ends in a number").
    is_name = len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])
    return (host, None) if is_name else None


def _refused(message: str, target: Target) -> TargetRefused:
    allow = f"an operator can allow it in `{FILE}` of the data folder"
    return TargetRefused(f"{message}; {allow}", field="url", host=target.host)
