"""Who a rule is for: every way in which an allow can be met names somebody.

A way is one leaf of an `or`, or the whole of an `and`; `not` and `nor` name nobody, whatever is in them. A way names
somebody by a leaf on the subject, `authenticated_user`, `actor_type` or `accept`, with a matcher that picks out values
(`is`, `in`, `has`, `starts_with`, `ends_with`), not one that leaves some out.

`agent` and `owner` speak of what acts. Where an agent acts for itself it is the subject too, and then they name
somebody. Where it acts for a person they say nothing of whose authority is used. So a way that names its callers by
them alone is held to agents that act for themselves, by one more leaf: `autonomous`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ostiary.policy.criteria import WHO_MATCHERS, Criterion

if TYPE_CHECKING:
    from ostiary.policy.names import Findings
    from ostiary.yamlsource import Entry

_HINT = "add who it is for, as in `groups: {has: …}`, `user: …`, `actor_type: …`, or `accept: true` for every caller"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One criterion of a rule as read: what it is, where it stands, and the rule member made of it."""

    criterion: Criterion
    entry: Entry
    data: dict[str, object]
    ops: tuple[str, ...]

    @property
    def never(self) -> bool:
        """Whether it is never met."""
        return self.criterion.name == "reject"

    def names(self, who: str) -> bool:
        """Whether it names the `who` (subject or actor) of a call."""
        if self.criterion.who != who:
            return False
        return self.criterion.form == "flag" or any(op in WHO_MATCHERS for op in self.ops)


def branches(effect: str, operator: Entry, leaves: list[Leaf], findings: Findings) -> list[dict[str, object]]:
    """Return the branches that one operator of a rule stands for, and report ways of an allow that name nobody."""
    whole: dict[str, object] = {"op": operator.name, "of": [leaf.data for leaf in leaves]}
    if effect != "allow":
        return [whole]
    if operator.name == "and":
        return [_all_of(operator, leaves, findings)]
    if operator.name == "or":
        return _one_of(leaves, findings)
    message = f"an allow under `{operator.name}` names nobody: whoever is not excluded would be allowed"
    findings.problems.append(operator.problem(message, "write the criteria under `and` with `not`, and " + _HINT))
    return [whole]


def _all_of(operator: Entry, leaves: list[Leaf], findings: Findings) -> dict[str, object]:
    of = [leaf.data for leaf in leaves]
    if not any(leaf.never or leaf.names("subject") for leaf in leaves):
        actors = [leaf for leaf in leaves if leaf.names("actor")]
        if actors:
            of.append(_autonomous(actors[0]))
        else:
            findings.problems.append(operator.problem("this `and` names nobody: it would allow every caller", _HINT))
    return {"op": "and", "of": of}


def _one_of(leaves: list[Leaf], findings: Findings) -> list[dict[str, object]]:
    alone: list[dict[str, object]] = []
    acting: list[dict[str, object]] = []
    for leaf in leaves:
        if not leaf.never and not leaf.names("subject"):
            if leaf.names("actor"):
                of: list[dict[str, object]] = [leaf.data, _autonomous(leaf)]
                acting.append({"op": "and", "of": of})
                continue
            message = f"`{leaf.entry.name}` alone would be enough here, and names nobody"
            findings.problems.append(leaf.entry.problem(message, "write it under `and`, and " + _HINT))
        alone.append(leaf.data)
    if not alone:
        return acting
    either: dict[str, object] = {"op": "or", "of": alone}
    return [either, *acting]


def _autonomous(leaf: Leaf) -> dict[str, object]:
    return {
        "criterion": "autonomous",
        "path": None,
        "line": leaf.entry.line,
        "text": f"{leaf.entry.name}: the agent acts for itself",
        "tests": [],
    }
