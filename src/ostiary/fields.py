"""The types of single values in the configuration: durations, addresses, URLs, references to secrets.

Each turns what stands in the file into the one form that the rest of the product uses, and says what to write where
it cannot. Nothing is corrected silently: a URL that could be written in two ways is asked for in the canonical one,
because it becomes an issuer and an audience, which others compare byte by byte.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from ipaddress import IPv6Network, ip_address, ip_network
from typing import Annotated, Any, Literal, NoReturn
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from ostiary.addresses import ODD_IPV4, bracketed, canonical_host, is_loopback, split_address

ActionClass = Literal["read", "query", "update", "admin"]
PrincipalType = Literal["human", "service", "agent"]

CLASSES = ("read", "query", "update", "admin")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA")
RESERVED_ISSUERS = ("local", "client")
MAX_TTL_S = 3600
MAX_GRANT_S = 90 * 24 * 3600
DEFAULT_PORTS = {"http": 80, "https": 443}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_DURATION = re.compile(r"([1-9][0-9]{0,7})(s|m|h)\Z")
_SIZE = re.compile(r"([1-9][0-9]{0,11})(B|KiB|MiB|GiB)\Z")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)\Z")
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)+\Z")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_KEPT_HEADERS = {"host", "connection", "content-type", "content-length", "transfer-encoding", "accept", "te", "upgrade"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def refuse(message: str, hint: str = "", kind: str = "ostiary") -> NoReturn:
    """Refuse a value; `kind` is `ostiary`, `secret` (the value is not to be shown) or `later`."""
    raise PydanticCustomError(kind, "{message}", {"message": message, "hint": hint})


def _text(value: Any, what: str) -> str:
    if isinstance(value, str) and value.strip():
        return value
    refuse(f"{describe(value)} is not {what}")


def describe(value: Any) -> str:
    """Return what a value is, for messages: text and numbers as they are, the rest by its kind."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f"`{value[:80]}`" if value else "empty text"
    if value is None:
        return "an empty value"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return f"the number {str(value)[:40]}"


def _name(value: Any) -> str:
    text = _text(value, "a name")
    if _NAME.match(text) is None:
        refuse(
            f"`{text[:80]}` is not a name", "use letters, digits, `.`, `_` and `-`, at most 64, a letter or digit first"
        )
    return text


def _word(value: Any) -> str:
    if isinstance(value, (bool, dict, list, tuple)) or value is None:
        refuse(f"expected text, found {describe(value)}")
    if not isinstance(value, str):
        refuse(f"expected text, found {describe(value)}", "put it in quotes")
    if not value.strip():
        refuse("the text is empty")
    if _CONTROL.search(value):
        refuse("the text holds a control character")
    if len(value) > 1024:
        refuse("the text is longer than 1024 characters")
    return value


def _duration(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"{describe(value)} has no unit", f"write `{value}s`, `{value}m` or `{value}h`")
    match = _DURATION.match(_text(value, "a duration"))
    if match is None:
        refuse(f"{describe(value)} is not a duration", "write a number and a unit, as in `60s`, `10m` or `1h`")
    return int(match[1]) * _SECONDS[match[2]]


def _ttl(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_TTL_S:
        refuse(f"{describe(value)} is too long for a token", "at most `60m`")
    return seconds


def _timeout(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_TTL_S:
        refuse(f"{describe(value)} is too long to wait for an answer", "at most `1h`")
    return seconds


def _size(value: Any) -> int:
    hint = "write a number and a unit, as in `512KiB` or `16MiB`"
    if isinstance(value, int) and not isinstance(value, bool):
        refuse(f"{describe(value)} has no unit", hint)
    match = _SIZE.match(_text(value, "a size"))
    if match is None:
        refuse(f"{describe(value)} is not a size", hint)
    size = int(match[1]) * _BYTES[match[2]]
    if not 1024 <= size <= 1024**3:
        refuse(f"{describe(value)} is out of bounds", "from `1KiB` to `1GiB`")
    return size


def _listen(value: Any) -> str:
    text = _text(value, "an address")
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
    text = _text(value, what)
    if _CONTROL.search(text) or not text.isascii() or any(c in text for c in ' \\"<>^`{|}'):
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


def _host_entry(value: Any) -> str:
    text = _text(value, "a host")
    parts = split_address(text)
    host = canonical_host(parts[0]) if parts else None
    if parts is None or host is None or parts[1] == 0:
        hint = "list each host by its name" if "*" in text else "write `host` or `host:port`, without a scheme"
        refuse(f"`{text[:80]}` is not a host", hint)
    return bracketed(host) + ("" if parts[1] is None else f":{parts[1]}")


def _domain(value: Any) -> str:
    text = _text(value, "a domain")
    host = canonical_host(text)
    if host is None or host != text or "." not in text or ODD_IPV4.match(text) or ":" in text:
        refuse(f"`{text[:80]}` is not a domain", "write it as in `example.com`, in lower case")
    return text


def _origin(value: Any) -> str:
    text = _text(value, "an origin")
    if text in {"null", "*"}:
        refuse(f"the origin `{text}` is never allowed", "list the origins one by one")
    if _ORIGIN.match(text) is None or _CONTROL.search(text):
        refuse(f"`{text[:80]}` is not an origin", "write `https://host:port`, without a path")
    return text


def _secret(value: Any) -> str:
    hint = "write `env:NAME` or `file:PATH`"
    if not isinstance(value, str):
        refuse("a secret must not be written here", hint, "secret")
    kind, _, name = value.partition(":")
    if kind == "env" and _ENVIRONMENT_NAME.match(name):
        return value
    if kind == "file" and name.strip() and not _CONTROL.search(name):
        return value
    if kind == "store":
        refuse("`store:` references are not in this version", hint, "later")
    if kind in {"env", "file"}:
        refuse(f"`{kind}:` is not followed by a name", hint)
    refuse("a secret must not be written here", hint, "secret")


def _pem_source(value: Any) -> str:
    hint = "write the path of a PEM file, or `env:NAME`"
    if isinstance(value, str) and ("-----BEGIN" in value or "\n" in value):
        refuse("a certificate or key must not be written here", hint, "secret")
    text = _word(value)
    return _secret(text) if text.startswith(("env:", "file:", "store:")) else text


def _network(value: Any) -> str:
    text = _text(value, "an address range")
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


def _store_url(value: Any) -> str:
    text = _text(value, "the URL of a store")
    hint = "write `sqlite:///var/ostiary.db`"
    if text.startswith(("postgresql:", "postgresql+", "postgres:")):
        refuse("PostgreSQL is not in this version", hint, "secret" if "@" in text else "later")
    path = text.removeprefix("sqlite:///")
    if path == text or not path or path == ":memory:" or path.endswith("/") or any(c in path for c in "?#%"):
        refuse("the store must be an SQLite file", hint, "secret" if "@" in text else "ostiary")
    return text


def _algorithm(value: Any) -> str:
    if isinstance(value, str) and (value.lower() == "none" or value.upper().startswith("HS")):
        why = (
            "accepts tokens that nobody signed"
            if value.lower() == "none"
            else "lets whoever can check a token make one"
        )
        refuse(f"`{value[:20]}` {why}", f"use one of {', '.join(ALGORITHMS)}")
    if value not in ALGORITHMS:
        refuse(f"{describe(value)} is not an algorithm of this version", f"use one of {', '.join(ALGORITHMS)}")
    return str(value)


def _direct(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if value in ("on", "off"):
        return bool(value == "on")
    if isinstance(value, tuple) and all(isinstance(item, str) and item.strip() for item in value):
        return value
    refuse(f"{describe(value)} does not say who acts in person", "write `true`, `false` or a list of client ids")


def _words(value: Any) -> tuple[str, ...]:
    """Read one word or a list of words."""
    items = value if isinstance(value, tuple) else (value,)
    if not items:
        refuse("the list is empty")
    return tuple(_word(item) for item in items)


def _pins(value: Any) -> str:
    if value is False or value == "off":
        return "off"
    if value == "required":
        refuse("`required` is not in this version", "write `pins: off`", "later")
    refuse(f"{describe(value)} is not a way to pin tools", "write `pins: off`")


def _identity(value: Any) -> str:
    if value in ("jwt", "none"):
        return str(value)
    if value in ("credential", "oauth"):
        refuse(f"`{value}` is not in this version", "write `jwt` or `none`", "later")
    hint = "in quotes, `none` is a word" if value is None else "write `jwt` or `none`"
    refuse(f"{describe(value)} is not a way to be known upstream", hint)


def _redact(value: Any) -> str:
    text = _text(value, "an argument")
    path = text.removeprefix("argument/")
    if text == "*":
        return text
    if path == text or not path or any(not part for part in path.split("/")) or re.search("~(?![01])", path):
        refuse(f"`{text[:80]}` is not an argument", 'write `argument/PATH`, keys joined by `/`, or `"*"` for all')
    return text


def _moment(value: Any) -> int:
    text = _text(value, "a date")
    hint = "write `2027-06-30` (the day begins in UTC) or `2027-06-30T18:00:00Z`"
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
            day = date.fromisoformat(text)
            moment = datetime(day.year, day.month, day.day, tzinfo=UTC)
        elif re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})", text, re.ASCII):
            moment = datetime.fromisoformat(text)
        else:
            refuse(f"`{text[:80]}` is not a date", hint)
        seconds = int(moment.timestamp())
    except (ValueError, OverflowError):
        refuse(f"`{text[:80]}` is not a date", hint)
    if seconds <= 0:
        refuse(f"`{text[:80]}` is not a date of our time", hint)
    return seconds


def _fetch_url(value: Any) -> str:
    """Read the URL of somebody else: https, or http on this machine."""
    what = "the URL of an issuer"
    url = _split_url(value, what)
    _authority(url, what)
    if url.scheme == "http" and not is_loopback(url.hostname or ""):
        refuse(f"{describe(value)} is not encrypted", "write `https://`; plain http is taken on this machine only")
    return str(value)


def _switch(value: Any) -> bool:
    if value in (True, "on"):
        return True
    if value in (False, "off"):
        return False
    refuse(f"{describe(value)} is neither on nor off", "write `on` or `off`")


def _grant_life(value: Any) -> int:
    seconds = _duration(value)
    if seconds > MAX_GRANT_S:
        refuse(f"{describe(value)} is too long", "at most `2160h`")
    return seconds


def _store_reference(value: Any) -> str:
    if isinstance(value, str) and value.startswith("store:") and _NAME.match(value.removeprefix("store:")):
        return value
    refuse(
        "a credential must not be written here", "write `store:NAME`, and set it with `ostiary credentials`", "secret"
    )


def _header_name(value: Any) -> str:
    text = _text(value, "the name of a header")
    if _HEADER.match(text) is None or text.lower() in _KEPT_HEADERS or text.lower().startswith("mcp-"):
        refuse(f"`{text[:80]}` is not a header for a credential", "write `Authorization` or `X-Api-Key`")
    return text


def _schema(**schema: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", **schema})


Name = Annotated[str, BeforeValidator(_name), _schema(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""What people, agents, services, servers and issuers are called. Never holds `:` or `/`, which separate names."""
FetchUrl = Annotated[str, BeforeValidator(_fetch_url), _schema(pattern="^https?://[^?#@]+$")]
Switch = Annotated[
    bool, BeforeValidator(_switch), WithJsonSchema({"anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}]})
]
GrantLife = Annotated[int, BeforeValidator(_grant_life), _schema(pattern="^[1-9][0-9]*(s|m|h)$", examples=["8h"])]
StoreReference = Annotated[str, BeforeValidator(_store_reference), _schema(pattern="^store:.+$")]
HeaderName = Annotated[str, BeforeValidator(_header_name), _schema(examples=["Authorization", "X-Api-Key"])]
Preset = Literal["generic", "entra", "google", "okta", "keycloak", "workos"]
FederationPreset = Literal["kubernetes", "github-actions"]
Word = Annotated[str, BeforeValidator(_word), _schema(minLength=1)]
Seconds = Annotated[int, BeforeValidator(_timeout), _schema(pattern="^[1-9][0-9]*(s|m|h)$", examples=["60s"])]
TokenLife = Annotated[int, BeforeValidator(_ttl), _schema(pattern="^[1-9][0-9]*(s|m|h)$", examples=["60m"])]
Bytes = Annotated[int, BeforeValidator(_size), _schema(pattern="^[1-9][0-9]*(B|KiB|MiB|GiB)$", examples=["16MiB"])]
Listen = Annotated[str, BeforeValidator(_listen), _schema(examples=["127.0.0.1:8811"])]
BaseUrl = Annotated[str, BeforeValidator(_base_url), _schema(pattern="^https?://[^/?#@]+$")]
UpstreamUrl = Annotated[str, BeforeValidator(_upstream_url), _schema(pattern="^https?://[^?#@]+$")]
Host = Annotated[str, BeforeValidator(_host_entry), _schema(examples=["localhost:8811"])]
Domain = Annotated[str, BeforeValidator(_domain), _schema(examples=["example.com"])]
Origin = Annotated[str, BeforeValidator(_origin), _schema(pattern="^[a-z][a-z0-9+.-]*://[^/?#@]+$")]
SecretReference = Annotated[str, BeforeValidator(_secret), _schema(pattern="^(env|file):.+$")]
PemSource = Annotated[str, BeforeValidator(_pem_source), _schema(minLength=1, examples=["tls/cert.pem"])]
Network = Annotated[str, BeforeValidator(_network), _schema(examples=["10.0.0.0/8", "192.0.2.7"])]
StoreUrl = Annotated[str, BeforeValidator(_store_url), _schema(pattern="^sqlite:///.+$")]
Algorithm = Annotated[str, BeforeValidator(_algorithm), _schema(enum=list(ALGORITHMS))]
Argument = Annotated[str, BeforeValidator(_redact), _schema(pattern=r"^(argument/.+|\*)$")]
Moment = Annotated[int, BeforeValidator(_moment), _schema(examples=["2027-06-30", "2027-06-30T18:00:00Z"])]
Direct = Annotated[
    bool | tuple[str, ...],
    BeforeValidator(_direct),
    WithJsonSchema(
        {"anyOf": [{"type": "boolean"}, {"enum": ["on", "off"]}, {"type": "array", "items": {"type": "string"}}]}
    ),
]
Words = Annotated[
    tuple[str, ...],
    BeforeValidator(_words),
    WithJsonSchema(
        {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}]}
    ),
]
Pins = Annotated[Literal["off"], BeforeValidator(_pins), WithJsonSchema({"enum": ["off", False]})]
UpstreamIdentity = Annotated[
    Literal["jwt", "none"], BeforeValidator(_identity), WithJsonSchema({"enum": ["jwt", "none"]})
]
