"""For the oracle: finds the fact that a criterion speaks of, and asks one matcher of one scalar."""

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
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def read(text: str) -> Json:
    """Return JSON with every number exact."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def kind(value: Json) -> str:
    if isinstance(value, bool):
        return "bool"
    return {str: "text", Decimal: "number", type(None): "null", list: "list", dict: "object"}[type(value)]


def scalars(value: Json) -> list[Json]:
    """Return the scalars inside a value, however deep."""
    if isinstance(value, list | dict):
        return [leaf for item in (value.values() if isinstance(value, dict) else value) for leaf in scalars(item)]
    return [value]


# One matcher on one scalar: True, False or ERROR


def compare(op: str, operand: Json, value: Json) -> Json:
    if op in ("is", "in"):
        same = [one for one in (operand if op == "in" else [operand]) if kind(one) == kind(value)]
        return value in same if same else ERROR
    if op in ("lt", "lte", "gt", "gte"):
        if kind(value) != "number":
            return ERROR
        bound = Decimal(operand)
        return {"lt": value < bound, "lte": value <= bound, "gt": value > bound, "gte": value >= bound}[op]
    if kind(value) != "text":
        return ERROR
    if op == "cidr":
        try:
            address = ip_address(value)
        except ValueError:
            return ERROR
        return any((getattr(address, "ipv4_mapped", None) or address) in ip_network(network) for network in operand)
    return {
        "contains": contains,
        "starts_with": starts,
        "ends_with": ends,
        "matches": found,
        "under": under,
        "host": host,
    }[op](operand, value)


def contains(part: str, value: str) -> bool:
    return part in value


def starts(start: str, value: str) -> bool:
    return value.startswith(start)


def ends(end: str, value: str) -> bool:
    return value.endswith(end)


def found(pattern: str, value: str) -> bool:
    return re.search(pattern, value) is not None


def under(folder: str, path: str) -> Json:
    odd = any(mark in path for mark in ("%", "\\", "\0", "//")) or any(part in (".", "..") for part in path.split("/"))
    if odd or not path.startswith("/"):
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


def moment(criterion: str, test: Json, time: Json, zone: str) -> Json:
    if time is MISSING:
        return MISSING
    now = datetime.fromisoformat(time)
    local = now.astimezone(ZoneInfo(test.get("timezone", zone)))
    if criterion == "day_of_week":
        return DAYS[local.weekday()] in test["value"]
    if criterion == "date":
        late = now >= datetime.fromisoformat(test["value"])
    else:
        late = local.strftime("%H:%M:%S") >= test["value"]
    return late is (test["op"] == "after")


# The fact of a criterion: a value, MISSING, ERROR or UNKNOWN


def walk(value: Json, path: str) -> Json:
    for step in path.split("/"):
        if not isinstance(value, dict):
            return ERROR
        key = step.replace("~1", "/").replace("~0", "~")
        if key not in value:
            return MISSING
        value = value[key]
    return value


def obtained(value: Json) -> Json:
    return ERROR if isinstance(value, dict) and list(value) == ["unavailable"] else value


def actor(facts: Json) -> str | None:
    if "agent" in facts:
        return str(facts["agent"]["id"])
    return str(facts["principal"]["id"]) if facts["principal"]["type"] == "agent" else None


def about(facts: Json) -> bool:
    """Whether a message names something, or a server asks something: what rules alone decide."""
    return any(name in facts for name in ("tool", "prompt", "resource_uri", "server_request"))


def takes_arguments(facts: Json) -> bool:
    return "tool" in facts or "server_request" in facts or facts["mcp_method"] == "prompts/get"


def action(facts: Json, servers: Json) -> Json:
    tool = facts.get("tool", MISSING)
    if tool is MISSING:
        return "read" if about(facts) else MISSING
    if tool is UNKNOWN:
        return tool
    server = servers.get(facts["server"])
    catalogue = MISSING if server is None else server["tools"].get(tool, server["default_class"])
    return facts.get("class", catalogue)


def scope(facts: Json) -> Json:
    given = facts.get("token", {}).get("scope", MISSING)
    words = given.split() if isinstance(given, str) else given
    good = words is MISSING or (isinstance(words, list) and all(kind(word) == "text" for word in words))
    return words if good else ERROR


def unlisted(criterion: str, op: str, operand: Json, server: str, listed: Json) -> bool | None:
    """Return whether the name of a tool that no catalogue lists passes a matcher; None if some do and some do not."""
    before = f"{server}/" if criterion == "tool" else ""
    if op in ("is", "in"):
        names = [one.removeprefix(before) for one in (operand if op == "in" else [operand]) if one.startswith(before)]
        return None if any(name not in listed for name in names) else False
    if op == "starts_with" and criterion == "tool" and not operand.startswith(before):
        return before.startswith(operand)
    return True if op == "starts_with" and operand == before else None


def fact(facts: Json, criterion: str, path: str, agents: Json, servers: Json, keys: Json) -> Json:
    subject, acting = facts["principal"], actor(facts)
    human = subject if subject["type"] == "human" else {}
    request, tool = facts.get("request", {}), facts.get("tool", MISSING)
    if criterion == "claim":
        claims = human.get("claims", {})
        return obtained(claims[path] if path in claims else walk(claims, path))
    if criterion == "argument":
        arguments = facts.get("arguments", {})
        return MISSING if not takes_arguments(facts) else UNKNOWN if arguments is UNKNOWN else walk(arguments, path)
    if criterion == "owner":
        given = facts.get("agent", subject).get("owner", agents.get(acting, {}).get("owner", MISSING))
        return MISSING if acting is None else keys.get(given, given)
    groups = human.get("groups", MISSING)
    values = {
        "user": human.get("id", MISSING),
        "email": human.get("email", MISSING),
        "domain": human["email"].rpartition("@")[2] if "@" in human.get("email", "") else MISSING,
        "groups": groups if groups is MISSING or isinstance(groups, list) else ERROR,
        "service": subject["id"] if subject["type"] == "service" else MISSING,
        "agent": MISSING if acting is None else acting,
        "actor_type": subject["type"] if acting is None else "agent",
        "server": facts["server"],
        "tool": tool if tool in (MISSING, UNKNOWN) else f"{facts['server']}/{tool}",
        "mcp_tool": tool,
        "action": action(facts, servers),
        "mcp_method": facts["mcp_method"],
        "prompt": facts.get("prompt", MISSING),
        "resource_uri": facts.get("resource_uri", MISSING),
        "server_request": facts.get("server_request", MISSING),
        "source_ip": request.get("ip", MISSING),
        "origin": request.get("origin", MISSING),
        "scope": scope(facts),
    }
    return values[criterion]
