"""Reads YAML into nodes that remember where they stand.

The one place where text of ours becomes structure, for the configuration file and the policy files alike. It works
on ruamel.yaml's parse events, not on constructed objects, because only the events keep what checking needs: the
position of every key and value, keys that are written twice, and the text of numbers.

It reads less than YAML allows. What has two readings among the versions of YAML, or shows a reviewer something other
than what is read, is refused rather than guessed: octal-looking numbers, merge keys, tags, directives, several
documents, line separators and text direction marks that editors do not show. Aliases are bounded by the number of
nodes that they would unfold to.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from ostiary import yamlfaults
from ostiary.errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Kind = Literal["mapping", "list", "string", "number", "bool", "null"]

KIND_WORDS: dict[Kind, str] = {
    "mapping": "a mapping",
    "list": "a list",
    "string": "text",
    "number": "a number",
    "bool": "true or false",
    "null": "nothing",
}
"""How a kind is called in messages."""

MAX_BYTES = 4 * 1024 * 1024
MAX_DEPTH = 40
MAX_NODES = 100_000
"""Counted with every alias unfolded, since whoever walks the tree walks it unfolded."""

CACHED_FILES = 16

_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,4000})\Z")
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,9})?\Z")
_ODD_NUMBER = re.compile(
    r"[-+]?([0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+|[0-9][0-9_]*\.[0-9_]*([eE][-+]?[0-9]+)?"
    r"|\.[0-9][0-9_]*([eE][-+]?[0-9]+)?|[0-9][0-9_]*[eE][-+]?[0-9]+|\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
)
_HIDDEN = re.compile("[\x85\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n)")
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SWITCHES = {"on": True, "off": False}
_STRING_TAG = "tag:yaml.org,2002:str"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value of a YAML file and the place where it starts.

    `value` is the scalar itself (`str`, `bool`, `None`, `int`, or `Decimal` for a number with a fraction or an
    exponent) and None for mappings and lists. `text` is the scalar as written, without quotes: for a number always
    valid JSON number text, so that nothing is lost to floating point. `plain` says that the scalar stands without
    quotes. `key` is the dotted path from the top of the file. A node behind an alias tells where its anchor stands.
    """

    kind: Kind
    file: str
    line: int
    column: int
    key: str = ""
    value: str | int | Decimal | bool | None = None
    text: str = ""
    plain: bool = False
    entries: tuple[Entry, ...] = ()
    items: tuple[Node, ...] = ()
    nodes: int = 1

    def get(self, name: str) -> Node | None:
        """Return the value under `name` of a mapping, or None."""
        return next((entry.node for entry in self.entries if entry.name == name), None)

    def switch(self) -> bool | None:
        """Return what the value switches: `on` and `off` count as `true` and `false`. None: it is no switch."""
        return switch_of(self.value)

    def walk(self) -> Iterator[Node]:
        """Yield the node and everything below it, in the order of the file."""
        yield self
        for child in (*(entry.node for entry in self.entries), *self.items):
            yield from child.walk()

    def problem(self, message: str, hint: str = "") -> Problem:
        """Return a problem that points at this value."""
        return Problem(file=self.file, line=self.line, column=self.column, key=self.key, message=message, hint=hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One `name: value` of a mapping; `line` and `column` are those of the name."""

    name: str
    line: int
    column: int
    node: Node

    def problem(self, message: str, hint: str = "") -> Problem:
        """Return a problem that points at the name."""
        return Problem(
            file=self.node.file, line=self.line, column=self.column, key=self.node.key, message=message, hint=hint
        )


def switch_of(value: object) -> bool | None:
    """Return what `value` switches: `on` and `off` in any letter case are words for booleans. None: it is no switch."""
    if isinstance(value, bool):
        return value
    return _SWITCHES.get(value.lower()) if isinstance(value, str) else None


def read_file(path: Path, file: str, problems: list[Problem]) -> Node | None:
    """Read the YAML file at `path`, called `file` in messages. None, with a problem added, if it cannot be read."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        problems.append(Problem(file=file, line=0, column=0, key="", message=f"cannot be read: {why}"))
        return None
    return read_bytes(data, file, problems)


def read_bytes(data: bytes, file: str, problems: list[Problem]) -> Node | None:
    """Read one YAML document from `data`, called `file` in messages.

    Adds to `problems` what is wrong. Returns None only where nothing sensible is left; after a duplicate key or a
    number that cannot be read, the rest is returned, so that its own faults are found in the same run.
    """
    node, found = _read(data, file)
    problems.extend(found)
    return node


@lru_cache(maxsize=CACHED_FILES)
def _read(data: bytes, file: str) -> tuple[Node | None, tuple[Problem, ...]]:
    """Do the reading. What was read is remembered by its bytes: after a change, most files are what they were."""
    problems: list[Problem] = []
    text = _decode(data, file, problems)
    node = None
    if text is not None:
        with suppress(_Stop):
            node = _Reader(file, problems).document(text)
    return node, tuple(problems)


def _decode(data: bytes, file: str, problems: list[Problem]) -> str | None:
    def fault(at: int, message: str, hint: str = "") -> None:
        before = data[:at].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        problems.append(Problem(file=file, line=line, column=column, key="", message=message, hint=hint))

    if len(data) > MAX_BYTES:
        problems.append(
            Problem(file=file, line=0, column=0, key="", message=f"the file is larger than {MAX_BYTES // 2**20} MiB")
        )
        return None
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        fault(error.start, "this byte is not UTF-8", "save the file as UTF-8")
        return None
    hidden = _HIDDEN.search(text)
    if hidden is not None:
        escape = f"\\u{ord(hidden[0]):04x}"
        fault(
            len(text[: hidden.start()].encode()),
            f"the file holds U+{ord(hidden[0]):04X}, which hides how the text is read",
            f'write it as "{escape}" in double quotes',
        )
        return None
    control = _UNPRINTABLE.search(text)
    if control is not None:
        fault(
            len(text[: control.start()].encode()), f"the file holds U+{ord(control[0]):04X}, which YAML does not allow"
        )
        return None
    return text


class _Stop(Exception):  # noqa: N818  (not an error: the problem is already in the list)
    """Reading cannot go on; the reason is in the list of problems."""


class _Reader:
    """Builds nodes from the events of one file."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems
        self.anchors: dict[str, Node | None] = {}
        self.events: Iterator[Any] = iter(())
        self.reached: Any = None
        self.text = ""

    def document(self, text: str) -> Node | None:
        self.text = text
        self.events = YAML(typ="safe", pure=True).parse(text)
        root: Node | None = None
        documents = 0
        while not isinstance(event := self.next(), StreamEndEvent):
            if not isinstance(event, DocumentStartEvent):
                continue
            documents += 1
            if event.version is not None or event.tags:
                self.stop(event, "", "directives (`%YAML`, `%TAG`) are not read", "remove the line")
            if documents > 1:
                self.stop(event, "", "the file holds more than one document", "keep one, and remove the `---` between")
            root = self.node(self.next(), "", 1)
        if root is None or root.kind == "null":
            self.problems.append(Problem(file=self.file, line=1, column=1, key="", message="the file is empty"))
            return None
        return root

    def next(self) -> Any:
        """Return the next event of the file."""
        try:
            event = next(self.events)
        except MarkedYAMLError as error:
            self.problems.append(self.told(error))
        except YAMLError as error:
            self.fault(self.reached, "", f"this is not YAML: {(str(error) or 'unreadable').splitlines()[0]}")
        except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError, RecursionError):
            # The parser trips over some malformed input instead of refusing it (an escape beyond Unicode, for one).
            hint = "look for an odd escape or tag from here on"
            self.fault(self.reached, "", "this is not YAML: the parser cannot read it", hint)
        else:
            self.reached = event.end_mark
            return event
        raise _Stop

    def told(self, error: MarkedYAMLError) -> Problem:
        line, column, message, hint = yamlfaults.tell(error, self.text)
        if line == 0 and self.reached is not None:
            line, column = self.reached.line + 1, self.reached.column + 1
        return Problem(file=self.file, line=line, column=column, key="", message=message, hint=hint)

    def fault(self, mark: Any, key: str, message: str, hint: str = "") -> None:
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (0, 0)
        self.problems.append(Problem(file=self.file, line=line, column=column, key=key, message=message, hint=hint))

    def stop(self, event: Any, key: str, message: str, hint: str = "") -> NoReturn:
        self.fault(event.start_mark, key, message, hint)
        raise _Stop

    def node(self, event: Any, key: str, depth: int) -> Node:
        if depth > MAX_DEPTH:
            self.stop(event, key, f"values are nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, AliasEvent):
            return self.alias(event, key)
        if event.anchor is not None:
            if event.anchor in self.anchors:
                self.fault(event.start_mark, key, f"the anchor `&{event.anchor}` is written twice", "rename one")
            self.anchors[event.anchor] = None
        if isinstance(event, MappingStartEvent):
            node = self.mapping(event, key, depth)
        elif isinstance(event, SequenceStartEvent):
            node = self.sequence(event, key, depth)
        else:
            node = self.scalar(event, key)
        if node.nodes > MAX_NODES:
            self.stop(event, key, f"the file holds more than {MAX_NODES} values, aliases unfolded")
        if event.anchor is not None:
            self.anchors[event.anchor] = node
        return node

    def alias(self, event: Any, key: str) -> Node:
        if event.anchor not in self.anchors:
            self.stop(event, key, f"the alias `*{event.anchor}` has no anchor before it")
        node = self.anchors[event.anchor]
        if node is None:
            self.stop(event, key, f"the alias `*{event.anchor}` stands inside its own anchor")
        return node

    def mapping(self, start: Any, key: str, depth: int) -> Node:
        self.refuse_tag(start, key)
        entries: dict[str, Entry] = {}
        nodes = 1
        while not isinstance(event := self.next(), MappingEndEvent):
            name = self.name(event, key)
            path = f"{key}.{name}" if key else name
            value = self.node(self.next(), path, depth + 1)
            nodes += value.nodes
            mark = event.start_mark
            if value.kind == "null" and not value.text:  # nothing stands there: the parser is at what follows
                value = replace(value, line=mark.line + 1, column=mark.column + 1)
            first = entries.get(name)
            if first is not None:
                message = f"`{name}` is written twice, first at line {first.line}, column {first.column}"
                self.fault(mark, path, message, "keep one of them")
            elif name == "<<" and isinstance(event, ScalarEvent) and event.style is None:
                self.fault(mark, path, "merge keys (`<<`) are not read", "write the keys out, or alias whole values")
            else:
                entries[name] = Entry(name=name, line=mark.line + 1, column=mark.column + 1, node=value)
            if nodes > MAX_NODES:
                self.stop(start, key, f"the file holds more than {MAX_NODES} values, aliases unfolded")
        return self.make("mapping", start, key, entries=tuple(entries.values()), nodes=nodes)

    def name(self, event: Any, key: str) -> str:
        """Return the text of a mapping's key; keys are words, whatever they look like."""
        if not isinstance(event, ScalarEvent):
            self.stop(event, key, "a key must be a word", "write `name: value`")
        self.refuse_tag(event, key)
        if event.value == "":
            self.fault(event.start_mark, key, "a key is empty", "write `name: value`")
        self.refuse_surrogates(event, key)
        return "".join("\ufffd" if _is_surrogate(c) else c for c in event.value)

    def sequence(self, start: Any, key: str, depth: int) -> Node:
        self.refuse_tag(start, key)
        items: list[Node] = []
        nodes = 1
        while not isinstance(event := self.next(), SequenceEndEvent):
            item = self.node(event, f"{key}[{len(items)}]", depth + 1)
            items.append(item)
            nodes += item.nodes
            if nodes > MAX_NODES:
                self.stop(start, key, f"the file holds more than {MAX_NODES} values, aliases unfolded")
        return self.make("list", start, key, items=tuple(items), nodes=nodes)

    def scalar(self, event: Any, key: str) -> Node:
        self.refuse_tag(event, key)
        text: str = event.value
        plain = event.style is None
        if self.refuse_surrogates(event, key):
            text = ""
        if not plain or event.tag is not None:
            return self.make("string", event, key, value=text, text=text, plain=plain)
        if text in _NULLS:
            return self.make("null", event, key, text=text, plain=True)
        if text in _BOOLS:
            return self.make("bool", event, key, value=_BOOLS[text], text=text, plain=True)
        if _INTEGER.match(text):
            return self.make("number", event, key, value=int(text), text=text, plain=True)
        if _DECIMAL.match(text):
            return self.make("number", event, key, value=Decimal(text), text=text, plain=True)
        if _ODD_NUMBER.match(text):
            hint = "write the number in plain decimal digits, or in quotes if it is text"
            self.fault(event.start_mark, key, f"`{text[:40]}` is a number that not every reader reads alike", hint)
        return self.make("string", event, key, value=text, text=text, plain=True)

    def refuse_tag(self, event: Any, key: str) -> None:
        if event.tag is not None and (event.tag != _STRING_TAG or not isinstance(event, ScalarEvent)):
            self.fault(event.start_mark, key, f"the tag `{event.tag[:60]}` is not read", "write the value without it")

    def refuse_surrogates(self, event: Any, key: str) -> bool:
        bad = any(_is_surrogate(c) for c in event.value)
        if bad:
            self.fault(event.start_mark, key, "the text holds half a character (a lone surrogate)", "write it out")
        return bad

    def make(self, kind: Kind, event: Any, key: str, **parts: Any) -> Node:
        mark = event.start_mark
        return Node(kind=kind, file=self.file, line=mark.line + 1, column=mark.column + 1, key=key, **parts)


def _is_surrogate(character: str) -> bool:
    return "\ud800" <= character <= "\udfff"
