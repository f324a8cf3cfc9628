"""Lays what an SDK understood beside what the gateway's record says was decided."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.kit.issuer import b64

from ostiary.jcs import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("tool", "prompt", "resource")


@dataclass(slots=True)
class Compared:
    """The outcome: how much was understood as decided, and every difference."""

    understood: int = 0
    decided: int = 0
    refused: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


def lines(file: Path) -> Iterator[dict[str, Any]]:
    """Each line of a file of JSON lines."""
    with file.open("rb") as text:
        for line in text:
            if line.endswith(b"\n"):
                yield json.loads(line)


def digest(arguments: Any) -> str:
    """As the record has it: base64url of SHA-256 over the canonical text."""
    return b64(hashlib.sha256(canonical(arguments)).digest())


def compare(audit: Path, understood: Path) -> Compared:
    """Read both accounts. Whatever was understood must have been decided, once, in every part of its meaning."""
    found = Compared()
    told: dict[str, dict[str, Any]] = {}
    for line in lines(understood):
        found.understood += 1
        found.kinds[line["method"]] += 1
        if line["decision"] in told:
            found.differences.append(f"understood twice: {told[line['decision']]} and {line}")
        told[line["decision"]] = line
    for segment in sorted(audit.glob("*.jsonl")):
        for record in lines(segment):
            if record["kind"] == "deny":
                found.refused += 1
                if record["id"] in told:
                    found.differences.append(f"refused ({record['reason']}), and understood: {told[record['id']]}")
            elif record["kind"] == "intent":
                found.decided += 1
                if record["id"] in told and (why := _differs(record, told.pop(record["id"]))):
                    found.differences.append(why)
    found.differences += [f"understood without a decision: {line}" for line in told.values()]
    return found


def _differs(record: dict[str, Any], line: dict[str, Any]) -> str | None:
    for name, other in (("mcp_method", "method"), *((name, name) for name in NAMES)):
        if record[name] != line.get(other):
            return f"{name}: decided {record[name]!r}, understood {line.get(other)!r} ({record['id']})"
    if "arguments" not in line:
        return None
    try:
        understood = digest(line["arguments"])
    except ValueError as odd:
        return f"arguments without a canonical form ({odd}) were understood: {line}"
    if record["args_sha256"] != understood:
        return f"arguments: decided {record['args']}, understood {line['arguments']} ({record['id']})"
    return None
