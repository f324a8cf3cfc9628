"""A second opinion on decisions: slow, obvious, and sharing nothing with the product.

`Oracle(snapshot).decide(facts)` works from the JSON of a Snapshot and of Facts, straight from the reference page: take
the fact of each test, ask the table of doubt, put the answers together. What is not known yet (arguments and names,
for a message that names nothing) makes a test *maybe*: None. Facts whose members do not go together never get here.
"""

from __future__ import annotations

import re
from datetime import datetime

from tests.kit.facts import (
    ERROR,
    MISSING,
    UNKNOWN,
    Json,
    about,
    action,
    compare,
    fact,
    kind,
    moment,
    scalars,
    scope,
    unlisted,
)

Maybe = bool | None
BASE = {"not": "is", "not_in": "in", "exclude": "has"}
LISTS = ("groups", "scope", "claim")
TIMES = ("time_of_day", "day_of_week", "date")
BARE = (
    *("initialize", "server/discover", "ping", "logging/setLevel", "notifications/initialized"),
    *("notifications/cancelled", "notifications/progress", "notifications/roots/list_changed", "tools/list"),
    *("prompts/list", "resources/list", "resources/templates/list", "session/delete", "session/stream"),
    "subscriptions/listen",
)
NAMING = {
    "prompt": ["prompts/get", "completion/complete"],
    "resource_uri": [
        *("resources/read", "resources/subscribe", "resources/unsubscribe"),
        *("completion/complete", "subscriptions/listen"),
    ],
}
ASKS = ("sampling/createMessage", "elicitation/create", "roots/list", "ping")
MESSAGES = {"mcp_method", "prompt", "resource_uri"}


def all_of(answers: list[Maybe]) -> Maybe:
    return False if False in answers else None if None in answers else True


def some_of(answers: list[Maybe]) -> Maybe:
    return True if True in answers else None if None in answers else False


def doubt(allow: bool, negative: bool, op: str, operand: Json, value: Json, whole: bool) -> Maybe:
    """Return whether a test is met: the table of doubt, row by row.

    `op` is positive, and `negative` says that it stands negated; `whole` that membership is asked of the whole list.
    """
    if value is UNKNOWN:
        return None
    if value is MISSING:
        return not allow and negative
    if value is ERROR:
        return not allow
    if whole and op in ("has", "sole"):
        items = value if isinstance(value, list) else [value]
        if any(kind(item) != kind(operand) for item in items):
            return not allow
        if not items:
            return not allow and negative
        return (operand in items and (op == "has" or len(items) == 1)) is not negative
    if isinstance(value, list | dict):
        answers = [doubt(allow, negative, op, operand, scalar, whole) for scalar in scalars(value)]
        if not answers:
            return not allow and negative
        return all_of(answers) if allow else some_of(answers)
    answer = compare(op, operand, value)
    return not allow if answer is ERROR else answer is not negative


def in_one_spelling(facts: Json) -> bool:
    """Whether the resource, if one is named, is written as a URI has to be; only a completion may name a template."""
    uri = facts.get("resource_uri", "x:y")
    if facts["mcp_method"] == "completion/complete":
        uri = re.sub(r"\{[^{}]+\}", "x", uri)
    plain = re.fullmatch(r"[a-z][a-z0-9+.-]*:[!#-;=?-Z\[\]_a-z~]+", uri) is not None
    folded = re.match(r"(https?|file|ftp|wss?)://[^/?#]*[A-Z]", uri)
    return plain and not folded and not re.search(r"//[^/?#]*@|/\.\.?(/|$)|%", uri)


class Oracle:
    def __init__(self, snapshot: Json) -> None:
        self.snapshot = snapshot
        self.zone = snapshot["policy"]["timezone"]
        self.rules = [rule for rule in snapshot["policy"]["rules"] if rule["mode"] == "enforce"]
        self.agents = {agent["id"]: agent for agent in snapshot["agents"]}
        self.servers = {server["name"]: server for server in snapshot["servers"]}
        self.keys = {person["id"]: person["key"] for person in snapshot["people"] if person["id"] is not None}
        self.any_agent = snapshot["partial"] and not self.agents
        self.any_server = snapshot["partial"] and not self.servers

    # Rules

    def test(self, allow: bool, negative: bool, leaf: Json, test: Json, facts: Json) -> Maybe:
        criterion, op = leaf["criterion"], BASE.get(test["op"], test["op"])
        negative ^= test["op"] in BASE
        if criterion in TIMES:
            answer = moment(criterion, test, facts.get("time", MISSING), self.zone)
            return (not allow and negative) if answer is MISSING else answer is not negative
        value = fact(facts, criterion, leaf["path"] or "", self.agents, self.servers, self.keys)
        if value is UNKNOWN and criterion in ("tool", "mcp_tool"):
            known = unlisted(criterion, op, test["value"], facts["server"], self.listed(facts))
            return None if known is None else known is not negative
        return doubt(allow, negative, op, test["value"], value, criterion in LISTS)

    def leaf(self, allow: bool, negative: bool, leaf: Json, facts: Json) -> Maybe:
        subject = facts["principal"]
        by_itself = subject["type"] == "agent" and facts.get("agent", subject)["id"] == subject["id"]
        human = subject["type"] == "human"
        flags = {"accept": True, "reject": False, "authenticated_user": human, "autonomous": by_itself}
        if leaf["criterion"] in flags:
            return flags[leaf["criterion"]] is not negative
        answers = [self.test(allow, negative, leaf, test, facts) for test in leaf["tests"]]
        return some_of(answers) if negative else all_of(answers)

    def met(self, rule: Json, facts: Json) -> Maybe:
        """Whether one of its ways is: the whole of an `and` or `not`, one leaf of an `or` or `nor`."""
        allow = rule["effect"] == "allow"
        ways: list[Maybe] = []
        for branch in [branch for branch in rule["any"] if branch["of"]]:
            negative = branch["op"] in ("not", "nor")
            for way in [[leaf] for leaf in branch["of"]] if branch["op"] in ("or", "nor") else [branch["of"]]:
                answers = [self.leaf(allow, negative, leaf, facts) for leaf in way]
                ways.append(all_of(answers) if not allow or self.speaks(way, facts) else False)
        return some_of(ways)

    def speaks(self, way: Json, facts: Json) -> bool:
        """Whether a way of an allow to be met is about this kind of message."""
        named = {leaf["criterion"] for leaf in way}
        if "server_request" in named or "server_request" in facts:
            return "server_request" in named and "server_request" in facts
        return facts["mcp_method"] == "tools/call" or bool(named & MESSAGES)

    def names_method(self, rule: Json) -> bool:
        return any(
            leaf["criterion"] == "mcp_method" and (branch["op"] in ("not", "nor")) is (test["op"] in BASE)
            for branch in rule["any"]
            for leaf in branch["of"]
            for test in leaf["tests"]
        )

    def matching(self, effect: str, facts: Json) -> list[Json]:
        """Return the rules that decide: a message that names nothing is decided by those that name its method."""
        rules = [rule for rule in self.rules if rule["effect"] == effect and self.met(rule, facts)]
        return rules if about(facts) else [rule for rule in rules if self.names_method(rule)]

    def listed(self, facts: Json) -> Json:
        return self.servers.get(facts["server"], {"tools": {}})["tools"]

    # Decisions

    def decide(self, facts: Json) -> Json:
        reason, rules = self.verdict({"mcp_method": "tools/call", **facts})
        told = [{key: rule[key] for key in ("name", "file", "line")} for rule in rules]
        return {"decision": "deny" if reason else "allow", "reason": reason, "rules": told}

    def verdict(self, facts: Json) -> tuple[str | None, list[Json]]:
        """Return why it is refused, None if it is not, and the rules that decided."""
        if reason := self.gate(facts):
            return reason, []
        if denies := self.matching("deny", facts):
            return "denied_by_rule", denies
        allows = self.matching("allow", facts)
        if not allows:
            return ("no_rule" if about(facts) else self.passes(facts)), []
        if not self.inside_ceilings(facts):
            return "ceiling", allows
        if about(facts) and not self.inside_scopes(facts):
            return "scope", allows
        return None, allows

    def gate(self, facts: Json) -> str | None:
        """Return what refuses before any rule is asked."""
        if self.snapshot["lockdown"]:
            return "lockdown"
        if facts["server"] not in self.servers and not self.any_server:
            return "unknown_server"
        known = [*BARE, "tools/call", *NAMING["prompt"], *NAMING["resource_uri"]]
        if facts["mcp_method"] not in known or facts.get("server_request", "ping") not in ASKS:
            return "unknown_method"
        if not in_one_spelling(facts):
            return "malformed"
        for agent in self.involved(facts):
            if agent is None:
                return "agent_unknown"
            if agent["expires"] is not None and not self.before(agent["expires"], facts):
                return "agent_suspended"
        return None

    def involved(self, facts: Json) -> list[Json]:
        """Return the agents of a call, subject first, as they are registered: None for one that is not."""
        subject = [facts["principal"]["id"]] if facts["principal"]["type"] == "agent" else []
        acting = [facts["agent"]["id"]] if "agent" in facts else []
        return [] if self.any_agent else [self.agents.get(name) for name in dict.fromkeys(subject + acting)]

    def before(self, end: Json, facts: Json) -> bool:
        return "time" in facts and datetime.fromisoformat(facts["time"]).timestamp() < end

    def inside_ceilings(self, facts: Json) -> bool:
        return all(self.inside(agent["ceiling"], facts) for agent in self.involved(facts))

    def inside(self, ceiling: Json, facts: Json) -> bool:
        if facts["server"] not in ceiling["servers"]:
            return False
        if not about(facts):
            return True
        if "tool" not in facts:
            return ceiling["tools"] is None and "read" in ceiling["classes"]
        if facts["tool"] is UNKNOWN:
            others = [tool for tool in ceiling["tools"] or [] if tool.startswith(f"{facts['server']}/")]
            new = [tool for tool in others if tool.partition("/")[2] not in self.listed(facts)]
            return bool((ceiling["tools"] is None or new) and ceiling["classes"])
        tools = ceiling["tools"] is None or f"{facts['server']}/{facts['tool']}" in ceiling["tools"]
        return tools and action(facts, self.servers) in ceiling["classes"]

    def inside_scopes(self, facts: Json) -> bool:
        words = scope(facts)
        if words is ERROR:
            return False
        ours = [] if words is MISSING else [word for word in words if word.startswith("mcp:")]
        return not ours or f"mcp:{action(facts, self.servers)}" in ours

    # What names nothing passes if something could be allowed, whatever its arguments

    def passes(self, facts: Json) -> str | None:
        tools = [*self.listed(facts), UNKNOWN]
        calls = [{**facts, "mcp_method": "tools/call", "tool": tool, "arguments": UNKNOWN} for tool in tools]
        for name, methods in NAMING.items():
            calls += [{**facts, "mcp_method": way, name: UNKNOWN, "arguments": UNKNOWN} for way in methods]
        could = [call for call in calls if self.could(call)]
        if any(self.inside_ceilings(call) for call in could):
            return None
        return "ceiling" if could else "no_rule"

    def could(self, call: Json) -> bool:
        denied = any(rule["effect"] == "deny" and self.met(rule, call) for rule in self.rules)
        return not denied and any(
            rule["effect"] == "allow" and self.met(rule, call) is not False for rule in self.rules
        )
