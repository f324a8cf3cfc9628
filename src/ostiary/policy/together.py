"""Which criteria can be about one message: an `and` of others is never met, and says so when it is read.

A message is about one tool, one prompt or one resource, or about none. A criterion on what a message does not have is
never met in an allow, and in a deny only where it stands negated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ostiary.policy.names import listed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.policy.names import Findings
    from ostiary.policy.who import Leaf
    from ostiary.yamlsource import Entry

METHODS: Mapping[str, frozenset[str]] = {
    "tools/call": frozenset({"tool"}),
    "prompts/get": frozenset({"prompt"}),
    "resources/read": frozenset({"resource_uri"}),
    "resources/subscribe": frozenset({"resource_uri"}),
    "resources/unsubscribe": frozenset({"resource_uri"}),
    "completion/complete": frozenset({"prompt", "resource_uri"}),
    "subscriptions/listen": frozenset({"resource_uri"}),
    **dict.fromkeys(
        (
            *("initialize", "server/discover", "ping", "logging/setLevel"),
            *("notifications/initialized", "notifications/cancelled", "notifications/progress"),
            *("notifications/roots/list_changed", "tools/list", "prompts/list", "resources/list"),
            *("resources/templates/list", "session/delete", "session/stream"),
        ),
        frozenset[str](),
    ),
}
"""Methods that reach the rules, and what a message of each can be about. `session/delete` and `session/stream` are the
DELETE and the GET of a session."""

OBJECTS = {"tool": "tool", "mcp_tool": "tool", "prompt": "prompt", "resource_uri": "resource_uri"}
"""What a criterion needs a message to be about."""

_NEGATIVE = frozenset({"not", "not_in", "exclude"})


def check_together(effect: str, operator: Entry, leaves: list[Leaf], findings: Findings) -> None:
    """Report the leaves of an `and` that no message can meet with those before them."""
    if operator.name != "and":
        return
    needed: dict[str, Leaf] = {}
    for leaf in leaves:
        name = OBJECTS.get(leaf.criterion.name)
        if name is None or (effect == "deny" and all(op in _NEGATIVE for op in leaf.ops)):
            continue
        for other, before in needed.items():
            if other != name:
                _tell(before, leaf, "no message is about both", findings)
        needed.setdefault(name, leaf)
    asked = any(leaf.criterion.name == "server_request" for leaf in leaves)
    for leaf in leaves:
        _check_method(leaf, needed, findings)
        _check_class(leaf, needed, findings)
        negated = effect == "deny" and all(op in _NEGATIVE for op in leaf.ops)
        if leaf.criterion.name == "argument" and "resource_uri" in needed and not (asked or negated):
            _tell(needed["resource_uri"], leaf, "a resource takes no arguments", findings)


def _exact(leaf: Leaf) -> set[str] | None:
    """Return the values that a leaf names one by one; None if it does not."""
    tests = leaf.data["tests"]
    found: set[str] | None = None
    for test in tests if isinstance(tests, list) else ():
        if test["op"] in ("is", "in"):
            values = set(test["value"] if test["op"] == "in" else [test["value"]])
            found = values if found is None else found & values
    return found


def _check_method(leaf: Leaf, needed: Mapping[str, Leaf], findings: Findings) -> None:
    methods = _exact(leaf) if leaf.criterion.name == "mcp_method" else None
    if not methods or not methods <= set(METHODS):
        return
    for name, other in needed.items():
        if not any(name in METHODS[method] for method in methods):
            word = "resource" if name == "resource_uri" else name
            _tell(other, leaf, f"{listed(sorted(methods))} is about no {word}", findings)


def _check_class(leaf: Leaf, needed: Mapping[str, Leaf], findings: Findings) -> None:
    others = [needed[name] for name in ("prompt", "resource_uri") if name in needed]
    if leaf.criterion.name == "action" and others:
        classes = _exact(leaf)
        if classes is not None and "read" not in classes:
            _tell(others[0], leaf, "prompts and resources are of class `read`", findings)


def _tell(before: Leaf, leaf: Leaf, why: str, findings: Findings) -> None:
    message = f"`{leaf.entry.name}` and `{before.entry.name}` are never met together: {why}"
    findings.problems.append(leaf.entry.problem(message, "write a rule, or an operator, for each"))
