"""Whatever is done to a message: what the upstream gets is the one meaning that was decided, or it gets nothing."""

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.kit.chain import canonical
from tests.kit.house import House
from tests.kit.issuer import read
from tests.kit.mutate import mutate_bytes, mutate_tree
from tests.kit.search import examples
from tests.kit.upstream import Seen
from tests.kit.wire import CutError, Reply, Wire, call_headers, http, tool_call

ERAS = st.sampled_from(["session", "stateless"])
CALLS = [
    ("echo", {"text": "x"}),
    ("read_file", {"path": "/tmp/a", "more": [1, {"b": None}, "é\u2028"]}),
    ("read_file", {"path": "/etc/passwd"}),
    ("delete_file", {"path": "/tmp/a"}),
    ("add", {"a": 1, "b": -2, "c": [0.5, 100, True]}),
]
FIELDS = [
    ("Mcp-Name", "delete_file"), ("mcp-name", "echo"), ("Mcp-Method", "tools/list"), ("Mcp_Name", "echo"),
    ("MCP-Protocol-Version", "2026-07-28"), ("MCP-Protocol-Version", "2025-11-25"), ("MCP-Protocol-Version", "x"),
    ("Mcp-Session-Id", "abc"), ("Mcp-Param-Text", "x"), ("Mcp-Param-Path", "/tmp/a"), ("Content-Encoding", "gzip"),
    ("Content-Type", "text/plain"), ("Content-Type", "application/json; charset=utf-8"), ("Host", "evil.test"),
    ("Authorization", "Bearer x"), ("Connection", "Mcp-Name"), ("Connection", "close, Content-Type"), ("Accept", "*/*"),
    ("Origin", "http://evil.test"), ("X-Forwarded-User", "root"), ("Cookie", "a=b"), ("Expect", "100-continue"),
    ("Upgrade", "h2c"), ("Trailer", "Authorization"), ("TE", "trailers"), ("traceparent", "00-x"),
]  # fmt: skip


def strictly(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("duplicate key")
    return found


def refuse(word: str) -> Any:
    raise ValueError(word)


def read_strictly(body: bytes) -> Any:
    """Read JSON with exact numbers, refusing what two readers could read in two ways."""
    text = body.decode("utf-8")
    if text.startswith("\ufeff"):
        raise ValueError("a BOM")
    return json.loads(text, object_pairs_hook=strictly, parse_constant=refuse, parse_float=Decimal)


def judge(house: House, sent: bytes, reply: Reply | None, seen: list[Seen]) -> None:
    """Hold one request, its answer and what arrived upstream against one another."""
    if not seen:
        return
    (got,) = seen
    assert reply is not None
    assert reply.status == 200, reply
    meant, arrived = read_strictly(sent), read_strictly(got.body)
    assert set(arrived) <= {"jsonrpc", "id", "method", "params"}
    assert (arrived["method"], arrived.get("params")) == (meant["method"], _passed_on(meant))
    _, claims = read((got.header("authorization") or "").removeprefix("Bearer "))
    if arrived["method"] != "tools/call":
        return
    name, arguments = arrived["params"]["name"], json.loads(got.body)["params"].get("arguments", {})
    intent = house.gateway.record_of(claims["jti"], "intent")
    assert (intent["decision"], intent["tool"], claims["tool"]) == ("allow", name, name)
    assert _same(intent["args"], arguments)
    assert name in {"echo", "read_file", "add"}
    assert [text for text in _texts(arguments.get("path")) if text.startswith("/etc")] == []
    if not _has_float(arguments):
        digest = hashlib.sha256(canonical(arguments).encode()).digest()
        assert claims["args_sha256"] == base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if got.stateless:
        assert (got.header("mcp-method"), got.header("mcp-name")) == ("tools/call", name)
    else:
        assert (got.header("mcp-method"), got.header("mcp-name")) == (None, None)


def _passed_on(meant: dict[str, Any]) -> Any:
    """The parameters that go on: all but a call's wish to be a task, which whoever serves none ignores."""
    params = meant.get("params")
    if meant["method"] == "tools/call":
        return {name: value for name, value in params.items() if name != "task"}
    return params


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _has_float(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_float, value.values()))
    return any(map(_has_float, value)) if isinstance(value, list) else isinstance(value, float)


def _same(left: Any, right: Any) -> bool:
    """Equal as JSON values: `1.0` is `1`, `true` is not."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_same, left, right))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def send(house: House, raw: bytes, *, deadline_s: float = 10.0) -> tuple[Reply | None, list[Seen]]:
    before = house.upstream.count
    with Wire(house.gateway.address, deadline_s=deadline_s) as wire:
        try:
            reply: Reply | None = wire.ask(raw)
        except (CutError, TimeoutError):
            reply = None
    return reply, house.upstream.seen[before:]


@examples(1500)
@given(ERAS, st.sampled_from(CALLS), st.integers(1, 4), st.randoms(use_true_random=False), st.booleans())
def test_a_mutated_body_is_forwarded_as_what_was_decided_or_not_at_all(
    house: House, era: str, call: tuple[str, dict[str, Any]], times: int, chance: random.Random, as_tree: bool
) -> None:
    message = tool_call(*call, era=era)
    if as_tree:
        body = mutate_tree(message, chance, times)
    else:
        written = json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode()
        body = mutate_bytes(written, chance, times)
    fields = call_headers(house.gateway.host, house.alice, _lenient(body) or message, era=era)
    reply, seen = send(house, http("POST", "/mcp/notes", fields, body))
    assert reply is not None, "every whole request is answered"
    judge(house, body, reply, seen)


def _lenient(body: bytes) -> dict[str, Any] | None:
    """What a lenient server reads, so that the header fields agree with that."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return None
    sound = isinstance(read, dict) and isinstance(read.get("method"), str) and isinstance(read.get("params"), dict)
    if not sound:
        return None
    texts = [read["method"], str(read["params"].get("name", ""))]
    return read if all(text.isascii() and text.isprintable() for text in texts) else None


@examples(500)
@given(ERAS, st.sampled_from(CALLS), st.integers(1, 3), st.randoms(use_true_random=False))
def test_mutated_header_fields_never_change_the_meaning(
    house: House, era: str, call: tuple[str, dict[str, Any]], times: int, chance: random.Random
) -> None:
    message = tool_call(*call, era=era)
    fields = call_headers(house.gateway.host, house.alice, message, era=era)
    for _ in range(times):
        at = chance.randrange(len(fields))
        match chance.randrange(4):
            case 0:
                fields.insert(at, chance.choice(FIELDS))
            case 1:
                fields[at] = chance.choice(FIELDS)
            case 2 if len(fields) > 1:
                del fields[at]
            case _:
                name, value = fields[at]
                fields[at] = (name, chance.choice([value + " ", value.upper(), value + ", x", "", value[:-1]]))
    body = json.dumps(message).encode()
    reply, seen = send(house, http("POST", "/mcp/notes", fields, body))
    judge(house, body, reply, seen)


@examples(200)
@given(ERAS, st.integers(1, 4), st.randoms(use_true_random=False))
def test_mutated_bytes_of_the_head_never_change_the_meaning(
    house: House, era: str, times: int, chance: random.Random
) -> None:
    message = tool_call("echo", {"text": "x"}, era=era)
    body = json.dumps(message).encode()
    raw = bytearray(http("POST", "/mcp/notes", call_headers(house.gateway.host, house.alice, message, era=era), body))
    head = len(raw) - len(body)
    for _ in range(times):
        at = chance.randrange(head)
        raw[at : at + chance.randrange(2)] = chance.choice(
            [b"\r", b"\n", b"\x00", b" ", b"\t", b":", b",", b"\r\n ", b"\x80", b"%", b"/", b"0"]
        )
    reply, seen = send(house, bytes(raw), deadline_s=0.3)
    if reply is not None and seen:
        judge(house, body, reply, seen[:1])
