"""JSON that means one thing: no member twice, no NaN, nothing that another reader would read differently."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class StrictJsonError(ValueError):
    """The text is not JSON that means one thing. The message says why, and holds nothing of the text."""


def parse(data: bytes) -> Any:
    """Return what `data`, UTF-8 without a byte order mark, says. Raises `StrictJsonError`."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_constant)
        if b"\\u" in data:
            _check_text(found)
    except StrictJsonError:
        raise
    except (ValueError, RecursionError):
        raise StrictJsonError("it cannot be parsed") from None
    return found


def _check_text(found: Any) -> None:
    """Raise `StrictJsonError` if any text in `found` has half a surrogate pair (RFC 8259 section 8.2)."""
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise StrictJsonError("it holds half a character") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise StrictJsonError("a member is written twice in one object")
    return found


def _constant(_name: str) -> NoReturn:
    raise StrictJsonError("it holds a number that is none")
