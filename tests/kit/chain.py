"""A second, independent check of the chain of records: RFC 8785 and SHA-256 in plain Python."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


def canonical(value: Any) -> str:
    """RFC 8785 for what tests put into records: no floats."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return "{" + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{canonical(value[key])}" for key in keys) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        raise TypeError("no floats in test records")
    return json.dumps(value, ensure_ascii=False)


def first_break(records: Iterable[dict[str, Any]]) -> int | None:
    """Return the index of the first record that does not continue the chain."""
    last = "0" * 64
    for index, record in enumerate(records):
        rest = {name: value for name, value in record.items() if name != "hash"}
        if record["prev"] != last or hashlib.sha256(canonical(rest).encode()).hexdigest() != record["hash"]:
            return index
        last = record["hash"]
    return None
