"""RFC 8785, the JSON Canonicalization Scheme: one text for each JSON value, so that a digest means a value."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import Any


def canonical(value: Any) -> bytes:
    """Return the canonical text of a JSON value (what `json.loads` gives).

    Raises `ValueError` for what has none: NaN, infinity, lone surrogates, integers beyond ±(2^53 - 1), other types.
    """
    out: list[str] = []
    _write(value, out)
    return "".join(out).encode("utf-8")


def _write(value: Any, out: list[str]) -> None:
    match value:
        case None | bool():
            out.append({None: "null", True: "true", False: "false"}[value])
        case str():
            out.append(json.dumps(value, ensure_ascii=False))
        case int():
            if abs(value) >= 2**53:
                raise ValueError(f"{value} is beyond the integers that every reader keeps")
            out.append(str(value))
        case float():
            out.append(_number(value))
        case list() | tuple():
            _join("[]", [("", item) for item in value], out)
        case dict():
            # Keys in the order of their UTF-16 code units (section 3.2.3), which is not that of code points.
            members = sorted(value.items(), key=lambda member: member[0].encode("utf-16-be"))
            _join("{}", [(json.dumps(key, ensure_ascii=False) + ":", item) for key, item in members], out)
        case _:
            raise ValueError(f"{type(value).__name__} is no JSON type")


def _join(brackets: str, items: list[tuple[str, Any]], out: list[str]) -> None:
    out.append(brackets[0])
    for position, (label, item) in enumerate(items):
        out.append("," * (position > 0) + label)
        _write(item, out)
    out.append(brackets[1])


def _number(value: float) -> str:
    """Lay out a double as ECMAScript does (ECMA-262, Number::toString), from the same shortest digits as `repr`."""
    if not math.isfinite(value):
        raise ValueError(f"{value} has no JSON text")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    _, digit_tuple, exponent = Decimal(repr(abs(value))).normalize().as_tuple()
    digits = "".join(map(str, digit_tuple))
    count = len(digits)
    point = count + int(exponent)  # the value is 0.DIGITS * 10^point
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    scientific = digits[0] + ("." + digits[1:] if count > 1 else "")
    return f"{sign}{scientific}e{point - 1:+d}"
