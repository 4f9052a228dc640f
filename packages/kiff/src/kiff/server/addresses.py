"""Which addresses are out in the public internet, and which reach into somebody's own house.

Our own tables, because what `ipaddress` calls global differs between versions of Python. Source: the registries of
special-purpose addresses of IANA (RFC 6890 and its updates), and the metadata services of the large clouds.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ip_network(text) for text in texts)


PRIVATE = _networks("10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""What organisations number their own networks with."""
LOOPBACK = _networks("127.0.0.0/8", "::1/128")
METADATA = _networks(
    "100.100.100.200/32",  # Alibaba Cloud, inside of CGNAT
    "168.63.129.16/32",  # Azure, among public addresses
    "169.254.0.0/16",  # link-local, and what most others use
    "192.0.0.192/32",  # Oracle Cloud
    "fd00:ec2::/32",  # AWS, among unique local addresses
    "fd20:ce::254/128",  # Google Cloud
    "fe80::/10",
)
"""Where a machine is told its own credentials, and everything else on its own link."""
_NEVER = _networks(
    "0.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",  # Teredo, ORCHID and other protocols
    "2001:db8::/32",
    "2002::/16",  # 6to4: leads to whatever IPv4 address is inside
    "3fff::/20",
)
_UNICAST = IPv6Network("2000::/3")
"""All that IANA gives out; outside of it are mapped, translated, local, link-local and multicast addresses."""
_NAT64 = IPv6Network("64:ff9b::/96")


def address_of(text: str) -> Address | None:
    """The address that a text is, in the one way of writing it that everybody reads alike; None when it is none.

    `127.1`, `0x7f000001` and `2130706433` are none: resolvers read them as 127.0.0.1. Nor are addresses with a zone.
    """
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address is a host of the public internet. What is not known to be one is not."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFF_FFFF))  # the only way to IPv4 where there is none
    if isinstance(address, IPv6Address) and address not in _UNICAST:
        return False
    return not any(is_in(address, networks) for networks in (PRIVATE, LOOPBACK, METADATA, _NEVER))


def is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
