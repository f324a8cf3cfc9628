"""Turns one row of attack data into bytes on a socket; `tests/attacks/README.md` tells the format."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

from .issuer import Key, as_bytes, compact, new_key
from .wire import MIRRORED, SESSION_VERSION, STATELESS_VERSION, encoded, http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .house import House

PLAIN = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"text":"x"},$META}}'
KEYS = (
    f'"io.modelcontextprotocol/protocolVersion":"{STATELESS_VERSION}","io.modelcontextprotocol/clientCapabilities":{{}}'
)
META = {"stateless": f'"_meta":{{{KEYS}}}', "session": '"_meta":{}'}
NOW = re.compile(r"\$NOW([+-]\d+)")


def lay_out(send: Mapping[str, Any], *, era: str, house: House) -> bytes:
    """Return the request that `send` describes: the plain one, but for what it says."""
    body = _body(send, era)
    method, name = _claimed(body)
    fields: dict[str, str | None] = {
        "Host": house.gateway.host,
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Authorization": f"Bearer {_token(send['token'], house) if 'token' in send else house.alice}",
        "MCP-Protocol-Version": STATELESS_VERSION if era == "stateless" else SESSION_VERSION,
    }
    if era == "stateless":
        fields |= {"Mcp-Method": method, "Mcp-Name": name}
    fields |= send.get("set", {})
    pairs = [(key, value) for key, value in fields.items() if value is not None]
    pairs += [(key, value) for key, value in send.get("add", [])]
    return http(send.get("method", "POST"), send.get("target", "/mcp/notes"), pairs, body)


def raw_bytes(raw: str | list[Any], *, era: str, house: House) -> bytes:
    """Return the bytes of a row of `raw/`: its text, with what every request needs in the place of its words."""
    plain = lay_out({}, era=era, house=house)
    head, _, body = plain.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n")[1:] if not line.startswith(b"Content-Length")]
    fields = b"".join(line + b"\r\n" for line in lines)
    size = b"%x" % len(body)
    words = {
        b"$POST": b"POST /mcp/notes HTTP/1.1\r\n" + fields,
        b"$GET": b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: $HOST\r\n",
        b"$FRAMED": b"Content-Length: $LENGTH\r\n\r\n$BODY",
        b"$CHUNKS": b"Transfer-Encoding: chunked\r\n\r\n$SIZE\r\n$BODY\r\n",
        b"$FIELDS": fields,
        b"$BODY": body,
        b"$LENGTH": str(len(body)).encode(),
        b"$SIZE": size,
        b"$HOST": house.gateway.host.encode(),
    }
    pieces = raw if isinstance(raw, list) else [raw]
    text = b"".join(_piece(piece, era, "latin-1") for piece in pieces)
    for word, meaning in words.items():
        text = text.replace(word, meaning)
    # A whole message whose lines end as they do on Unix.
    return text.removeprefix(b"$LF").replace(b"\r\n", b"\n") if text.startswith(b"$LF") else text


def _body(send: Mapping[str, Any], era: str) -> bytes:
    pieces = send.get("pieces", [send.get("text", PLAIN)])
    encoding = send.get("encoding", "utf-8")
    return b"".join(_piece(piece, era, encoding) for piece in pieces)


def _piece(piece: Any, era: str, encoding: str) -> bytes:
    if isinstance(piece, str):
        keys = f"{KEYS}," if era == "stateless" else ""
        return piece.replace("$META", META[era]).replace("$KEYS", keys).encode(encoding)
    if "hex" in piece:
        return bytes.fromhex(piece["hex"])
    return str(piece["repeat"]).encode(encoding) * int(piece["times"])


def _claimed(body: bytes) -> tuple[str, str | None]:
    """Return what a lenient server would read as method and name, so that the headers agree with that."""
    try:
        message = json.loads(body)
        method = message["method"]
        name = message["params"].get(MIRRORED.get(method, "name"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "tools/call", "echo"
    return method if isinstance(method, str) else "tools/call", encoded(name) if isinstance(name, str) else "echo"


def _token(spec: Mapping[str, Any], house: House) -> str:
    """Return a token of the external issuer that is sound but for what `spec` says."""
    if "raw" in spec:
        return str(spec["raw"])
    issuer = house.issuer
    stranger = new_key(issuer.alg, issuer.key.kid + "-stranger")
    header = issuer.header(**{k: ... if v is None else v for k, v in spec.get("header", {}).items()})
    if header.get("jwk") == "stranger":
        header["jwk"] = stranger.jwk
    claims = issuer.claims(**{k: _claim(v, house) for k, v in spec.get("claims", {}).items()})
    key: Key | bytes | None = {
        "own": issuer.key,
        "none": None,
        "hmac-of-public-pem": issuer.key.pem,
        "stranger": stranger,
    }[spec.get("key", "own")]
    payload = as_bytes(spec["claims_raw"].encode()) if "claims_raw" in spec else _merged(claims, spec, "claims_text")
    return compact(_merged(header, spec, "header_text"), payload, key)


def _merged(members: dict[str, Any], spec: Mapping[str, Any], name: str) -> bytes:
    """Return JSON text of `members`, with the raw members that `spec` gives instead of those of the same name."""
    raw: list[str] = spec.get(name, [])
    named = {json.loads("{" + text + "}").popitem()[0] for text in raw}
    kept = as_bytes({key: value for key, value in members.items() if key not in named}).decode()
    return (kept[:-1] + "".join(f",{text}" for text in raw) + "}").encode()


def _claim(value: Any, house: House) -> Any:
    if value is None:
        return ...
    if isinstance(value, dict) and "repeat" in value:
        return str(value["repeat"]) * int(value["times"])
    if isinstance(value, str):
        if found := NOW.fullmatch(value):
            return int(time.time()) + int(found[1])
        return value.replace("$GATEWAY", house.gateway.url)
    return value
