"""Host names and addresses in their one plain form."""

from __future__ import annotations

import re
from ipaddress import ip_address

_HOST_NAME = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")
ODD_IPV4 = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}\Z")
"""Numbers that some resolvers read as an IPv4 address, in whatever base and number of parts."""


def canonical_host(host: str) -> str | None:
    """Return `host` (without brackets) in its canonical form, or None where it is no host."""
    try:
        address = ip_address(host)
    except ValueError:
        lower = host.lower()
        if len(lower) > 253 or ODD_IPV4.match(lower) or _HOST_NAME.match(lower) is None:
            return None
        return lower
    if "%" in host:
        return None
    return address.compressed


def is_loopback(host: str) -> bool:
    """Whether `host` (canonical, without brackets) never leaves this machine."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def split_address(text: str) -> tuple[str, int | None] | None:
    """Return host (without brackets) and port of `host`, `host:port` or `[v6]:port`; None where it is neither."""
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?", text)
    if match is None or (match[3] is not None and int(match[3]) > 65535):
        return None
    if match[1] is not None and ":" not in match[1]:
        return None
    return match[1] or match[2], None if match[3] is None else int(match[3])


def bracketed(host: str) -> str:
    """Return `host` as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
