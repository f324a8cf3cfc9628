"""Which addresses may be fetched from? Judges URLs and resolved addresses, before anything is connected to.

A URL that a client named may only lead to the public network. One that stands in the configuration may lead into a
private one, but never to where a cloud hands out its credentials. Names are judged by every address that they have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.parse import urlsplit

from ostiary.addresses import bracketed, canonical_host, is_loopback, split_address

MAX_URL: Final = 2048
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

_URL = re.compile(r"[!-~]+\Z")
_NOT_IN_URLS = re.compile(r'[\\"<>^`{|}#]')
#: Where clouds hand out credentials: by name, and by addresses that no range below covers.
_METADATA_NAMES = frozenset(
    {
        "instance-data",
        "instance-data.ec2.internal",
        "metadata",
        "metadata.goog",
        "metadata.google.internal",
        "metadata.platformequinix.com",
        "metadata.tencentyun.com",
    }
)
_METADATA = frozenset(
    ip_address(text)
    for text in ("168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254", "fd00:42::42")
)
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_NAT64 = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")


class Reach(Enum):
    """Who named the URL, and so how far it may lead."""

    PUBLIC = "public"
    """A client: https to public addresses, and nothing else."""
    CONFIGURED = "configured"
    """The configuration file: private addresses too, and http on this machine."""
    LOOPBACK = "loopback"
    """A client, where `danger_loopback_clients` is on: https to public addresses and to this machine."""


class UnreachableError(ValueError):
    """The URL or address must not be fetched from. The message completes `URL: …` and holds nothing of a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A URL in its parts: what to connect to, and what to ask for there."""

    scheme: str
    host: str
    port: int
    path: str
    """Path and query, as they go on the wire."""

    @property
    def authority(self) -> str:
        """The value of the Host header."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return bracketed(self.host) + port

    @property
    def shown(self) -> str:
        """The URL as errors show it: without the query, which may carry secrets."""
        return f"{self.scheme}://{self.authority}{self.path.partition('?')[0]}"[:200]

    @property
    def literal(self) -> IPv4Address | IPv6Address | None:
        """The host as an address, if it is one."""
        try:
            return ip_address(self.host)
        except ValueError:
            return None


def read_url(url: str, reach: Reach) -> Target:
    """Return the parts of `url`. Raises `UnreachableError` where its form alone rules it out."""
    if len(url) > MAX_URL or _URL.match(url) is None or _NOT_IN_URLS.search(url):
        raise UnreachableError("it is no plain URL")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise UnreachableError("it is no plain URL") from None
    if parts.scheme not in DEFAULT_PORTS or not url.startswith(f"{parts.scheme}://"):
        raise UnreachableError("it is not https")
    if "@" in parts.netloc:
        raise UnreachableError("it holds a user name or password")
    address = split_address(parts.netloc)
    host = canonical_host(address[0]) if address else None
    if address is None or host is None or parts.netloc.endswith(":") or address[1] == 0:
        raise UnreachableError("its host is no plain name or address")
    port = address[1] or DEFAULT_PORTS[parts.scheme]
    target = Target(
        scheme=parts.scheme,
        host=host,
        port=port,
        path=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
    )
    _check_form(target, reach)
    return target


def _check_form(target: Target, reach: Reach) -> None:
    if target.scheme == "http" and (reach is not Reach.CONFIGURED or not is_loopback(target.host)):
        raise UnreachableError("it is not https")
    if target.host in _METADATA_NAMES:
        raise UnreachableError("its host is known to hand out credentials")
    if reach is not Reach.CONFIGURED and target.port < 1024 and target.port != DEFAULT_PORTS["https"]:
        raise UnreachableError(f"port {target.port} is that of another service")


def check_address(address: IPv4Address | IPv6Address, target: Target, reach: Reach) -> None:
    """Raise `UnreachableError` unless `address` may be connected to for `target`."""
    if target.scheme == "http" and not on_this_machine(address):
        raise UnreachableError("plain http leads away from this machine")
    if on_this_machine(address) and reach is not Reach.PUBLIC:
        return
    why = _never(address)
    if why is None and reach is not Reach.CONFIGURED and not address.is_global:
        why = "not public"
    if why is not None:
        raise UnreachableError(f"its address is {why}")


def on_this_machine(address: IPv4Address | IPv6Address) -> bool:
    """Whether `address` is plainly a loopback address. One in disguise is none, whatever the version of Python says."""
    return address.is_loopback and (address.version == 4 or int(address) == 1)


def _never(address: IPv4Address | IPv6Address) -> str | None:
    """Return why nobody may name `address`, or None. What merely wraps another has to wrap a public one."""
    if address in _METADATA:
        return "known to hand out credentials"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or (isinstance(address, IPv4Address) and address in _THIS_NETWORK):
        return "unspecified"
    if isinstance(address, IPv4Address):
        return "reserved" if address.is_reserved else None
    if on_this_machine(address):
        return None
    inner = _wrapped(address)
    if inner is not None:
        return _never(inner) or (None if inner.is_global else "a private address in disguise")
    if address.is_site_local or address in _NAT64_LOCAL or address in _COMPATIBLE or address.teredo is not None:
        return "of a kind that is not used"
    return "reserved" if address.is_reserved else None


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
