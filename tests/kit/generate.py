"""Makes Snapshots and Facts at random, nasty values first: what a rule may meet, not what a caller should send.

Everything comes from one `random.Random`, so a seed tells a whole case. Numbers are texts in disguise (`Number`), so
that `1`, `1.0` and `1e0` stay three spellings.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any

Json = Any


class Number(str):
    """The text of a JSON number."""

    __slots__ = ()


def dump(value: Json) -> str:
    """Return JSON in which every `Number` stands as it is written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(key)}:{dump(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(dump(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False)


NUMBERS = [
    Number(n) for n in ("0", "-0", "1", "1.0", "1e0", "10e-1", "2", "0.1", "-5", "1e-7", "9007199254740991", "1.5")
]
BOUNDS = [*NUMBERS, "0.1000000000000000000001", "1e-400", "1e400", "-1e400", "1.00", Number("9007199254740992")]
WORDS = """
a b acme/x acme/ ACME/x 1 1.0 true null /srv /srv/data /srv/data/x /srv/database /srv/data/../etc /srv//data
/srv/data/%2e srv/data / /srv/data/. /a/..b example.com https://example.com/x https://example.com
http://example.com:8080/?q#f https://Example.com/ https://example.com.evil.test/ https://u@example.com/
https://example.com./ ftp://example.com/ HTTPS://example.com/ http://10.0.0.1/ http://0x7f.1/
"""
ODD = ["é", "e\u0301", "\U0001d518", "", " a", "a\u0000b", "a\nb", "drop table", "DROP TABLE", "/srv\\data"]
TEXTS = [*WORDS.split(), *ODD, "https://example.com\\@evil.test"]
PATTERNS = ["a", "^a", "(?i)drop", "^[0-9]+", "x|b", "acme/[a-z]", "", "é", "^.b"]
PATHS = ["p", "q/r", "q", "list", "a~1b", "t~0", "p/x", "list/x", "deep/er/est"]
CLAIMS = ["team", "levels", "https://x.test/roles", "nested/a", "nested/a/b", "gone", "mixed", "none", "nested"]
HUMANS = ["human:corp:alice", "human:corp:bob", "human:other:alice"]
AGENTS = ["agent:local:bot", "agent:local:wide", "agent:local:old", "agent:local:stranger"]
CALLERS = [*AGENTS[:1] * 6, *AGENTS[1:2] * 6, *AGENTS[2:]]
SERVICES = ["service:local:batch", "service:corp:etl"]
PEOPLE = ["alice", "bob", "human:corp:alice"]
TOOLS = ["echo", "read_file", "add", "delete_file", "unlisted", "create/issue"]
CLASSES = ["read", "query", "update", "admin"]
PROMPTS = ["summarize", "review", "review/code", "Summarize", "é"]
URIS = [
    *("file:///srv/a", "file:///srv/a/b", "file:///etc/passwd", "FILE:///srv/a", "https://example.com/x"),
    *("https://example.com.evil.test/", "https://u@example.com/", "note://1", "note://", "note://{id}", "srv"),
]
READING = ["resources/read", "resources/subscribe", "resources/unsubscribe"]
METHODS = [
    *("initialize", "notifications/initialized", "ping", "server/discover", "tools/list", "session/delete"),
    *("prompts/list", "resources/list", "resources/templates/list", "logging/setLevel", "session/stream"),
    *("subscriptions/listen", "notifications/cancelled"),
]
ASKS = ["sampling/createMessage", "elicitation/create", "roots/list", "ping"]
GROUPS = ["dev", "ops", "contractors", "Dev"]
SCOPES = ["mcp:read", "mcp:query", "mcp:update", "mcp:admin", "mcp:none", "openid"]
IPS = ["10.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1", "not an address", ""]
NETWORKS = ["10.0.0.0/8", "10.0.0.1/32", "2001:db8::/32", "0.0.0.0/0", "192.0.2.0/24"]
TIMES = [
    *("2026-11-22T10:00:00Z", "2026-11-22T23:59:59.9Z", "2026-11-23T00:00:00+01:00", "2026-03-29T01:30:00Z"),
    *("2026-10-25T00:30:00Z", "2024-02-29T12:00:00-08:00", "2026-11-22T08:59:59Z", "2026-11-22T09:00:00Z"),
]
ZONES = ["UTC", "Europe/Madrid", "Asia/Tokyo", "America/Los_Angeles"]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

TEXT_OPS = ["is", "not", "in", "not_in", "contains", "starts_with", "ends_with", "matches"]
ANY_OPS = [*TEXT_OPS, "lt", "lte", "gt", "gte", "under", "host"]
VALUES = {
    "user": HUMANS,
    "email": ["alice@example.com", "bob@evil.test", "odd", "a@b@example.com"],
    "domain": ["example.com", "evil.test", "b"],
    "service": SERVICES,
    "agent": AGENTS,
    "owner": [*PEOPLE, "human:corp:zoe"],
    "actor_type": ["human", "service", "agent"],
    "server": ["notes", "github", "nowhere"],
    "tool": [f"notes/{tool}" for tool in TOOLS] + ["github/create/issue"],
    "mcp_tool": TOOLS,
    "action": CLASSES,
    "mcp_method": [*METHODS, "tools/call", "tools/call", *["prompts/get", "completion/complete", *READING] * 2],
    "prompt": PROMPTS,
    "resource_uri": URIS,
    "server_request": ASKS,
    "origin": ["https://app.example.com", "null", "http://localhost:3000"],
}
OPS = {"action": TEXT_OPS[:4], "resource_uri": [*TEXT_OPS, "host"]}
FLAGS = ["accept", "reject", "authenticated_user", "autonomous"]


class Generator:
    """One stream of cases."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def chance(self, part: float) -> bool:
        return self.random.random() < part

    def some(self, items: list[Json], least: int = 1, most: int = 3) -> list[Json]:
        return [self.random.choice(items) for _ in range(self.random.randint(least, most))]

    # Values

    def scalar(self) -> Json:
        return self.random.choice([*TEXTS, *NUMBERS, True, False, None])

    def value(self, depth: int = 3) -> Json:
        roll = self.random.random()
        if depth and roll < 0.15:
            return [self.value(depth - 1) for _ in range(self.random.randint(0, 3))]
        if depth and roll < 0.25:
            return {
                self.random.choice(["x", "r", "er", "est"]): self.value(depth - 1)
                for _ in range(self.random.randint(0, 2))
            }
        return self.scalar()

    # Snapshots

    def snapshot(self) -> Json:
        partial = self.chance(0.1)
        agents = [
            self.agent("bot", ["notes"], None, ["read", "query"], None),
            self.agent("wide", ["notes", "github"], ["notes/echo", "github/create/issue"], CLASSES, None),
            self.agent("old", ["notes"], None, CLASSES, 1_700_000_000),
        ]
        known = {"echo": "read", "read_file": "read", "add": "query", "delete_file": "admin"}
        servers = [self.server("notes", known, "admin"), self.server("github", {"create/issue": "update"}, "read")]
        return {
            "format": Number("1"),
            "partial": partial,
            "lockdown": self.chance(0.01),
            "gateway": {"url": "http://g.test", "hosts": ["g.test"], "origins": [], "refusals": "error"},
            "audit": {"durability": "by_class", "redact": []},
            "issuers": [],
            "people": [{"key": "alice", "id": "human:corp:alice"}, {"key": "bob", "id": None}],
            "agents": [] if partial and self.chance(0.5) else agents,
            "services": [{"key": "batch", "id": "service:local:batch", "owner": "alice"}],
            "servers": [] if partial and self.chance(0.5) else servers,
            "policy": {
                "timezone": self.random.choice(ZONES),
                "rules": [self.rule(number) for number in range(self.random.randint(0, 6))],
            },
        }

    def agent(self, key: str, servers: list[str], tools: Json, classes: list[str], expires: int | None) -> Json:
        return {
            "key": key,
            "id": f"agent:local:{key}",
            "owner": "alice" if key == "bot" else "bob",
            "purpose": None,
            "environment": None,
            "clients": [],
            "ceiling": {"servers": servers, "tools": tools, "classes": classes},
            "expires": expires,
        }

    def server(self, name: str, tools: dict[str, str], default: str) -> Json:
        return {
            "name": name,
            "url": "http://127.0.0.1:9/mcp",
            "owner": "alice",
            "environment": None,
            "identity": "jwt",
            "default_class": default,
            "tools": tools,
            "timeout_s": Number("60"),
            "max_response_bytes": Number("1000"),
        }

    def rule(self, number: int) -> Json:
        found = self.any_rule(number)
        if self.chance(0.3):  # one that is often met, for messages that are no calls
            leaf = self.leaf(self.random.choice(["prompt", "resource_uri", "mcp_method", "server_request"]))
            leaf["tests"] = leaf["tests"][:1]
            who = {"criterion": "accept", "path": None, "line": Number("1"), "text": "accept", "tests": list[Json]()}
            found["any"][0] = {"op": "and", "of": [who, leaf]}
        return found

    def any_rule(self, number: int) -> Json:
        return {
            "name": f"r{number}",
            "file": "p.yaml",
            "line": Number(str(number + 1)),
            "effect": "allow" if self.chance(0.65) else "deny",
            "mode": "shadow" if self.chance(0.05) else "enforce",
            "owner": None,
            "any": [self.branch() for _ in range(self.random.choice([1, 1, 1, 2]))],
        }

    def branch(self) -> Json:
        op = self.random.choice(["and", "and", "and", "or", "or", "not", "nor"])
        return {"op": op, "of": [self.leaf() for _ in range(self.random.choice([1, 1, 2, 2, 3]))]}

    def leaf(self, kind: str = "") -> Json:
        kind = kind or self.random.choice(
            [
                *VALUES,
                "argument",
                "argument",
                "argument",
                "claim",
                "claim",
                "groups",
                "scope",
                "flag",
                "flag",
                "time",
                "ip",
            ]
        )
        path = None
        if kind == "flag":
            criterion, tests = self.random.choice(FLAGS), list[Json]()
        elif kind == "time":
            criterion, tests = self.time()
        elif kind == "ip":
            criterion, tests = "source_ip", [{"op": "cidr", "value": self.some(NETWORKS)}]
        elif kind in ("groups", "scope"):
            criterion = kind
            tests = [self.member(GROUPS if kind == "groups" else SCOPES) for _ in range(self.random.choice([1, 1, 2]))]
        else:
            criterion = kind
            path = self.random.choice(PATHS if kind == "argument" else CLAIMS) if kind not in VALUES else None
            tests = [self.test(kind) for _ in range(self.random.choice([1, 1, 1, 2]))]
        return {"criterion": criterion, "path": path, "line": Number("1"), "text": criterion, "tests": tests}

    def member(self, values: list[Json]) -> Json:
        return {"op": self.random.choice(["has", "sole", "exclude"]), "value": self.random.choice(values)}

    def test(self, criterion: str) -> Json:
        if criterion == "claim" and self.chance(0.5):
            return self.member([*GROUPS, "a", Number("1"), Number("2"), True, None])
        closed = VALUES.get(criterion)
        op = self.random.choice(ANY_OPS if closed is None else OPS.get(criterion, TEXT_OPS))
        if op in ("is", "not"):
            return {"op": op, "value": self.random.choice(closed) if closed else self.scalar()}
        if op in ("in", "not_in"):
            return {"op": op, "value": self.some(closed) if closed else [self.scalar() for _ in range(2)]}
        if op in ("lt", "lte", "gt", "gte"):
            return {"op": op, "value": self.random.choice(BOUNDS)}
        if op == "under":
            return {"op": op, "value": self.random.choice(["/", "/srv", "/srv/data"])}
        if op == "host":
            return {"op": op, "value": self.random.choice(["example.com", "10.0.0.1"])}
        if op == "matches":
            return {"op": op, "value": self.random.choice(PATTERNS)}
        word = self.random.choice(closed or TEXTS)
        start = self.random.randint(1, len(word)) if word else 0
        return {
            "op": op,
            "value": {"starts_with": word[:start], "ends_with": word[start:]}.get(op, word[start : start + 3]),
        }

    def time(self) -> tuple[str, list[Json]]:
        op = self.random.choice(["after", "before"])
        roll = self.random.randrange(3)
        if roll == 0:
            return "day_of_week", [{"op": "in", "value": self.some(DAYS)}]
        if roll == 1:
            moment = self.random.choice(["2026-11-22T09:00:00Z", "2026-01-01T00:00:00Z", "2026-11-22T23:00:00Z"])
            return "date", [{"op": op, "value": moment}]
        clock = self.random.choice(["00:00:00", "09:00:00", "10:00:00", "23:59:59", "02:30:00"])
        return "time_of_day", [{"op": op, "value": clock, "timezone": self.random.choice(ZONES)}]

    # Facts

    def facts(self) -> Json:
        facts: dict[str, Json] = {
            "principal": self.principal(),
            "server": self.random.choice(["notes"] * 18 + ["github"] * 9 + ["nowhere"]),
        }
        if self.chance(0.25):
            facts["agent"] = {"id": self.random.choice(CALLERS)}
            if self.chance(0.3):
                facts["agent"]["owner"] = self.random.choice(PEOPLE)
        self.message(facts)
        if self.chance(0.8):
            facts["time"] = self.random.choice(TIMES)
        if self.chance(0.7):
            ip = {"ip": self.random.choice(IPS)} if self.chance(0.9) else {}
            facts["request"] = {**ip, **({"origin": self.random.choice(VALUES["origin"])} if self.chance(0.5) else {})}
        if self.chance(0.4):
            words = self.some(SCOPES, 0, 3)
            facts["token"] = {"scope": " ".join(words) if self.chance(0.5) else words} if self.chance(0.9) else {}
            if self.chance(0.05):
                facts["token"]["scope"] = self.random.choice([Number("5"), ["mcp:read", Number("1")], {}])
        return facts

    def message(self, facts: Json) -> None:
        """Add what is asked: members that go together, since others are no facts."""
        self.random.choice([self.call] * 9 + [self.prompt] * 4 + [self.resource] * 5 + [self.bare] * 2)(facts)
        if self.chance(0.2):
            facts.setdefault("mcp_method", "tools/call")
            facts["server_request"] = self.random.choice([*ASKS * 3, "tools/call"])
            if "arguments" in facts or self.chance(0.8):
                facts["arguments"] = self.arguments()

    def prompt(self, facts: Json) -> None:
        facts |= {"mcp_method": "prompts/get", "prompt": self.random.choice(PROMPTS)}
        if self.chance(0.25):
            facts["mcp_method"] = "completion/complete"
        elif self.chance(0.8):
            facts["arguments"] = self.arguments()

    def resource(self, facts: Json) -> None:
        methods = [*READING, *READING, "completion/complete", "subscriptions/listen"]
        facts |= {"mcp_method": self.random.choice(methods), "resource_uri": self.random.choice(URIS)}

    def bare(self, facts: Json) -> None:
        facts["mcp_method"] = self.random.choice([*METHODS, *METHODS, "tasks/get"])

    def call(self, facts: Json) -> None:
        facts["tool"] = self.random.choice(TOOLS)
        if self.chance(0.3):
            facts["mcp_method"] = "tools/call"
        if self.chance(0.1):
            facts["class"] = self.random.choice(CLASSES)
        if self.chance(0.9):
            facts["arguments"] = self.arguments()

    def arguments(self) -> Json:
        keys = ["p", "p", "q", "list", "a/b", "t~", "deep"]
        found = {self.random.choice(keys): self.value() for _ in range(self.random.randint(0, 4))}
        if self.chance(0.3):
            found["q"] = {"r": self.value()}
        if self.chance(0.2):
            found["deep"] = {"er": {"est": self.value()}}
        return found

    def principal(self) -> Json:
        kind = self.random.choice(["human", "human", "human", "agent", "service"])
        ids = {"human": HUMANS, "agent": CALLERS, "service": SERVICES}[kind]
        found: dict[str, Json] = {"type": kind, "id": self.random.choice(ids)}
        if self.chance(0.7):
            found["email"] = self.random.choice(VALUES["email"])
        if self.chance(0.8):
            found["groups"] = {"unavailable": "overage"} if self.chance(0.1) else self.some(GROUPS, 0, 3)
        if self.chance(0.8):
            found["claims"] = self.claims()
        if kind == "agent" and self.chance(0.2):
            found["owner"] = self.random.choice(PEOPLE)
        return found

    def claims(self) -> Json:
        pool: dict[str, Json] = {
            "team": self.random.choice(["a", "dev", ["a"], [], Number("1"), {"x": "a"}, None]),
            "levels": self.random.choice(
                [[Number("1"), Number("2.0")], Number("1"), [Number("1"), "1"], [[Number("1")]]]
            ),
            "https://x.test/roles": ["dev", "ops"],
            "nested": self.random.choice([{"a": {"b": "a"}}, {"a": ["dev"]}, "a", [], {"a": {"unavailable": "later"}}]),
            "gone": {"unavailable": "directory"},
            "mixed": ["a", Number("1"), True, None],
            "none": None,
        }
        return {name: value for name, value in pool.items() if self.chance(0.6)}
