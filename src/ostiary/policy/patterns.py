"""Regular expressions in rules: what is plainly wrong with one, said at its place in the file.

The core compiles every pattern for good. This look before it knows nothing of the syntax but what people most often
get wrong: groups and classes left open, a glob taken for a pattern, and what no linear-time matcher can do.
"""

from __future__ import annotations

import re

MAX_PATTERN = 1000
"""Characters of a pattern."""

_ESCAPED = re.compile(r"\\.", re.DOTALL)
_LOOK = re.compile(r"\(\?(=|!|<=|<!)")
_BACK = re.compile(r"\\[1-9]|\\k<|\(\?P=")
_CLASS = re.compile(r"\[\^?\]?[^\[\]]*\]")
_GROUP = re.compile(r"\([^()]*\)")


def pattern_fault(text: str) -> tuple[str, str]:
    """Return what is wrong with the pattern `text` and what to do about it; two empty texts if nothing is seen."""
    if len(text) > MAX_PATTERN:
        return f"the pattern is longer than {MAX_PATTERN} characters", "split it into several rules"
    if back := _BACK.search(text.replace("\\\\", "")):
        return f"the pattern refers back (`{back[0]}`), which has no linear-time match", "write the group out again"
    literal = _ESCAPED.sub("", text)
    if look := _LOOK.search(literal):
        return (
            f"the pattern looks around (`{look[0]}`), which has no linear-time match",
            "add a second matcher, or `not`",
        )
    if "\\" in literal:
        return "the pattern ends in a lone `\\`", "write `\\\\` for a backslash"
    if text[:1] in ("*", "+", "?"):
        return f"the pattern repeats nothing (`{text[0]}` at its start)", "patterns are regular expressions, not globs"
    outside = _without(_CLASS, literal)
    if "[" in outside:
        return "the pattern leaves a `[` open", "write `\\[` for the character"
    rest = _without(_GROUP, outside)
    for bracket, fault in (("(", "leaves a `(` open"), (")", "closes a group that is not open")):
        if bracket in rest:
            return f"the pattern {fault}", f"write `\\{bracket}` for the character"
    return "", ""


def _without(inner: re.Pattern[str], text: str) -> str:
    """Remove innermost brackets until none are left."""
    while (shorter := inner.sub("", text)) != text:
        text = shorter
    return text
