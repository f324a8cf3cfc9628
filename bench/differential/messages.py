"""Requests of every kind that a policy decides on: sound ones with odd contents, and ones that were tampered with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.kit.mutate import mutate_bytes, mutate_tree
from tests.kit.wire import SESSION_VERSION, STATELESS_VERSION, encoded, message

if TYPE_CHECKING:
    import random

WORDS = [
    "echo", "delete_file", "name", "arguments", "method", "tools/call", "é", "\u6771\u4eac", "\U0001f600", "a\u0301",
    "\u00e1", "\u200b", "\u202e", "\ufeff", "\ufffd", "\\", '"', "\n", "\t", "\u2028", "</script>", "__proto__",
    "constructor", "toString", "", " ", "null", "0", "-0", "1e3", "../../etc/passwd", "%2e%2e", "\u017f", "\u212a",
]  # fmt: skip
NUMBERS: list[int | float] = [
    0, 1, -1, 2**31, -(2**31) - 1, 2**53 - 1, -(2**53) + 1, 0.1, 1.5, -0.0, 1e21, 1e-7, 1.7976931348623157e308, 5e-324,
    123456789.123456, 1e3, 100.0, 2**53 + 2,
]  # fmt: skip
NAMES = ["Echo", "echo ", "ec\u200bho", "e\u0301cho", "é", "ECHO", "__proto__", "constructor"]
URIS = ["test://a", "file:///etc/passwd", "test://a/../b", "TEST://A", "test://a%2fb", "test://é", "x:", "test://a?b#c"]


@dataclass(frozen=True, slots=True)
class Sent:
    """Fields and body of one request, as it goes to the gateway."""

    fields: list[tuple[str, str]]
    body: bytes


def _value(chance: random.Random, depth: int = 0) -> Any:
    pick = chance.randrange(8 if depth < 4 else 5)
    if pick < 2:
        return "".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 4)))
    if pick == 2:
        return chance.choice(NUMBERS)
    if pick == 3:
        return chance.choice([None, True, False])
    if pick == 4:
        return chance.randrange(-1000, 1000)
    if pick == 5:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {chance.choice(WORDS): _value(chance, depth + 1) for _ in range(chance.randrange(4))}


def _sound(chance: random.Random, era: str) -> dict[str, Any]:
    """A request that means one thing, however odd its contents."""
    idents: list[int | str] = [1, 2, "1", "a", 0, -5, 2**53 - 1, "é", ""]
    words = {chance.choice(WORDS): "".join(chance.choices(WORDS, k=2)) for _ in range(chance.randrange(3))}
    name = chance.choice(NAMES) if chance.random() < 0.1 else chance.choice(["echo", "read_file", "a.b-c_D"])
    ref = chance.choice([{"type": "ref/prompt", "name": name}, {"type": "ref/resource", "uri": chance.choice(URIS)}])
    arguments = {chance.choice(WORDS): _value(chance) for _ in range(chance.randrange(4))}
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("tools/call", {"name": name, "arguments": arguments}),
        ("tools/call", {"name": name}),
        ("prompts/get", {"name": name, "arguments": words}),
        ("resources/read", {"uri": chance.choice(URIS)}),
        ("completion/complete", {"ref": ref, "argument": {"name": "a", "value": "b"}}),
        ("tools/list", {}),
    ]
    method, params = chance.choices(kinds, weights=[60, 5, 12, 12, 8, 3])[0]
    return message(method, params, era=era, ident=chance.choice(idents))


def make(chance: random.Random, era: str) -> Sent:
    """Make one request: most are sound and oddly written, the others changed as a tree or as bytes."""
    sound = _sound(chance, era)
    how = chance.random()
    if how < 0.6:
        body = mutate_tree(sound, chance, 0)
    elif how < 0.85:
        body = mutate_tree(sound, chance, chance.randrange(1, 3))
    else:
        body = mutate_bytes(json.dumps(sound, ensure_ascii=False).encode(), chance, chance.randrange(1, 3))
    fields = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
    fields.append(("MCP-Protocol-Version", STATELESS_VERSION if era == "stateless" else SESSION_VERSION))
    if era == "stateless" or chance.random() < 0.05:
        fields += _claims(body)
    if chance.random() < 0.05:
        fields.append(chance.choice([("Mcp-Name", "delete_file"), ("Mcp-Param-X", "1"), ("Mcp_Name", "x")]))
    return Sent([(key, value) for key, value in fields if _fits(value)], body)


def _claims(body: bytes) -> list[tuple[str, str]]:
    """The fields that agree with what a lenient server would read: of a key that stands twice, the last."""
    try:
        request = json.loads(body)
        json.dumps(request, ensure_ascii=False).encode()  # half a surrogate pair fits no header
        method, params = request["method"], request.get("params")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return [("Mcp-Method", "tools/call"), ("Mcp-Name", "echo")]
    fields = [("Mcp-Method", method)] if isinstance(method, str) else []
    known = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
    about = params.get(known.get(method)) if isinstance(params, dict) and isinstance(method, str) else None
    return [*fields, ("Mcp-Name", encoded(about))] if isinstance(about, str) else fields


def _fits(value: str) -> bool:
    return value.isascii() and value.isprintable()
