"""What a criterion is compared with: turns the value beside its name into tests.

A test is `{"op": …, "value": …}`; all tests of a leaf must hold. What is wrong is reported at the value that is wrong,
and reading goes on, so that one run tells of every fault.
"""

from __future__ import annotations

import re
from decimal import Decimal
from ipaddress import ip_network
from typing import TYPE_CHECKING

from ostiary.policy.criteria import MATCHERS, Criterion
from ostiary.policy.moments import read_date, read_day_of_week, read_time_of_day
from ostiary.policy.names import Findings, Names, listed, nearest, resolve
from ostiary.policy.patterns import pattern_fault
from ostiary.yamlsource import KIND_WORDS, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ostiary.yamlsource import Entry

Test = dict[str, object]

_LARGEST_EXACT = 2**53 - 1
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z")
_NUMBER_TEXT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,9})?\Z")


def read_tests(criterion: Criterion, entry: Entry, names: Names, findings: Findings) -> list[Test]:
    """Return the tests of one criterion. What cannot be read is reported and left out."""
    node = entry.node
    if _missing(entry, findings):
        return []
    if criterion.form == "flag":
        return _flag(criterion, entry, findings)
    if criterion.form == "networks":
        return _networks(node, findings)
    if criterion.form == "time_of_day":
        return read_time_of_day(node, names, findings)
    if criterion.form == "day_of_week":
        return read_day_of_week(node, findings)
    if criterion.form == "date":
        return read_date(node, names, findings)
    return _Reader(criterion, names, findings).read(entry)


def _missing(entry: Entry, findings: Findings) -> bool:
    """Report a name with nothing after it; YAML would read it as null."""
    missing = entry.node.kind == "null" and not entry.node.text
    if missing:
        findings.problems.append(
            entry.problem(f"`{entry.name}` has no value", "write one; JSON's null is written `null`")
        )
    return missing


def _flag(criterion: Criterion, entry: Entry, findings: Findings) -> list[Test]:
    node = entry.node
    if not (node.value is True or (node.kind == "number" and node.text == "1")):
        message = f"`{criterion.name}` compares nothing"
        findings.problems.append(node.problem(message, f"write `{criterion.name}: true`"))
    return []


def _networks(node: Node, findings: Findings) -> list[Test]:
    hint = "write an address or a network, as in `10.0.0.0/8`, or a list of them"
    found: list[str] = []
    for item in node.items if node.kind == "list" else (node,):
        if item.kind != "string":
            findings.problems.append(item.problem(f"an address is expected, not {KIND_WORDS[item.kind]}", hint))
            continue
        try:
            found.append(str(ip_network(item.text)))
        except ValueError:
            findings.problems.append(
                item.problem(f"`{item.text}` is not an address or network", _network_hint(item.text))
            )
    if node.kind == "list" and not node.items:
        findings.problems.append(node.problem("the list is empty", hint))
    return [{"op": "cidr", "value": found}]


def _network_hint(text: str) -> str:
    try:
        whole = ip_network(text, strict=False)
    except ValueError:
        return "write it as in `10.0.0.0/8` or `2001:db8::1`"
    return f"the network is `{whole}`; for the one address leave `/{whole.prefixlen}` out"


class _Reader:
    """Reads the general form: a bare value, or a mapping from matchers to values."""

    def __init__(self, criterion: Criterion, names: Names, findings: Findings) -> None:
        self.criterion = criterion
        self.names = names
        self.findings = findings
        self.bare = "has" if criterion.members else "is"

    def fault(self, place: Node | Entry, message: str, hint: str = "") -> None:
        self.findings.problems.append(place.problem(message, hint))

    def read(self, entry: Entry) -> list[Test]:
        node = entry.node
        if node.kind == "list":
            self.fault(node, f"`{self.criterion.name}` cannot be compared with a bare list", self.list_hint(entry.name))
            return []
        if node.kind != "mapping":
            return self.test(self.bare, node)
        if not node.entries:
            self.fault(node, "an empty matcher compares nothing", f"write `{{{self.bare}: VALUE}}`")
        return [test for matcher in node.entries for test in self.matcher(matcher)]

    def list_hint(self, name: str) -> str:
        if "in" in self.criterion.matchers:
            return f"write `{name}: {{in: [A, B]}}`"
        return f"write one criterion for each under `or`, as in `- {name}: {{{self.bare}: A}}`"

    def matcher(self, matcher: Entry) -> list[Test]:
        known = self.criterion.matchers
        if _missing(matcher, self.findings):
            return []
        if matcher.name in known:
            return self.test(matcher.name, matcher.node)
        if matcher.name in MATCHERS:
            message = f"`{matcher.name}` does not go with `{self.criterion.name}`"
            lists = "lists are compared value by value, so write `is`"
            special = matcher.name == "has" and self.criterion.name == "argument"
            self.fault(matcher, message, lists if special else f"it takes {listed(known)}")
        else:
            self.fault(
                matcher,
                f"there is no matcher `{matcher.name}`",
                nearest(matcher.name, known) or f"it takes {listed(known)}",
            )
        return []

    def test(self, matcher: str, node: Node) -> list[Test]:
        if matcher in ("in", "not_in"):
            return self.any_of(matcher, node)
        if node.kind in ("list", "mapping"):
            self.fault(node, f"`{matcher}` takes one value, not {KIND_WORDS[node.kind]}")
            return []
        if matcher in ("lt", "lte", "gt", "gte"):
            return self.order(matcher, node)
        if matcher in ("contains", "starts_with", "ends_with", "matches", "under", "host"):
            return self.part(matcher, node)
        value = self.scalar(node)
        op = "sole" if matcher == "is" and self.criterion.members else matcher
        return [] if value is _NOTHING else [{"op": op, "value": value}]

    def any_of(self, matcher: str, node: Node) -> list[Test]:
        if node.kind != "list":
            self.fault(node, f"`{matcher}` takes a list, not {KIND_WORDS[node.kind]}", f"write `{matcher}: [A, B]`")
            return []
        if not node.items:
            self.fault(node, f"the list of `{matcher}` is empty", "name at least one value")
            return []
        values = []
        for item in node.items:
            if item.kind in ("list", "mapping"):
                self.fault(item, f"`{matcher}` takes single values, not {KIND_WORDS[item.kind]}")
            elif (value := self.scalar(item)) is not _NOTHING:
                values.append(value)
        return [{"op": matcher, "value": values}]

    def scalar(self, node: Node) -> object:
        """Return the value that equality compares with, or `_NOTHING` where there is none."""
        if node.kind == "string":
            return self.word(node)
        if self.criterion.scalars == "text":
            hint = f'write it in quotes, as in "{node.text}"'
            self.fault(node, f"`{self.criterion.name}` is text, not {KIND_WORDS[node.kind]}", hint)
            return _NOTHING
        if node.kind == "null":
            if node.text != "null":
                self.fault(node, "the value is missing", "write `null` if you mean the JSON value")
            return None
        return self.number(node) if node.kind == "number" else node.value

    def word(self, node: Node) -> object:
        words = self.criterion.words
        if words and node.text not in words:
            hint = nearest(node.text, words) or f"it is one of {listed(words)}"
            self.fault(node, f"`{node.text}` is no `{self.criterion.name}`", hint)
        elif not node.text and self.criterion.scalars == "text":
            self.fault(node, f"`{self.criterion.name}` is never empty text", "write a value")
        elif self.criterion.refers:
            return resolve(self.criterion.refers, node.text, node, self.names, self.findings)
        return node.text

    def number(self, node: Node) -> object:
        """Return a number that a request can carry exactly (RFC 8785); any other could never be equal."""
        exact = Decimal(node.text)
        beyond = exact.copy_abs() > _LARGEST_EXACT
        if not beyond and exact == exact.to_integral_value():
            return int(exact)
        double = 0.0 if beyond else float(exact)
        if beyond or Decimal(repr(double)) != exact:
            message = f"`{node.text}` has more digits than JSON numbers carry exactly, so nothing can be equal to it"
            self.fault(node, message, "use `lt`, `lte`, `gt` or `gte`, or quotes if the value is text")
            return _NOTHING
        return double

    def order(self, matcher: str, node: Node) -> list[Test]:
        if node.kind == "number" or (node.kind == "string" and _NUMBER_TEXT.match(node.text)):
            return [{"op": matcher, "value": node.text}]
        self.fault(node, f"`{matcher}` takes a number, not {KIND_WORDS[node.kind]}")
        return []

    def part(self, matcher: str, node: Node) -> list[Test]:
        if node.kind != "string":
            self.fault(
                node, f"`{matcher}` takes text, not {KIND_WORDS[node.kind]}", f'write it in quotes, as in "{node.text}"'
            )
            return []
        text = node.text
        message, hint = "", ""
        if not text:
            message, hint = f"`{matcher}` takes text that is not empty", "every value holds the empty text"
        elif matcher == "matches":
            message, hint = pattern_fault(text)
        elif matcher == "under":
            message, hint = _path_fault(text)
        elif matcher == "host" and not _HOST.match(text):
            message = f"`{text}` is not a host name as it stands in a canonical URL"
            hint = "write it in lower case, without scheme, port or final dot; names beyond ASCII as `xn--…`"
        elif matcher in _PARTS and self.criterion.words and not self.among_words(matcher, text):
            message = f"no `{self.criterion.name}` fits `{matcher}: {text}`"
            hint = f"it is one of {listed(self.criterion.words)}"
        if message:
            self.fault(node, message, hint)
            return []
        return [{"op": matcher, "value": text}]

    def among_words(self, matcher: str, text: str) -> bool:
        return any(_PARTS[matcher](word, text) for word in self.criterion.words)


_NOTHING = object()
_PARTS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": str.__contains__,
    "starts_with": str.startswith,
    "ends_with": str.endswith,
}


def _path_fault(text: str) -> tuple[str, str]:
    if not text.startswith("/"):
        return f"`{text}` is not an absolute path", f"write `/{text}`"
    if "%" in text or "\\" in text or "\0" in text:
        return f"`{text}` holds a character that a canonical path does not have", "write it without `%` and `\\`"
    if text != "/" and any(part in ("", ".", "..") for part in text[1:].split("/")):
        return f"`{text}` is not a canonical path", "write it without `//`, `.`, `..` and a final `/`"
    return "", ""
