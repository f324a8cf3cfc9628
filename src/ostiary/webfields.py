"""The types of addresses in the configuration: where we listen, URLs, hosts, domains, origins, address ranges, headers.

Nothing is corrected silently: a URL that could be written in two ways is asked for in the canonical one, because it
becomes an issuer and an audience, which others compare byte by byte.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator

from ostiary.addresses import ODD_IPV4, bracketed, canonical_host, is_loopback, split_address
from ostiary.fields import CONTROL, describe, refuse, schema_of, text_of

DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)\Z")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+\Z")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_KEPT_HEADERS = {
    *("accept", "baggage", "connection", "date", "expect", "forwarded", "host", "keep-alive"),
    *("last-event-id", "origin", "proxy-connection", "te", "traceparent", "tracestate"),
    *("trailer", "transfer-encoding", "upgrade", "user-agent", "via"),
}
_KEPT_PREFIXES = ("accept-", "content-", "mcp-")
"""What the data plane says itself: of the message, its framing, its connection and its place in MCP."""


def _listen(value: Any) -> str:
    text = text_of(value, "an address")
    parts = split_address(text)
    if parts is None:
        refuse(f"`{text[:80]}` is not an address to listen on", "write `127.0.0.1:8811`")
    host, port = parts
    if port is None:
        refuse(f"`{text[:80]}` has no port", f"write `{bracketed(host)}:8811`")
    try:
        address = ip_address(host)
    except ValueError:
        hint = f"write `127.0.0.1:{port}`" if host == "localhost" else f"write an IP address, as in `127.0.0.1:{port}`"
        refuse(f"`{host[:80]}` is a name, and a name may have several addresses", hint)
    return f"{bracketed(address.compressed)}:{port}"


def _split_url(value: Any, what: str) -> SplitResult:
    text = text_of(value, what)
    if CONTROL.search(text) or not text.isascii() or any(c in text for c in ' \\"<>^`{|}'):
        refuse(f"{describe(text)} is not {what}", "it holds characters that a URL may not hold")
    try:
        url = urlsplit(text)
        url.port  # noqa: B018  (raises where the port is no port)
    except ValueError:
        refuse(f"{describe(text)} is not {what}", "write `https://host:port`")
    if url.scheme not in DEFAULT_PORTS or "://" not in text or not url.netloc:
        refuse(f"{describe(text)} is not {what}", "it must begin with `http://` or `https://`")
    if "@" in url.netloc:
        refuse("the URL holds a user name or password", "leave it out: secrets are never written here", "secret")
    if "?" in text:
        refuse("the URL holds a query", "leave out what follows `?`: queries often carry secrets", "secret")
    if "#" in text:
        refuse("the URL holds a fragment", "leave out what follows `#`")
    return url


def _authority(url: SplitResult, what: str) -> str:
    parts = split_address(url.netloc)
    host = canonical_host(parts[0]) if parts else None
    if parts is None or host is None or parts[1] == 0 or url.netloc.endswith(":"):
        refuse(f"{describe(url.netloc)} is not the host of {what}")
    port = parts[1]
    authority = bracketed(host) + ("" if port is None or port == DEFAULT_PORTS[url.scheme] else f":{port}")
    if authority != url.netloc:
        refuse(f"{describe(url.netloc)} has a shorter or plainer form", f"write `{url.scheme}://{authority}{url.path}`")
    return authority


def _base_url(value: Any) -> str:
    what = "the URL of the gateway"
    url = _split_url(value, what)
    authority = _authority(url, what)
    if url.path:
        refuse(f"the URL has a path, `{url.path[:80]}`", f"write `{url.scheme}://{authority}`")
    return f"{url.scheme}://{authority}"


def _upstream_url(value: Any) -> str:
    what = "the URL of a server"
    url = _split_url(value, what)
    authority = _authority(url, what)
    segments = url.path.split("/")
    if url.path and (_PATH.match(url.path) is None or "." in segments or ".." in segments or "" in segments[1:-1]):
        refuse(f"`{url.path[:80]}` is not a plain path", "write it without `//`, `.` or `..`")
    return f"{url.scheme}://{authority}{url.path or '/'}"


def _fetch_url(value: Any) -> str:
    """Read the URL of somebody else: https, or http on this machine."""
    what = "a URL to fetch from"
    url = _split_url(value, what)
    _authority(url, what)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        refuse(f"{describe(value)} is not encrypted", "write `https://`; plain http is taken on this machine only")
    return str(value)


def _host_entry(value: Any) -> str:
    text = text_of(value, "a host")
    parts = split_address(text)
    host = canonical_host(parts[0]) if parts else None
    if parts is None or host is None or parts[1] == 0:
        hint = "list each host by its name" if "*" in text else "write `host` or `host:port`, without a scheme"
        refuse(f"`{text[:80]}` is not a host", hint)
    return bracketed(host) + ("" if parts[1] is None else f":{parts[1]}")


def _domain(value: Any) -> str:
    text = text_of(value, "a domain")
    host = canonical_host(text)
    if host is None or host != text or "." not in text or ODD_IPV4.match(text) or ":" in text:
        refuse(f"`{text[:80]}` is not a domain", "write it as in `example.com`, in lower case")
    return text


def _origin(value: Any) -> str:
    text = text_of(value, "an origin")
    if text in {"null", "*"}:
        refuse(f"the origin `{text}` is never allowed", "list the origins one by one")
    if _ORIGIN.match(text) is None or CONTROL.search(text):
        refuse(f"`{text[:80]}` is not an origin", "write `https://host:port`, without a path")
    return text


def _network(value: Any) -> str:
    text = text_of(value, "an address range")
    hint = "write `10.0.0.0/8`, or one address"
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        refuse(f"`{text[:80]}` is not an address range", hint)
    if isinstance(network, IPv6Network) and network.network_address.ipv4_mapped is not None:
        refuse(f"`{text[:80]}` is an IPv4 address in the form of IPv6", "write it in dotted form")
    if "%" in text or network.network_address.compressed != text.partition("/")[0].lower():
        refuse(f"`{text[:80]}` is not the beginning of a range", f"write `{network.compressed.partition('%')[0]}`")
    if network.prefixlen == 0:
        refuse("everybody would be trusted to say where a request comes from", hint)
    return network.compressed


def _header_name(value: Any) -> str:
    text = text_of(value, "the name of a header")
    lower = text.lower()
    if _HEADER.match(text) is None or lower in _KEPT_HEADERS or lower.startswith(_KEPT_PREFIXES):
        refuse(f"`{text[:80]}` is not a header for a credential", "write `Authorization` or `X-Api-Key`")
    return text


FetchUrl = Annotated[str, BeforeValidator(_fetch_url), schema_of(pattern="^https?://[^?#@]+$")]
HeaderName = Annotated[str, BeforeValidator(_header_name), schema_of(examples=["Authorization", "X-Api-Key"])]
Listen = Annotated[str, BeforeValidator(_listen), schema_of(examples=["127.0.0.1:8811"])]
BaseUrl = Annotated[str, BeforeValidator(_base_url), schema_of(pattern="^https?://[^/?#@]+$")]
UpstreamUrl = Annotated[str, BeforeValidator(_upstream_url), schema_of(pattern="^https?://[^?#@]+$")]
Host = Annotated[str, BeforeValidator(_host_entry), schema_of(examples=["localhost:8811"])]
Domain = Annotated[str, BeforeValidator(_domain), schema_of(examples=["example.com"])]
Origin = Annotated[str, BeforeValidator(_origin), schema_of(pattern="^[a-z][a-z0-9+.-]*://[^/?#@]+$")]
Network = Annotated[str, BeforeValidator(_network), schema_of(examples=["10.0.0.0/8", "192.0.2.7"])]
