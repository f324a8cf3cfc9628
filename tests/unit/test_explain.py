"""`ostiary explain` without a record: which rule, what was near, what would help, and wrong use."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ostiary.cli import app

RULES = """\
- name: dev-reads
  allow: {and: [{groups: {has: dev}}, {action: {in: [read, query]}}, {server: notes}]}
- name: alice-edits
  allow: {and: [{user: alice}, {action: update}]}
- name: bot-by-itself
  allow: {and: [{agent: bot}, {action: read}]}
- name: no-etc
  deny: {or: [{argument/path: {starts_with: /etc}}]}
- name: dev-prompts
  allow: {and: [{groups: {has: dev}}, {prompt: {starts_with: re}}]}
- name: dev-files
  allow: {and: [{groups: {has: dev}}, {resource_uri: {starts_with: "file:///srv/"}}]}
- name: dev-sign-in
  allow: {and: [{groups: {has: dev}}, {server_request: elicitation/create}, {argument/url: {host: a.example.com}}]}
- name: no-dots
  mode: shadow
  deny: {or: [{argument/path: {contains: ..}}]}
"""
CONFIG = """\
gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}
people: {alice: {email: alice@example.com}}
agents: {bot: {owner: alice, ceiling: {servers: [notes], classes: [read]}}}
servers:
  notes: {url: http://127.0.0.1:9901/mcp, owner: alice, pins: off, tools: {echo: {class: read}, wipe: {class: admin}}}
policy:
  - name: bot-reads
    allow: {and: [{agent: bot}, {server: notes}]}
  - name: bot-reads-files
    allow: {and: [{agent: bot}, {resource_uri: {starts_with: "file:///srv/"}}]}
  - name: bot-completes
    allow: {and: [{agent: bot}, {prompt: review}, {mcp_method: completion/complete}]}
  - name: bot-is-asked
    allow: {and: [{agent: bot}, {tool: notes/echo}, {server_request: elicitation/create}, {argument/message: hi}]}
"""
DEV = {"type": "human", "id": "human:corp:alice", "groups": ["dev"]}
BOT = {"type": "agent", "id": "agent:local:bot"}


def run(*words: str, stdin: str = "") -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["explain", *words], input=stdin)
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def rules(tmp_path: Path) -> str:
    file = tmp_path / "rules.yaml"
    file.write_text(RULES)
    return str(file)


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "ostiary.yaml"
    file.write_text(CONFIG)
    return str(file)


def call(principal: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"principal": principal, "server": "notes", "tool": "echo", "class": "read", **more}


def message(method: str, **more: object) -> dict[str, Any]:
    return {"principal": DEV, "server": "notes", "mcp_method": method, **more}


DECIDED: list[tuple[str, dict[str, Any], int, str | None, list[tuple[str, int]]]] = [
    ("a rule allows", call(DEV), 0, None, [("dev-reads", 1)]),
    ("a bare name means the caller of the facts", call(DEV, **{"class": "update"}), 0, None, [("alice-edits", 3)]),
    (
        "no rule allows",
        call({"type": "human", "id": "human:corp:bob", "groups": []}, **{"class": "update"}),
        *(1, "no_rule", []),
    ),
    ("deny beats allow", call(DEV, arguments={"path": "/etc/passwd"}), 1, "denied_by_rule", [("no-etc", 7)]),
    ("a wrong type denies", call(DEV, arguments={"path": 5}), 1, "denied_by_rule", [("no-etc", 7)]),
    ("an agent by itself", call(BOT), 0, None, [("bot-by-itself", 5)]),
    (
        "not an agent that acts for somebody",
        call({"type": "human", "id": "human:corp:bob"}, agent={"id": "agent:local:bot"}),
        *(1, "no_rule", []),
    ),
    (
        "a prompt",
        message("prompts/get", prompt="review", arguments={"a": "b"}),
        *(0, None, [("dev-prompts", 9)]),
    ),
    ("another prompt", message("prompts/get", prompt="x"), 1, "no_rule", []),
    ("completion for a prompt", message("completion/complete", prompt="review"), 0, None, [("dev-prompts", 9)]),
    ("a resource", message("resources/read", resource_uri="file:///srv/a"), 0, None, [("dev-files", 11)]),
    ("another resource", message("resources/read", resource_uri="file:///etc/a"), 1, "no_rule", []),
    (
        "what a server asks",
        call(DEV, server_request="elicitation/create", arguments={"url": "https://a.example.com/x"}),
        *(0, None, [("dev-sign-in", 13)]),
    ),
    (
        "what a server asks for elsewhere",
        call(DEV, server_request="elicitation/create", arguments={"url": "https://b.example.com/x"}),
        *(1, "no_rule", []),
    ),
    ("the token's scope is a ceiling", call(DEV, token={"scope": "mcp:query"}), 1, "scope", [("dev-reads", 1)]),
]


@pytest.mark.parametrize(
    ("facts", "code", "reason", "by"), [row[1:] for row in DECIDED], ids=[row[0] for row in DECIDED]
)
def test_the_answer_names_the_rules_that_decide(
    rules: str, facts: dict[str, Any], code: int, reason: str | None, by: list[tuple[str, int]]
) -> None:
    status, text, _ = run("--policy", rules, "--facts", "-", "--json", stdin=json.dumps(facts))
    answer = json.loads(text)
    assert (status, answer["decision"], answer["reason"]) == (code, "deny" if code else "allow", reason)
    assert [(rule["name"], rule["file"], rule["line"]) for rule in answer["rules"]] == [
        (name, "rules.yaml", line) for name, line in by
    ]


def test_a_refusal_says_what_was_near_and_what_would_change_it(rules: str, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps(call({"type": "human", "id": "human:corp:bob", "groups": ["dev"]}, server="other")))
    status, text, _ = run("--policy", rules, "--facts", str(facts))
    assert status == 1
    assert "denied: no_rule, no rule allows this" in text
    assert "nearest: dev-reads (rules.yaml:1), which failed on:\n    server: notes\n" in text


def test_a_refusal_by_a_rule_says_which_leaves_met_it(rules: str) -> None:
    status, text, _ = run("--policy", rules, "--facts", "-", stdin=json.dumps(call(DEV, arguments={"path": "/etc"})))
    assert status == 1
    assert "no-etc (rules.yaml:7) is met by:\n    argument/path: {starts_with: /etc}\n" in text
    assert "what would change it: only another request or another rule" in text


def test_a_missing_scope_is_named_as_the_remedy(rules: str) -> None:
    _, text, _ = run("--policy", rules, "--facts", "-", stdin=json.dumps(call(DEV, token={"scope": "mcp:query"})))
    assert "what would change it: a token with the scope `mcp:read`" in text


def test_an_allow_names_its_rule_and_what_shadow_rules_would_do(rules: str) -> None:
    status, text, _ = run("--policy", rules, "--facts", "-", stdin=json.dumps(call(DEV, arguments={"path": "a/../b"})))
    assert status == 0
    assert text.startswith("allowed\n  allowed by dev-reads (rules.yaml:1)\n")
    assert "with the rules in shadow mode enforced: deny, by no-dots (rules.yaml:15)" in text


OPTIONS = ["--principal", "agent:local:bot", "--server", "notes"]
ASKED = ["--tool", "echo", "--server-request", "elicitation/create"]


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        ([*OPTIONS, "--tool", "echo"], 0, None),
        ([*OPTIONS, "--tool", "echo", "--args", '{"text": 1.50}'], 0, None),
        ([*OPTIONS, "--tool", "wipe"], 1, "ceiling"),
        ([*OPTIONS, "--resource", "file:///srv/a"], 0, None),
        ([*OPTIONS, "--resource", "file:///etc/a"], 1, "no_rule"),
        ([*OPTIONS, "--resource", "file:///srv/a", "--method", "resources/subscribe"], 0, None),
        ([*OPTIONS, "--prompt", "review"], 1, "no_rule"),
        ([*OPTIONS, "--prompt", "review", "--method", "completion/complete"], 0, None),
        ([*OPTIONS, "--method", "prompts/list"], 0, None),
        ([*OPTIONS, "--method", "tasks/get"], 1, "unknown_method"),
        ([*OPTIONS, *ASKED, "--args", '{"message": "hi"}'], 0, None),
        ([*OPTIONS, *ASKED], 1, "no_rule"),
        ([*OPTIONS, "--method", "session/stream", "--server-request", "elicitation/create"], 1, "no_rule"),
        ([*OPTIONS, "--tool", "unlisted"], 1, "ceiling"),
        (["--principal", "agent:local:spy", "--server", "notes", "--tool", "echo"], 1, "agent_unknown"),
        (["--principal", "agent:local:bot", "--server", "nowhere", "--tool", "echo"], 1, "unknown_server"),
        (["--principal", "human:corp:a", "--agent", "bot", "--server", "notes", "--tool", "echo"], 1, "no_rule"),
    ],
)
def test_a_described_request_is_decided_by_the_configuration(
    config: str, words: list[str], code: int, reason: str | None
) -> None:
    status, text, _ = run(*words, "--config", config, "--json")
    assert (status, json.loads(text)["reason"]) == (code, reason)


WRONG = [
    ([], "give a DECISION"),
    (["--policy", "RULES"], "go together"),
    (["--policy", "RULES", "--facts", "-", "--tool", "x"], "--tool cannot be given with"),
    (["--policy", "RULES", "--facts", "no-such-file"], "cannot be read"),
    (["--principal", "alice", "--server", "notes", "--tool", "x"], "TYPE:ISSUER:SUBJECT"),
    ([*OPTIONS, "--tool", "x", "--args", "{"], "not JSON"),
    ([*OPTIONS, "--tool", "x", "--config", "CONFIG", "--args", "[]"], "arguments"),
    ([*OPTIONS, "--tool", "x", "--config", "CONFIG", "--args", '{"n": 1e999}'], "arguments"),
    ([*OPTIONS, "--prompt", "x", "--resource", "y", "--config", "CONFIG"], "resource_uri"),
    ([*OPTIONS, "--prompt", "x", "--method", "tools/list", "--config", "CONFIG"], "prompt"),
    ([*OPTIONS, "--resource", "x", "--config", "CONFIG", "--args", "{}"], "arguments"),
    ([*OPTIONS, "--server-request", "ping", "--config", "CONFIG"], "--method"),
    (["not-an-id", "--config", "CONFIG"], "not-an-id"),
    (["not-an-id", "--server", "x"], "--server cannot be given with a decision"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(row[0]) or "nothing" for row in WRONG])
def test_wrong_use_exits_with_two_and_says_why(rules: str, config: str, words: list[str], message: str) -> None:
    words = [{"RULES": rules, "CONFIG": config}.get(word, word) for word in words]
    status, text, told = run(*words, stdin="{}")
    assert (status, text) == (2, "")
    assert message in " ".join(told.replace("│", " ").split())


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ("", ""),
        ("{}", "principal"),
        ('{"principal": {"type": "human", "id": "human:corp:a"}, "server": "s", "tool": "t", "colour": 1}', "colour"),
        ('{"principal": {"type": "robot", "id": "x"}, "server": "s", "tool": "t"}', "principal.type"),
        ('{"server": "s", "server": "t"}', "twice"),
    ],
)
def test_facts_that_cannot_be_used_are_wrong_use(rules: str, facts: str, message: str) -> None:
    status, text, told = run("--policy", rules, "--facts", "-", stdin=facts)
    assert (status, text) == (2, "")
    assert "these facts cannot be used" in told
    assert message in told


def test_a_policy_with_faults_tells_them_all_with_their_places(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- name: a\n  deny: {or: [{grups: dev}]}\n- name: b\n  allow: {and: [{action: read}]}\n")
    status, _, told = run("--policy", str(file), "--facts", "-", stdin=json.dumps(call(DEV)))
    assert status == 2
    assert "rules.yaml:2:16" in told
    assert "rules.yaml:4:11" in told
    assert "did you mean `groups`?" in told


def test_any_part_of_a_configuration_will_do(config: str) -> None:
    status, text, _ = run("--policy", config, "--facts", "-", "--json", stdin=json.dumps(call(BOT)))
    assert (status, json.loads(text)["rules"][0]["line"]) == (0, 7)
