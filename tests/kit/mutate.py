"""Changes messages at random: as bytes, and as JSON trees in which one object may hold one key twice."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

PIECES = [
    b'"name"', b'"Name"', b'"na\\u006de"', b'"arguments"', b'"method"', b'"params"', b'"id"', b'"path"', b'"_meta"',
    b'"jsonrpc":"2.0"', b'"result":{}', b'"error":{}', b'"delete_file"', b'"echo"', b'"read_file"', b'"tools/list"',
    b'"/etc/passwd"', b"null", b"true", b"1e999", b"1.0", b"9007199254740993", b"-0", b"NaN", b"{}", b"[]", b"{", b"}",
    b"[", b"]", b",", b":", b'"', b"\\", b"\\u0000", b"\\ud800", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc0\xaf", b" ",
    b"\n", b"/**/", b"0",
]  # fmt: skip
KEYS = [
    "name", "Name", "NAME", "arguments", "Arguments", "method", "Method", "params", "param\u017f", "id", "ID", "path",
    "_meta", "jsonrpc", "result", "error", "task", "cursor", "uri", "__proto__", "", "n\u0430me", "text",
]  # fmt: skip
VALUES: list[Any] = [
    "echo", "delete_file", "read_file", "add", "ECHO", "echo ", "ec\u200bho", "../echo", "tools/call", "tools/list",
    "initialize", "server/discover", "ping", "notifications/initialized", "/etc/passwd", "/tmp/a", "2.0", "2026-07-28",
    "2025-11-25", "", None, True, False, 0, 1, -1, 2**53, 2**53 - 1, 1.5, 1e300, "\u0000", {}, [], [[]],
    {"path": "/etc"},
]  # fmt: skip


def mutate_bytes(body: bytes, chance: random.Random, times: int) -> bytes:
    """Insert, overwrite, cut, double and flip, `times` times."""
    for _ in range(times):
        at, to = sorted(chance.randrange(len(body) + 1) for _ in range(2))
        match chance.randrange(5):
            case 0:
                body = body[:at] + chance.choice(PIECES) + body[at:]
            case 1:
                body = body[:at] + chance.choice(PIECES) + body[min(to, at + 12) :]
            case 2:
                body = body[:at] + body[min(to, at + 6) :]
            case 3 if at < len(body):
                body = body[:at] + bytes([body[at] ^ (1 << chance.randrange(8))]) + body[at + 1 :]
            case _:
                body = body[:at] + body[at:to] * 2 + body[to:]
    return body


@dataclass(slots=True)
class Members:
    """A JSON object as it is written: members in order, keys as often as they occur."""

    pairs: list[tuple[str, Any]]


def tree(value: Any) -> Any:
    """Return a JSON value with each object as `Members`."""
    if isinstance(value, dict):
        return Members([(key, tree(member)) for key, member in value.items()])
    return [tree(item) for item in value] if isinstance(value, list) else value


def objects(value: Any) -> Iterator[Members]:
    """Give every object of a tree."""
    if isinstance(value, Members):
        yield value
        for _, member in value.pairs:
            yield from objects(member)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


def mutate_tree(message: Any, chance: random.Random, times: int) -> bytes:
    """Change members of a message `times` times, and write it with odd but legal spelling."""
    root = tree(message)
    for _ in range(times):
        pairs = chance.choice(list(objects(root))).pairs
        at = chance.randrange(len(pairs)) if pairs else 0
        match chance.randrange(7) if pairs else 0:
            case 0:
                pairs.insert(at, (chance.choice(KEYS), tree(chance.choice(VALUES))))
            case 1:
                pairs.insert(chance.randrange(len(pairs) + 1), pairs[at])
            case 2:
                pairs.append((pairs[at][0], tree(chance.choice(VALUES))))
            case 3:
                pairs[at] = (pairs[at][0], tree(chance.choice(VALUES)))
            case 4:
                pairs[at] = (chance.choice(KEYS), pairs[at][1])
            case 5:
                pairs[at] = (pairs[at][0], chance.choice([[pairs[at][1]], Members([("a", pairs[at][1])])]))
            case _:
                del pairs[at]
    return write(root, chance).encode()


def write(value: Any, chance: random.Random) -> str:
    """Write a tree with random white space, escapes and forms of numbers."""
    gap = chance.choice(["", "", "", " ", "\n\t"])
    if isinstance(value, Members):
        inner = ",".join(f"{gap}{_text(key, chance)}{gap}:{write(member, chance)}" for key, member in value.pairs)
        return f"{{{inner}{gap}}}"
    if isinstance(value, list):
        return f"[{gap}{','.join(write(item, chance) for item in value)}]"
    if isinstance(value, str):
        return _text(value, chance)
    if type(value) is int and chance.random() < 0.1:
        return chance.choice([f"{value}.0", f"{value}e0", f"{value}0E-1"])
    return json.dumps(value)


def _text(text: str, chance: random.Random) -> str:
    written = json.dumps(text, ensure_ascii=chance.random() < 0.5)
    if text.isascii() and text.isprintable() and text and chance.random() < 0.1:
        at = chance.randrange(len(text))
        return json.dumps(text[:at])[:-1] + f"\\u{ord(text[at]):04x}" + json.dumps(text[at + 1 :])[1:]
    return written.replace("/", "\\/") if chance.random() < 0.1 else written
