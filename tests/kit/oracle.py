"""A second opinion on decisions: slow, obvious, and sharing nothing with the product.

`Oracle(snapshot).decide(facts)` works from the JSON of a Snapshot and of Facts, straight from the reference page: find
the fact of each leaf, ask the table of doubt, put the answers together. Numbers are `Decimal`, so read JSON with
`read`. What is `unknown` (arguments, when tools are listed) makes a leaf *maybe*: None.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from decimal import Decimal
from ipaddress import ip_address, ip_network
from typing import Any
from zoneinfo import ZoneInfo

MISSING, ERROR, UNKNOWN = object(), object(), object()
Json = Any
Maybe = bool | None
"""None is *maybe*."""

BASE = {"not": "is", "not_in": "in", "exclude": "has"}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PASSES = ("initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "session/delete")


def read(text: str) -> Json:
    """Return JSON with every number exact."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def all_of(answers: list[Maybe]) -> Maybe:
    return False if False in answers else None if None in answers else True


def some_of(answers: list[Maybe]) -> Maybe:
    return True if True in answers else None if None in answers else False


def kind(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    return {str: "text", Decimal: "number", type(None): "null", list: "list", dict: "object"}[type(value)]


def scalars(value: Json) -> list[Json]:
    """The scalars inside a value, however deep."""
    if isinstance(value, list | dict):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in scalars(item)]
    return [value]


def walk(value: Json, steps: list[str]) -> Json:
    for step in steps:
        if not isinstance(value, dict):
            return ERROR
        if step not in value:
            return MISSING
        value = value[step]
    return value


def obtained(value: Json) -> Json:
    return ERROR if isinstance(value, dict) and list(value) == ["unavailable"] else value


def steps(path: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in path.split("/")]


# One test on one scalar: True, False or ERROR


def compare(op: str, operand: Json, value: Json) -> Json:
    if op in ("is", "in"):
        operands = operand if op == "in" else [operand]
        same = [one for one in operands if kind(one) == kind(value)]
        return ERROR if not same else value in same
    if op in ("lt", "lte", "gt", "gte"):
        if kind(value) != "number":
            return ERROR
        bound = Decimal(operand)
        return {"lt": value < bound, "lte": value <= bound, "gt": value > bound, "gte": value >= bound}[op]
    if kind(value) != "text":
        return ERROR
    if op == "contains":
        return operand in value
    if op == "starts_with":
        return value.startswith(operand)
    if op == "ends_with":
        return value.endswith(operand)
    if op == "matches":
        return re.search(operand, value) is not None
    return {"under": under, "host": host}[op](operand, value)


def under(folder: str, path: str) -> Json:
    if not path.startswith("/") or any(c in path for c in "%\\\0") or any(p in (".", "..") for p in path.split("/")):
        return ERROR
    if "//" in path:
        return ERROR
    return folder == "/" or path == folder or path.startswith(folder + "/")


def host(name: str, url: str) -> Json:
    match = re.fullmatch(r"(?i:https?)://([a-z0-9-]+(?:\.[a-z0-9-]+)*)(:[0-9]{1,5})?([/?#][!-\[\]-~]*)?", url)
    if match is None:
        return ERROR
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", match[1].rpartition(".")[2]):  # then it must be an address, in full
        try:
            ip_address(match[1])
        except ValueError:
            return ERROR
    return match[1] == name


# The table of doubt


def literal(effect: str, negative: bool, test: Json, fact: Json, members: bool) -> Maybe:
    """Whether one test of a leaf is met in a rule of `effect`, standing positively or negatively."""
    op = BASE.get(test["op"], test["op"])
    negative ^= test["op"] in BASE
    allow = effect == "allow"
    if fact is UNKNOWN:
        return None
    if fact is ERROR:
        return not allow
    if fact is MISSING:
        return negative and not allow
    if members and op in ("has", "sole"):
        return member(allow, negative, op, test["value"], fact)
    if isinstance(fact, list | dict):
        leaves = scalars(fact)
        if not leaves:
            return negative and not allow
        answers = [literal(effect, False, {**test, "op": op}, leaf, members) for leaf in leaves]
        if negative:
            answers = [literal(effect, True, {**test, "op": op}, leaf, members) for leaf in leaves]
        return all(answers) if allow else any(answers)
    answer = compare(op, test["value"], fact)
    return not allow if answer is ERROR else answer is not negative


def member(allow: bool, negative: bool, op: str, operand: Json, fact: Json) -> bool:
    items = fact if isinstance(fact, list) else [fact]
    if any(kind(item) != kind(operand) for item in items):
        return not allow
    if not items and allow:
        return False
    answer = operand in items and (op == "has" or len(items) == 1)
    return answer is not negative


class Oracle:
    def __init__(self, snapshot: Json) -> None:
        self.snapshot = snapshot
        self.rules = snapshot["policy"]["rules"]
        self.agents = {agent["id"]: agent for agent in snapshot["agents"]}
        self.servers = {server["name"]: server for server in snapshot["servers"]}
        self.partial = snapshot["partial"]

    # Facts of leaves

    def actor(self, facts: Json) -> str | None:
        if "agent" in facts:
            return str(facts["agent"]["id"])
        return str(facts["principal"]["id"]) if facts["principal"]["type"] == "agent" else None

    def owner(self, facts: Json) -> Json:
        actor = self.actor(facts)
        if actor is None:
            return MISSING
        given = facts["agent"] if "agent" in facts else facts["principal"]
        registered = self.agents.get(actor, {}).get("owner", MISSING)
        return given.get("owner", registered)

    def action(self, facts: Json) -> Json:
        if "tool" not in facts:
            return MISSING
        if facts["tool"] is UNKNOWN:
            return UNKNOWN
        server = self.servers.get(facts["server"])
        catalogue = MISSING if server is None else server["tools"].get(facts["tool"], server["default_class"])
        return facts.get("class", catalogue)

    def fact(self, facts: Json, criterion: str, path: str = "") -> Json:
        subject, actor = facts["principal"], self.actor(facts)
        human = subject if subject["type"] == "human" else {}
        request = facts.get("request", {})
        tool = facts.get("tool", MISSING)
        if criterion == "claim":
            claims = human.get("claims", {})
            return obtained(walk(claims, [path] if path in claims else steps(path)))
        if criterion == "argument":
            if tool is MISSING:
                return MISSING
            arguments = facts.get("arguments", {})
            return UNKNOWN if arguments is UNKNOWN else walk(arguments, steps(path))
        if criterion == "scope":
            scope = facts.get("token", {}).get("scope", MISSING)
            words = scope.split() if isinstance(scope, str) else scope
            return ERROR if isinstance(words, list) and any(kind(word) != "text" for word in words) else words
        found = {
            "user": human.get("id", MISSING),
            "email": human.get("email", MISSING),
            "domain": human["email"].rpartition("@")[2] if "@" in human.get("email", "") else MISSING,
            "groups": obtained(walk(human, ["groups"])),
            "service": subject["id"] if subject["type"] == "service" else MISSING,
            "agent": MISSING if actor is None else actor,
            "owner": self.owner(facts),
            "actor_type": subject["type"] if actor is None else "agent",
            "server": facts["server"],
            "tool": tool if tool in (MISSING, UNKNOWN) else f"{facts['server']}/{tool}",
            "mcp_tool": tool,
            "action": self.action(facts),
            "mcp_method": facts.get("mcp_method", "tools/call"),
            "source_ip": request.get("ip", MISSING),
            "origin": request.get("origin", MISSING),
        }
        return found[criterion]

    def moment(self, facts: Json, test: Json, criterion: str) -> Json:
        if "time" not in facts:
            return MISSING
        time = datetime.fromisoformat(facts["time"])
        if criterion == "date":
            bound = datetime.fromisoformat(test["value"])
            return time >= bound if test["op"] == "after" else time < bound
        local = time.astimezone(ZoneInfo(test.get("timezone", self.snapshot["policy"]["timezone"])))
        if criterion == "day_of_week":
            return DAYS[local.weekday()] in test["value"]
        clock = local.strftime("%H:%M:%S")
        return clock >= test["value"] if test["op"] == "after" else clock < test["value"]

    # Leaves, branches, rules

    def leaf(self, effect: str, negative: bool, leaf: Json, facts: Json) -> Maybe:
        criterion = leaf["criterion"]
        human, agent = (facts["principal"]["type"] == kind for kind in ("human", "agent"))
        alone = facts.get("agent", facts["principal"])["id"] == facts["principal"]["id"]
        flags = {"accept": True, "reject": False, "authenticated_user": human, "autonomous": agent and alone}
        if criterion in flags:
            return flags[criterion] is not negative
        answers: list[Maybe] = []
        known: Maybe
        for test in leaf["tests"]:
            if criterion in ("time_of_day", "day_of_week", "date"):
                answer = self.moment(facts, test, criterion)
                known = effect == "deny" and negative if answer is MISSING else answer is not negative
            elif criterion == "source_ip":
                known = self.network(effect, negative, test, self.fact(facts, criterion))
            else:
                members = criterion in ("groups", "scope", "claim")
                known = literal(effect, negative, test, self.fact(facts, criterion, leaf["path"] or ""), members)
            answers.append(known)
        return some_of(answers) if negative else all_of(answers)

    def network(self, effect: str, negative: bool, test: Json, ip: Json) -> bool:
        if ip is MISSING:
            return effect == "deny" and negative
        try:
            address = getattr(ip_address(ip), "ipv4_mapped", None) or ip_address(ip)
        except ValueError:
            return effect == "deny"
        return any(address in ip_network(network) for network in test["value"]) is not negative

    def met(self, rule: Json, facts: Json) -> Maybe:
        branches: list[Maybe] = []
        for branch in rule["any"]:
            negative = branch["op"] in ("not", "nor")
            answers = [self.leaf(rule["effect"], negative, leaf, facts) for leaf in branch["of"]]
            branches.append(some_of(answers) if branch["op"] in ("or", "nor") else all_of(answers))
        return some_of(branches)

    def on_methods(self, rule: Json) -> bool:
        """Whether the rule has a positive leaf on `mcp_method`."""
        return any(
            leaf["criterion"] == "mcp_method" and (branch["op"] in ("not", "nor")) is (test["op"] in BASE)
            for branch in rule["any"]
            for leaf in branch["of"]
            for test in leaf["tests"]
        )

    def matching(self, effect: str, facts: Json) -> list[Json]:
        return [r for r in self.rules if r["effect"] == effect and r["mode"] == "enforce" and self.met(r, facts)]

    # Decisions

    def decide(self, facts: Json) -> Json:
        reason, rules = self.verdict(facts)
        told = [{key: rule[key] for key in ("name", "file", "line")} for rule in rules]
        return {"decision": "deny" if reason else "allow", "reason": reason, "rules": told}

    def verdict(self, facts: Json) -> tuple[str | None, list[Json]]:
        method = facts.get("mcp_method", "tools/call")
        if self.snapshot["lockdown"]:
            return "lockdown", []
        if facts["server"] not in self.servers and not (self.partial and not self.servers):
            return "unknown_server", []
        if method != "tools/call" and method not in PASSES:
            return "unknown_method", []
        if reason := self.registration(facts):
            return reason, []
        if method in PASSES:
            return self.passing(facts)
        if denies := self.matching("deny", facts):
            return "denied_by_rule", denies
        allows = self.matching("allow", facts)
        if not allows:
            return "no_rule", []
        action = self.action(facts)
        if not self.inside_ceiling(facts, action):
            return "ceiling", allows
        if not self.inside_scopes(facts, action):
            return "scope", allows
        return None, allows

    def registration(self, facts: Json) -> str | None:
        actor = self.actor(facts)
        if actor is None or (self.partial and not self.agents):
            return None
        if actor not in self.agents:
            return "agent_unknown"
        expires = self.agents[actor]["expires"]
        if expires is not None and (
            "time" not in facts or datetime.fromisoformat(facts["time"]).timestamp() >= expires
        ):
            return "agent_suspended"
        return None

    def inside_ceiling(self, facts: Json, action: Json) -> bool:
        actor = self.actor(facts)
        if actor is None or (self.partial and not self.agents):
            return True
        ceiling = self.agents[actor]["ceiling"]
        tool = facts["tool"]
        tools = ceiling["tools"] is None or tool is UNKNOWN or f"{facts['server']}/{tool}" in ceiling["tools"]
        return facts["server"] in ceiling["servers"] and tools and (action is UNKNOWN or action in ceiling["classes"])

    def inside_scopes(self, facts: Json, action: Json) -> bool:
        scope = self.fact(facts, "scope")
        ours = [] if scope is MISSING else [one for one in scope if one.startswith("mcp:")]
        return not ours or f"mcp:{action}" in ours

    def passing(self, facts: Json) -> tuple[str | None, list[Json]]:
        denies = [rule for rule in self.matching("deny", facts) if self.on_methods(rule)]
        if denies:
            return "denied_by_rule", denies
        allows = [rule for rule in self.matching("allow", facts) if self.on_methods(rule)]
        if allows:
            return None, allows
        server = self.servers.get(facts["server"], {"tools": {}})
        if any(self.could(facts, tool) for tool in [*server["tools"], UNKNOWN]):
            return None, []
        return "no_rule", []

    def could(self, facts: Json, tool: Json) -> bool:
        """Whether some call of the tool could be allowed, whatever its arguments are."""
        call = {**facts, "mcp_method": "tools/call", "tool": tool, "arguments": UNKNOWN}
        denied = any(r["effect"] == "deny" and r["mode"] == "enforce" and self.met(r, call) is True for r in self.rules)
        allowed = any(
            r["effect"] == "allow" and r["mode"] == "enforce" and self.met(r, call) is not False for r in self.rules
        )
        return allowed and not denied and self.inside_ceiling(call, self.action(call))
