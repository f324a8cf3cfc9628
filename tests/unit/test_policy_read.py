"""What rules become when they are read: criteria, matchers, names and times."""

from typing import TYPE_CHECKING, Any

import pytest

from ostiary.policy import Names, read_policies, read_policy
from ostiary.yamlsource import Node, read_bytes

if TYPE_CHECKING:
    from ostiary.errors import Problem

NAMES = Names(
    people={"alice": "human:corp:alice@example.com", "bob": None},
    agents={"release-bot": "agent:local:release-bot", "claude": "agent:corp-agents:c1"},
    services={"batch": "service:local:batch"},
    servers={"notes": frozenset({"echo", "read_file"}), "github": frozenset({"create/issue"})},
    issuers={"corp": "human", "corp-agents": "agent"},
)


def node(text: str, file: str = "p.yaml") -> Node:
    problems: list[Problem] = []
    found = read_bytes(text.encode(), file, problems)
    assert problems == []
    assert found is not None
    return found


def rules(text: str, names: Names = NAMES) -> list[dict[str, Any]]:
    problems: list[Problem] = []
    found = read_policy(node(text), names, problems)
    assert [str(problem) for problem in problems] == []
    return found


def leaves(criterion: str, names: Names = NAMES) -> dict[str, Any]:
    """The one leaf that `criterion` becomes in a deny, where nobody needs to be named."""
    [rule] = rules(f"- name: r\n  deny:\n    or:\n      - {criterion}\n", names)
    [branch] = rule["any"]
    [leaf] = branch["of"]
    return leaf  # type: ignore[no-any-return]


CRITERIA = [
    ("accept: true", "accept", None, []),
    ("accept: 1", "accept", None, []),
    ("reject: 1", "reject", None, []),
    ("authenticated_user: true", "authenticated_user", None, []),
    ("user: alice", "user", None, [("is", "human:corp:alice@example.com")]),
    ("user: carol@example.com", "user", None, [("is", "human:corp:carol@example.com")]),
    ("user: human:corp:dave", "user", None, [("is", "human:corp:dave")]),
    ('user: {starts_with: "human:corp:"}', "user", None, [("starts_with", "human:corp:")]),
    (
        "user: {not_in: [alice, carol]}",
        "user",
        None,
        [("not_in", ["human:corp:alice@example.com", "human:corp:carol"])],
    ),
    ('email: {ends_with: "@example.com"}', "email", None, [("ends_with", "@example.com")]),
    ("domain: {in: [a.com, b.com]}", "domain", None, [("in", ["a.com", "b.com"])]),
    ("groups: dev", "groups", None, [("has", "dev")]),
    ("groups: {has: dev, exclude: temp}", "groups", None, [("has", "dev"), ("exclude", "temp")]),
    ("groups: {is: dev}", "groups", None, [("sole", "dev")]),
    ("claim/family_name: Smith", "claim", "family_name", [("has", "Smith")]),
    ("claim/https://x.test/roles: {is: 5}", "claim", "https://x.test/roles", [("sole", 5)]),
    ("claim/a.b: {not: true, in: [1, null, x]}", "claim", "a.b", [("not", True), ("in", [1, None, "x"])]),
    ("claim/level: {gte: 2.50}", "claim", "level", [("gte", "2.50")]),
    ("service: batch", "service", None, [("is", "service:local:batch")]),
    ("agent: claude", "agent", None, [("is", "agent:corp-agents:c1")]),
    ("agent: agent:local:release-bot", "agent", None, [("is", "agent:local:release-bot")]),
    ("actor_type: {not: human}", "actor_type", None, [("not", "human")]),
    ("owner: alice", "owner", None, [("is", "alice")]),
    ("owner: human:corp:alice@example.com", "owner", None, [("is", "alice")]),
    ("owner: human:corp:zoe", "owner", None, [("is", "human:corp:zoe")]),
    ("server: {in: [notes, github]}", "server", None, [("in", ["notes", "github"])]),
    ("tool: github/create/issue", "tool", None, [("is", "github/create/issue")]),
    ("tool: {starts_with: notes/}", "tool", None, [("starts_with", "notes/")]),
    ("mcp_tool: {not_in: [echo]}", "mcp_tool", None, [("not_in", ["echo"])]),
    ("action: {in: [read, query]}", "action", None, [("in", ["read", "query"])]),
    ("mcp_method: tools/list", "mcp_method", None, [("is", "tools/list")]),
    (
        "mcp_method: {in: [prompts/get, session/stream]}",
        "mcp_method",
        None,
        [("in", ["prompts/get", "session/stream"])],
    ),
    ("prompt: summarize", "prompt", None, [("is", "summarize")]),
    ("prompt: {not_in: [a, b]}", "prompt", None, [("not_in", ["a", "b"])]),
    ("prompt: {matches: '^x'}", "prompt", None, [("matches", "^x")]),
    ("resource_uri: file:///srv/a", "resource_uri", None, [("is", "file:///srv/a")]),
    (
        'resource_uri: {starts_with: "file:///", ends_with: .md, contains: x}',
        "resource_uri",
        None,
        [("starts_with", "file:///"), ("ends_with", ".md"), ("contains", "x")],
    ),
    ("resource_uri: {host: example.com}", "resource_uri", None, [("host", "example.com")]),
    ("server_request: sampling/createMessage", "server_request", None, [("is", "sampling/createMessage")]),
    ("server_request: {not_in: [ping, roots/list]}", "server_request", None, [("not_in", ["ping", "roots/list"])]),
    ("server_request: {starts_with: elicitation/}", "server_request", None, [("starts_with", "elicitation/")]),
    ('argument/repo: {starts_with: "acme/"}', "argument", "repo", [("starts_with", "acme/")]),
    ("argument/a/b~1c: 5", "argument", "a/b~1c", [("is", 5)]),
    ("argument/x: 1.0", "argument", "x", [("is", 1)]),
    ("argument/x: 0.25", "argument", "x", [("is", 0.25)]),
    ("argument/x: true", "argument", "x", [("is", True)]),
    ("argument/x: null", "argument", "x", [("is", None)]),
    ('argument/x: ""', "argument", "x", [("is", "")]),
    ('argument/x: "5"', "argument", "x", [("is", "5")]),
    ("argument/x: {lt: 10, gte: 1e-400}", "argument", "x", [("lt", "10"), ("gte", "1e-400")]),
    ('argument/x: {gt: "0.1000000000000000000001"}', "argument", "x", [("gt", "0.1000000000000000000001")]),
    ('argument/sql: {matches: "(?i)\\\\bdrop\\\\b"}', "argument", "sql", [("matches", "(?i)\\bdrop\\b")]),
    ("argument/p: {under: /srv/data}", "argument", "p", [("under", "/srv/data")]),
    ("argument/p: {under: /}", "argument", "p", [("under", "/")]),
    ("argument/u: {host: api.example.com}", "argument", "u", [("host", "api.example.com")]),
    ("source_ip: 10.0.0.1", "source_ip", None, [("cidr", ["10.0.0.1/32"])]),
    ('source_ip: [10.0.0.0/8, "2001:DB8::/32"]', "source_ip", None, [("cidr", ["10.0.0.0/8", "2001:db8::/32"])]),
    ("origin: https://app.example.com", "origin", None, [("is", "https://app.example.com")]),
    ("scope: {has: 'mcp:read'}", "scope", None, [("has", "mcp:read")]),
    ("day_of_week: mon-wed", "day_of_week", None, [("in", ["mon", "tue", "wed"])]),
    ("day_of_week: [Saturday, 0]", "day_of_week", None, [("in", ["sat", "sun"])]),
    ("day_of_week: 'fri-mon, wed'", "day_of_week", None, [("in", ["mon", "wed", "fri", "sat", "sun"])]),
    ("day_of_week: '*'", "day_of_week", None, [("in", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"])]),
    ("date: {after: 2026-11-22}", "date", None, [("after", "2026-11-22T00:00:00Z")]),
    ("date: {before: 2026-11-22T01:30:00+02:00}", "date", None, [("before", "2026-11-21T23:30:00Z")]),
]


@pytest.mark.parametrize(("text", "criterion", "path", "tests"), CRITERIA, ids=[row[0] for row in CRITERIA])
def test_a_criterion_becomes_a_leaf(
    text: str, criterion: str, path: str | None, tests: list[tuple[str, object]]
) -> None:
    leaf = leaves(text)
    assert (leaf["criterion"], leaf["path"], [(t["op"], t["value"]) for t in leaf["tests"]]) == (criterion, path, tests)
    assert leaf["line"] == 4


def test_numbers_that_equal_whole_ones_are_whole() -> None:
    [test] = leaves("argument/x: 1.0")["tests"]
    assert isinstance(test["value"], int)


TIMES = [
    ("{after: '2:20:00', before: 4:30PM}", [("after", "02:20:00", "UTC"), ("before", "16:30:00", "UTC")]),
    ("{after: 12AM}", [("after", "00:00:00", "UTC")]),
    ("{before: 12:00 pm, timezone: Europe/Madrid}", [("before", "12:00:00", "Europe/Madrid")]),
]


@pytest.mark.parametrize(("text", "expected"), TIMES)
def test_a_time_of_day_has_one_spelling(text: str, expected: list[tuple[str, str, str]]) -> None:
    leaf = leaves(f"time_of_day: {text}")
    assert [(t["op"], t["value"], t["timezone"]) for t in leaf["tests"]] == expected


def test_times_and_dates_without_a_zone_are_in_the_policys_zone() -> None:
    tokyo = Names(timezone="Asia/Tokyo")
    [time] = leaves("time_of_day: {after: 9AM}", tokyo)["tests"]
    [date] = leaves("date: {after: 2026-11-22}", tokyo)["tests"]
    assert (time["timezone"], date["value"]) == ("Asia/Tokyo", "2026-11-21T15:00:00Z")


def test_the_text_of_a_leaf_is_what_one_would_write() -> None:
    for text in ("user: alice", 'argument/x: "5"', "argument/x: {lt: 1.50, not: true}", 'groups: {has: "a, b"}'):
        assert leaves(text)["text"] == text
    assert len(leaves(f"argument/x: {'a' * 1000}")["text"]) == 300


def test_a_rule_with_allow_and_deny_becomes_two() -> None:
    text = """
- name: both
  owner: alice
  mode: shadow
  deny: {or: [{server: github}]}
  allow:
    and: [{groups: dev}, {server: notes}]
    or: [{user: alice}]
    not: []
"""
    deny, allow = rules(text)
    common = {"name": "both", "file": "p.yaml", "line": 2, "mode": "shadow", "owner": "alice"}
    assert {key: deny[key] for key in common} == {key: allow[key] for key in common} == common
    assert (deny["effect"], [b["op"] for b in deny["any"]]) == ("deny", ["or"])
    assert (allow["effect"], [b["op"] for b in allow["any"]]) == ("allow", ["and", "or"])


def test_one_rule_may_stand_without_a_list_and_no_rules_are_none() -> None:
    assert [rule["name"] for rule in rules("name: a\nallow: {or: [{accept: true}]}")] == ["a"]
    assert rules("[]") == []


def test_names_are_unique_across_documents() -> None:
    text = "- {name: a, allow: {or: [{accept: true}]}}"
    problems: list[Problem] = []
    read_policies((node(text), node(text, "q.yaml")), NAMES, problems)
    assert [str(problem) for problem in problems] == [
        "q.yaml:1:10: [0].name: the name `a` is taken by the rule at p.yaml:1 (choose another)"
    ]


def test_without_a_section_its_names_are_taken_as_written_or_as_assumed() -> None:
    alone = Names(assumed=("human:corp:alice", "agent:local:bot"))
    for text, value in (
        ("user: alice", "human:corp:alice"),
        ("user: bob", "bob"),
        ("agent: bot", "agent:local:bot"),
        ("service: bot", "bot"),
        ("owner: alice", "alice"),
        ("server: anything", "anything"),
        ("tool: a/b", "a/b"),
    ):
        assert leaves(text, alone)["tests"] == [{"op": "is", "value": value}], text


# Who a rule is for

NAMED = [
    "and: [{groups: dev}, {action: read}]",
    "and: [{action: read}, {claim/team: {in: [a, b]}}]",
    "and: [{email: {contains: x, ends_with: '@example.com'}}]",
    "and: [{service: batch}]",
    "and: [{actor_type: human}]",
    "and: [{authenticated_user: true}]",
    "or: [{accept: true}, {user: {starts_with: 'human:corp:'}}, {domain: example.com}]",
    "and: [{reject: true}]",
    "or: [{reject: true}, {user: alice}]",
]


@pytest.mark.parametrize("block", NAMED)
def test_an_allow_that_names_somebody_is_taken_as_it_is(block: str) -> None:
    [rule] = rules(f"- {{name: r, allow: {{{block}}}}}")
    criteria = [leaf["criterion"] for branch in rule["any"] for leaf in branch["of"]]
    assert "autonomous" not in criteria


NAMELESS = [
    ("and: [{action: read}]", 3, 5, "this `and` names nobody"),
    ("and: [{groups: {exclude: temps}}]", 3, 5, "this `and` names nobody"),
    ("and: [{email: {not: a@b.c}}]", 3, 5, "this `and` names nobody"),
    ("and: [{email: {contains: a}}]", 3, 5, "this `and` names nobody"),
    ("and: [{user: {matches: a}}]", 3, 5, "this `and` names nobody"),
    ("and: [{agent: {not: claude}}]", 3, 5, "this `and` names nobody"),
    ("or: [{user: alice}, {server: notes}]", 3, 26, "`server` alone would be enough here"),
    ("or: [{user: alice}, {groups: {exclude: temps}}]", 3, 26, "`groups` alone would be enough here"),
    ("not: [{user: alice}]", 3, 5, "an allow under `not` names nobody"),
    ("nor: [{user: alice}, {accept: true}]", 3, 5, "an allow under `nor` names nobody"),
]


@pytest.mark.parametrize(("block", "line", "column", "message"), NAMELESS, ids=[row[0] for row in NAMELESS])
def test_an_allow_that_names_nobody_is_refused(block: str, line: int, column: int, message: str) -> None:
    problems: list[Problem] = []
    read_policy(node(f"- name: r\n  allow:\n    {block}\n"), NAMES, problems)
    [problem] = problems
    assert (problem.line, problem.column) == (line, column)
    assert problem.message.startswith(message)
    assert rules(f"- name: r\n  deny:\n    {block}\n"), "a deny may be for everybody"


@pytest.mark.parametrize("leaf", ["agent: release-bot", "owner: {in: [alice]}"])
def test_an_allow_that_names_only_the_actor_is_held_to_agents_that_act_for_themselves(leaf: str) -> None:
    [conjunction] = rules(f"- {{name: r, allow: {{and: [{{{leaf}}}, {{action: read}}]}}}}")[0]["any"]
    assert [leaf["criterion"] for leaf in conjunction["of"]][1:] == ["action", "autonomous"]
    either, acting = rules(f"- {{name: r, allow: {{or: [{{{leaf}}}, {{user: alice}}]}}}}")[0]["any"]
    assert (either["op"], [leaf["criterion"] for leaf in either["of"]]) == ("or", ["user"])
    assert (acting["op"], [leaf["criterion"] for leaf in acting["of"]][1:]) == ("and", ["autonomous"])


@pytest.mark.parametrize("leaf", ["user: alice", "accept: true", "actor_type: agent"])
def test_an_allow_that_names_subject_and_actor_is_for_the_agent_on_behalf_of_the_subject(leaf: str) -> None:
    [conjunction] = rules(f"- {{name: r, allow: {{and: [{{agent: release-bot}}, {{{leaf}}}]}}}}")[0]["any"]
    assert [leaf["criterion"] for leaf in conjunction["of"]] == ["agent", leaf.partition(":")[0]]
