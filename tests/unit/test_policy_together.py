"""Criteria that no message meets together, and those that some message does."""

import pytest
from tests.unit.test_policy_refuse import found

EACH = "write a rule, or an operator, for each"
ONE = "are never met together: no message is about both"
APART = [
    ("allow", "{tool: notes/echo}, {prompt: a}", f"`prompt` and `tool` {ONE}"),
    ("allow", "{mcp_tool: {not: x}}, {resource_uri: {not: a}}", f"`resource_uri` and `mcp_tool` {ONE}"),
    ("allow", "{prompt: a}, {server_request: ping}, {resource_uri: a}", f"`resource_uri` and `prompt` {ONE}"),
    ("deny", "{prompt: a}, {resource_uri: a}", f"`resource_uri` and `prompt` {ONE}"),
    (
        "allow",
        "{prompt: a}, {mcp_method: {in: [tools/call, resources/read]}}",
        "`mcp_method` and `prompt` are never met together: `resources/read` or `tools/call` is about no prompt",
    ),
    (
        "deny",
        "{mcp_method: tools/list}, {resource_uri: a}",
        "`mcp_method` and `resource_uri` are never met together: `tools/list` is about no resource",
    ),
    (
        "allow",
        "{prompt: a}, {action: {in: [query, update]}}",
        "`action` and `prompt` are never met together: prompts and resources are of class `read`",
    ),
    (
        "allow",
        "{resource_uri: a}, {argument/x: 1}",
        "`argument/x` and `resource_uri` are never met together: a resource takes no arguments",
    ),
]


@pytest.mark.parametrize(("effect", "leaves", "message"), APART, ids=[f"{row[0]} {row[1]}" for row in APART])
def test_criteria_that_no_message_meets_together_are_refused(effect: str, leaves: str, message: str) -> None:
    problems, _ = found(f"- name: r\n  {effect}:\n    and: [{{accept: true}}, {leaves}]\n")
    assert [(p.line, p.message, p.hint) for p in problems] == [(3, message, EACH)]


@pytest.mark.parametrize(
    ("effect", "leaves"),
    [
        ("allow", "{tool: notes/echo}, {mcp_tool: echo}, {argument/x: 1}"),
        ("allow", "{prompt: a}, {mcp_method: completion/complete}"),
        ("allow", "{prompt: a}, {argument/x: 1}, {action: {not: update}}"),
        ("allow", "{resource_uri: a}, {mcp_method: {in: [resources/read, tools/call]}}, {action: read}"),
        (
            "allow",
            "{prompt: a}, {mcp_method: {is: ping, in: [tools/list]}}",
        ),
        ("allow", "{resource_uri: a}, {server_request: roots/list}, {argument/x: 1}"),
        ("allow", "{tool: notes/echo}, {server_request: roots/list}, {mcp_method: tools/call}"),
        # In a deny, what a message is not about meets a negated criterion.
        ("deny", "{tool: {not: notes/echo}}, {prompt: a}"),
        ("deny", "{resource_uri: a}, {argument/x: {not: 1}}"),
    ],
)
def test_criteria_that_some_message_meets_together_are_taken(effect: str, leaves: str) -> None:
    assert found(f"- name: r\n  {effect}:\n    and: [{{accept: true}}, {leaves}]\n")[0] == []


def test_an_allow_on_a_prompt_or_a_server_request_names_somebody_all_the_same() -> None:
    for leaf in ("prompt: a", "resource_uri: a", "server_request: ping"):
        for operator in ("and", "or"):
            problems, _ = found(f"- {{name: r, allow: {{{operator}: [{{{leaf}}}]}}}}")
            assert len(problems) == 1
            assert "names nobody" in problems[0].message
