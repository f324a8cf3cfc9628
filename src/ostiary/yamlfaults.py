"""Tells in plain words why a text is not YAML: what the parser tripped over, where the mistake is, what to write.

The parser speaks of its own states, and often stops a line after the mistake. Values are never repeated, since they
may be secrets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from ruamel.yaml.error import MarkedYAMLError

_NO_SPACE = re.compile(r"\s*(?:- +)*([A-Za-z0-9_.-]+):[^\s:/].*\Z")
_INDENTATION = "members of one mapping, and items of one list, begin in one column"


class Told(NamedTuple):
    """A mistake, with line and column counted from 1; both 0 where the parser gave no place."""

    line: int
    column: int
    message: str
    hint: str = ""


class _Stop(NamedTuple):
    """Where the parser stopped: what it says, its place, the place where what it was reading began, and the lines."""

    problem: str
    at: tuple[int, int]
    began: tuple[int, int]
    lines: list[str]

    def line(self, number: int) -> str:
        return self.lines[number - 1] if 0 < number <= len(self.lines) else ""

    def before(self, number: int) -> int:
        """Return the number of the last line before this one that holds something; 0 if there is none."""
        found = (at for at in range(number - 1, 0, -1) if self.line(at).partition("#")[0].strip())
        return next(found, 0)


def tell(error: MarkedYAMLError, text: str) -> Told:
    """Return what is wrong with `text`, given what the parser says of it."""
    problem = error.problem or ""
    at, began = _place(error.problem_mark), _place(error.context_mark)
    stop = _Stop(problem, at if at != (0, 0) else began, began, text.split("\n"))
    for word, told in _BY_PROBLEM.items():
        if word in problem:
            return told(stop)
    if problem == "found unexpected end of stream" and "quoted" in (error.context or ""):
        return Told(*began, "this quote is not closed", "add the same quote at the end of the text")
    what = ", ".join(part for part in (error.context, error.problem) if part)
    return Told(*stop.at, f"this is not YAML: {what or 'it cannot be parsed'}")


def _place(mark: object) -> tuple[int, int]:
    line, column = getattr(mark, "line", None), getattr(mark, "column", None)
    return (0, 0) if line is None or column is None else (line + 1, column + 1)


def _beginning(stop: _Stop) -> Told:
    """Tell of a character that no value begins with."""
    if "'\\t'" in stop.problem:
        return Told(*stop.at, "a tab stands where only spaces may", "indent with spaces, not tabs")
    character = stop.problem.partition("'")[2][:1]
    return Told(*stop.at, f"a value cannot begin with `{character}`", "put it in quotes if it is text")


def _no_colon(stop: _Stop) -> Told:
    return _no_space(stop, stop.began[0]) or _no_member(stop, stop.began[0])


def _second_value(stop: _Stop) -> Told:
    """Tell of a colon where there is a value already: on this line, or on the one before."""
    line, column = stop.at
    before = stop.before(line)
    if ": " in stop.line(line)[: column - 1]:
        return Told(line, column, "a second `: ` stands in this value", "put the value in quotes if it is text")
    close = _no_space(stop, before)
    if close is not None:
        return close
    if ":" not in stop.line(before):
        return _no_member(stop, before)
    return _indented(stop, _start(stop.line(line)))


def _no_space(stop: _Stop, line: int) -> Told | None:
    found = _NO_SPACE.match(stop.line(line))
    if found is None:
        return None
    name = found[1]
    return Told(line, found.start(1) + 1, f"a space is missing after `{name[:80]}:`", f"write `{name[:80]}: …`")


def _no_member(stop: _Stop, line: int) -> Told:
    message, hint = "this line is no `name: value`", "write one, or put a text of several lines in quotes"
    return Told(line, _start(stop.line(line)), message, hint)


def _start(line: str) -> int:
    return len(line) - len(line.lstrip()) + 1


def _indented(stop: _Stop, column: int) -> Told:
    return Told(stop.at[0], column, "this line does not fit the indentation around it", _INDENTATION)


def _no_end(stop: _Stop) -> Told:
    """Tell of what stands where a mapping or list should go on or end."""
    found = stop.problem.rpartition("found ")[2].strip("'")
    if found in ("}", "]", ","):
        return Told(*stop.at, f"this `{found}` belongs to nothing", "remove it, or put the whole value in quotes")
    if found == "<scalar>":
        hint = "put the whole value in quotes; in single quotes, a quote is written twice"
        return Told(*stop.at, "something follows a value that has ended", hint)
    return _indented(stop, stop.at[1])


def _not_closed(stop: _Stop) -> Told:
    closing = stop.problem.partition("or '")[2][:1]
    opening, what = ("{", "members") if closing == "}" else ("[", "items")
    hint = f"`,` stands between {what}, and `{closing}` at the end; text that holds `: ` or `,` goes in quotes"
    if stop.at[0] == stop.began[0]:
        return Told(*stop.at, f"a `,` or `{closing}` is missing before this", hint)
    return Told(*stop.began, f"this `{opening}` is not closed, or lacks a `,`", hint)


def _escape(stop: _Stop) -> Told:
    character = stop.problem.rpartition("character ")[2].strip("'")
    hint = "write the text in single quotes, where `\\` is itself"
    return Told(*stop.at, f"`\\{character}` means nothing in double quotes", hint)


def _list_in_line(stop: _Stop) -> Told:
    hint = "put its items on lines of their own, or write `[…]`"
    return Told(*stop.at, "a list of `-` cannot begin on the line of its name", hint)


def _no_name(stop: _Stop) -> Told:
    return Told(*stop.began, "`*` and `&` begin the name of an anchor", "put the value in quotes if it is text")


_BY_PROBLEM: dict[str, Callable[[_Stop], Told]] = {
    "that cannot start any token": _beginning,
    "expected the node content, but found": _beginning,
    "could not find expected ':'": _no_colon,
    "mapping values are not allowed here": _second_value,
    "expected <block end>": _no_end,
    "expected ',' or": _not_closed,
    "found unknown escape character": _escape,
    "sequence entries are not allowed here": _list_in_line,
    "expected alphabetic or numeric character": _no_name,
}
"""What to tell, by a part of what the parser says."""
