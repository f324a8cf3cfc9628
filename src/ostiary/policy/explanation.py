"""Says in words what a decision was, which rule made it, and what would change it.

Works from the answer of `Snapshot.decide` alone; nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Answer = Mapping[str, Any]

REASONS: Mapping[str, str] = {
    "no_rule": "no rule allows this",
    "denied_by_rule": "a rule forbids this",
    "ceiling": "rules allow this, but it is above the agent's ceiling",
    "scope": "rules allow this, but the token's scope does not reach it",
    "unknown_method": "this version does not serve the method",
    "unknown_server": "no such server is declared",
    "agent_unknown": "the agent that acts is not registered",
    "agent_suspended": "the agent that acts has expired",
    "owner_inactive": "nobody answers for the agent that acts",
    "bad_arguments": "the arguments do not mean one thing",
    "lockdown": "everything is refused: the gateway is locked down",
}
"""What a reason means, for those that a decision can have."""


def place(rule: Mapping[str, Any]) -> str:
    """Return a rule as people look for it: its name, file and line."""
    return f"{rule['name']} ({rule['file']}:{rule['line']})"


def verdict(answer: Answer) -> str:
    """Return the decision and its reason in one line."""
    if answer["decision"] == "allow":
        return "allowed"
    reason = str(answer["reason"])
    return f"denied: {reason}, {REASONS.get(reason, 'the request was refused before any rule was asked')}"


def deciding(answer: Answer) -> str:
    """Return which rules decided, by name and place; an empty text if none did."""
    names = ", ".join(place(rule) for rule in answer["rules"])
    if not names:
        return ""
    if answer["decision"] == "allow":
        return f"allowed by {names}"
    return f"denied by {names}" if answer["reason"] == "denied_by_rule" else f"allowed by {names}, then refused"


CHANGES: Mapping[str, str] = {
    "denied_by_rule": "only another request or another rule: a rule that forbids beats every rule that allows",
    "ceiling": "a wider `ceiling` of the agent that acts; server, tool and class of action must all be in it",
    "agent_unknown": "an entry for the agent in `agents`",
    "agent_suspended": "a later `expires` of the agent",
    "unknown_server": "an entry for the server in `servers`",
    "lockdown": "the end of the lockdown",
}
"""What would change a refusal whatever the request was."""


def changes(answer: Answer) -> list[str]:
    """Return what would change a refusal, one phrase each, besides what `nearest` tells."""
    if answer["decision"] == "allow":
        return []
    remedy = answer.get("remedy") or {}
    scopes = " ".join(f"`{scope}`" for scope in remedy.get("scopes", ()))
    found = [f"a token with the scope {scopes}"] if remedy.get("kind") == "scope" else []
    if answer["reason"] == "no_rule" and not answer["nearest"]:
        found.append("a rule that allows it: none comes near")
    return [*found, CHANGES[answer["reason"]]] if answer["reason"] in CHANGES else found


def nearest(answer: Answer) -> list[tuple[str, Sequence[str]]]:
    """Return the rules that matter most to a refusal, each under a line that says how, with the leaves it is about.

    Of a deny by rule these are the leaves that met it; otherwise those that kept an allow from being met. Whether a
    call would then be allowed also depends on denies, ceilings and scopes.
    """
    if answer["reason"] == "denied_by_rule":
        return [(f"{place(rule)} is met by", tuple(rule["failed"])) for rule in answer["nearest"]]
    return [
        (f"nearest: {place(rule)}, which failed on", tuple(rule["failed"]))
        if rule["failed"]
        else (f"nearest: {place(rule)}, which something that these facts do not hold could meet", ())
        for rule in answer["nearest"]
    ]


def shadow(answer: Answer) -> str:
    """Return what shadow rules would have done; an empty text if nothing is told of them."""
    found = answer.get("shadow")
    if not found:
        return ""
    names = ", ".join(place(rule) for rule in found["rules"])
    return f"with the rules in shadow mode enforced: {found['decision']}{f', by {names}' if names else ''}"
