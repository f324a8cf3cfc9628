"""Reads rules: from YAML nodes to the list of rules that a Snapshot holds.

A document is a rule or a list of rules. A rule has a `name` and an `allow`, a `deny` or both; each of them holds
operators (`and`, `or`, `not`, `nor`) with a list of criteria, and is met if one of its operators is. A rule with both
becomes two rules of the same name. Every fault is reported where it stands, and reading goes on.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING

from ostiary.policy.criteria import CRITERIA, NOT_IN_THIS_VERSION, SERVER_REQUESTS, Criterion
from ostiary.policy.matchers import read_tests
from ostiary.policy.names import Findings, Names, nearest, owner
from ostiary.policy.together import METHODS, check_together
from ostiary.policy.who import Leaf, branches
from ostiary.yamlsource import KIND_WORDS, Entry, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ostiary.errors import Problem

Rule = dict[str, object]

EFFECTS = ("allow", "deny")
OPERATORS = ("and", "or", "not", "nor")
MODES = ("enforce", "shadow")
RULE_KEYS = ("name", "owner", "mode", *EFFECTS)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_BARE = re.compile(r"(?!(?:true|false|null|on|off)\Z)[A-Za-z_/@][A-Za-z0-9_./@:+-]*\Z")
_ESCAPES = re.compile(r"(?:[^~]|~[01])*\Z")
_TEXT_LIMIT = 300


def read_policy(node: Node, names: Names, problems: list[Problem], warnings: list[Problem] | None = None) -> list[Rule]:
    """Return the rules of one document, in order; what is wrong goes to `problems`, what is odd to `warnings`."""
    return read_policies((node,), names, problems, warnings)


def read_policies(
    nodes: Iterable[Node], names: Names, problems: list[Problem], warnings: list[Problem] | None = None
) -> list[Rule]:
    """Return the rules of several documents as of one: names are unique across all of them."""
    reader = _Reader(names, Findings(problems=problems, warnings=[] if warnings is None else warnings))
    return [rule for node in nodes for rule in reader.document(node)]


class _Reader:
    def __init__(self, names: Names, findings: Findings) -> None:
        self.names = names
        self.findings = findings
        self.seen: dict[str, Node] = {}

    def fault(self, place: Node | Entry, message: str, hint: str = "") -> None:
        self.findings.problems.append(place.problem(message, hint))

    def document(self, node: Node) -> list[Rule]:
        if node.kind == "list":
            return [rule for item in node.items for rule in self.rule(item)]
        if node.kind == "mapping":
            return self.rule(node)
        self.fault(node, f"a list of rules is expected, not {KIND_WORDS[node.kind]}", "`[]` for none")
        return []

    def rule(self, node: Node) -> list[Rule]:
        if node.kind != "mapping":
            hint = "write `- name: …` with `allow:` or `deny:`"
            self.fault(node, f"a rule is expected, not {KIND_WORDS[node.kind]}", hint)
            return []
        shared = {
            "name": self.rule_name(node),
            "file": node.file,
            "line": node.line,
            "mode": self.mode(node.get("mode")),
            "owner": self.rule_owner(node.get("owner")),
        }
        rules: list[Rule] = []
        for entry in node.entries:
            if entry.name in EFFECTS:
                rules.append({**shared, "effect": entry.name, "any": self.block(entry)})
            elif entry.name == "ask":
                self.fault(entry, "`ask` is not in this version", "write `deny` until it is")
            elif entry.name not in RULE_KEYS:
                self.fault(entry, f"a rule has no `{entry.name}`", self.rule_key_hint(entry.name))
        if not any(entry.name in (*EFFECTS, "ask") for entry in node.entries):
            self.fault(node, "the rule neither allows nor denies", "add `allow:` or `deny:`")
        return rules

    def rule_key_hint(self, name: str) -> str:
        if name in OPERATORS:
            return f"write it below `allow:` or `deny:`, as in `allow: {{{name}: […]}}`"
        if name.partition("/")[0] in CRITERIA:
            return f"write it below an operator, as in `allow: {{and: [{{{name}: …}}]}}`"
        return nearest(name, RULE_KEYS) or "it has `name`, `owner`, `mode`, `allow` and `deny`"

    def rule_name(self, rule: Node) -> str:
        node = rule.get("name")
        if node is None:
            self.fault(rule, "the rule has no name", "add `name: …`; decisions and records refer to it")
            return ""
        if node.kind != "string" or not _NAME.match(node.text):
            hint = "use letters, digits, `.`, `_` and `-`, at most 100 of them"
            self.fault(node, f"`{node.text[:100]}` cannot be the name of a rule", hint)
            return node.text
        first = self.seen.setdefault(node.text, node)
        if first is not node:
            self.fault(
                node, f"the name `{node.text}` is taken by the rule at {first.file}:{first.line}", "choose another"
            )
        return node.text

    def mode(self, node: Node | None) -> str:
        if node is None:
            return "enforce"
        if node.kind != "string" or node.text not in MODES:
            hint = nearest(node.text, MODES) or "it is `enforce` (the default) or `shadow`"
            self.fault(node, f"`{node.text}` is not a mode", hint)
            return "enforce"
        return node.text

    def rule_owner(self, node: Node | None) -> str | None:
        if node is None:
            return None
        if node.kind != "string" or not node.text:
            self.fault(node, f"an owner is a key of `people`, not {KIND_WORDS[node.kind]}")
            return None
        return owner(node.text, node, self.names, self.findings)

    def block(self, effect: Entry) -> list[dict[str, object]]:
        node = effect.node
        if node.kind != "mapping":
            hint = f"write `{effect.name}: {{and: […]}}`"
            self.fault(node, f"`{effect.name}` takes operators, not {KIND_WORDS[node.kind]}", hint)
            return []
        found: list[dict[str, object]] = []
        for operator in node.entries:
            if operator.name not in OPERATORS:
                self.fault(operator, f"there is no operator `{operator.name}`", _operator_hint(operator.name))
            elif operator.node.kind != "list":
                message = f"`{operator.name}` takes a list of criteria, not {KIND_WORDS[operator.node.kind]}"
                self.fault(operator.node, message, "start each criterion with `- `")
            elif operator.node.items:
                leaves = [leaf for item in operator.node.items for leaf in self.leaf(item)]
                if len(leaves) == len(operator.node.items):
                    check_together(effect.name, operator, leaves, self.findings)
                    found.extend(branches(effect.name, operator, leaves, self.findings))
        if not any(operator.node.kind != "list" or operator.node.items for operator in node.entries):
            message = f"this `{effect.name}` has no criteria, so it is never met"
            self.fault(effect, message, "add some, or remove it")
        return found

    def leaf(self, item: Node) -> list[Leaf]:
        """Return the one leaf of an item, or nothing after reporting what is wrong with it."""
        if item.kind != "mapping":
            hint = f"write `{item.text}: …`" if item.text else "write `NAME: VALUE`"
            self.fault(item, f"a criterion is expected, not {KIND_WORDS[item.kind]}", hint)
            return []
        if len(item.entries) != 1:
            message = f"a criterion has one name, this one has {len(item.entries)}"
            self.fault(
                item, message, "start each criterion with a `- ` of its own" if item.entries else "remove the `{}`"
            )
            return []
        entry = item.entries[0]
        before = len(self.findings.problems)
        found = self.criterion(entry)
        if found is None:
            return []
        criterion, path = found
        tests = read_tests(criterion, entry, self.names, self.findings)
        if len(self.findings.problems) > before:
            return []
        if criterion.name == "mcp_method":
            self.methods(entry.node)
        data: dict[str, object] = {
            "criterion": criterion.name,
            "path": path,
            "line": entry.line,
            "text": _shorten(f"{entry.name}: {_render(entry.node)}"),
            "tests": tests,
        }
        return [Leaf(criterion, entry, data, tuple(str(test["op"]) for test in tests))]

    def criterion(self, entry: Entry) -> tuple[Criterion, str | None] | None:
        name, slash, path = entry.name.partition("/")
        criterion = CRITERIA.get(name)
        if criterion is None:
            self.unknown(entry, name)
            return None
        if not criterion.path:
            if slash:
                self.fault(entry, f"`{name}` has nothing below it", f"write `{name}: …`")
                return None
            return criterion, None
        if not path:
            self.fault(entry, f"`{name}` needs to say which one", f"write `{name}/{criterion.path}: …`")
            return None
        if name == "argument" and not _ESCAPES.match(path):
            self.fault(entry, "`~` stands alone in the path", "write `~0` for `~` and `~1` for `/` inside a name")
            return None
        if name == "argument" and "" in path.split("/"):
            self.fault(entry, "the path has an empty step", "join the names of members by single `/`")
            return None
        return criterion, path

    def unknown(self, entry: Entry, name: str) -> None:
        if name in OPERATORS:
            self.fault(
                entry,
                f"operators cannot be nested (`{name}` stands in a list of criteria)",
                "write another rule, or another operator beside",
            )
        elif name.startswith("ssh_"):
            self.fault(
                entry,
                f"`{name}` speaks of SSH, which this gateway does not serve",
                "remove it; it can never be met here",
            )
        elif name in NOT_IN_THIS_VERSION:
            self.fault(entry, f"`{name}` is not in this version", "remove it, or the rule, until it is")
        else:
            hint = nearest(name, CRITERIA) or "the reference of the rule language lists them all"
            self.fault(entry, f"there is no criterion `{name}`", hint)

    def methods(self, node: Node) -> None:
        """Warn of methods that no request to this version can carry as far as the rules."""
        for part in node.walk():
            if part.kind == "string" and "/" in part.text and part.text not in METHODS and _exact(node, part):
                message = (
                    f"`{part.text}` is no method that this version serves, so no request reaches the rules with it"
                )
                asked = "what a server asks is `server_request`" if part.text in SERVER_REQUESTS else ""
                self.findings.warnings.append(part.problem(message, asked or nearest(part.text, METHODS)))


def _exact(whole: Node, part: Node) -> bool:
    """Say whether `part` is compared as a whole, and not as the beginning, end or pattern of a method."""
    whole_words = (None, "is", "not", "in", "not_in")
    if whole is part:
        return True
    return any(part in entry.node.walk() for entry in whole.entries if entry.name in whole_words)


def _operator_hint(name: str) -> str:
    if name.partition("/")[0] in CRITERIA:
        return f"criteria stand below an operator, as in `and: [{{{name}: …}}]`"
    return nearest(name, OPERATORS) or "it is one of `and`, `or`, `not` or `nor`"


def _render(node: Node) -> str:
    """Return the value on one line, as one would write it."""
    if node.kind == "mapping":
        return "{" + ", ".join(f"{entry.name}: {_render(entry.node)}" for entry in node.entries) + "}"
    if node.kind == "list":
        return "[" + ", ".join(_render(item) for item in node.items) + "]"
    if node.kind != "string":
        return node.text or "null"
    plain = node.plain and not re.search(r"[\n{}\[\],#]|: |^\s|\s$", node.text)
    return node.text if plain or _BARE.match(node.text) else json.dumps(node.text, ensure_ascii=False)


def _shorten(text: str) -> str:
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def with_assumed(names: Names, ids: Iterable[str]) -> Names:
    """Return `names` in which a bare name of an undeclared section may mean one of `ids`."""
    return replace(names, assumed=tuple(dict.fromkeys(ids)))
