"""What cannot be a rule, and how that is said: place, message and hint."""

import pytest

from ostiary.errors import Problem
from ostiary.policy import Names, read_policy
from ostiary.yamlsource import read_bytes

NAMES = Names(
    people={"alice": "human:corp:alice@example.com", "bob": None},
    agents={"release-bot": "agent:local:release-bot"},
    services={"batch": "service:local:batch"},
    servers={"notes": frozenset({"echo", "read_file"})},
    issuers={"corp": "human", "bots": "agent"},
)


def found(text: str, names: Names = NAMES) -> tuple[list[Problem], list[Problem]]:
    problems: list[Problem] = []
    warnings: list[Problem] = []
    node = read_bytes(text.encode(), "p.yaml", problems)
    assert problems == []
    assert node is not None
    read_policy(node, names, problems, warnings)
    return problems, warnings


RULES = [
    ("5", 1, 1, "a list of rules is expected, not a number", "`[]` for none"),
    ("- 5", 1, 3, "a rule is expected, not a number", "write `- name: …` with `allow:` or `deny:`"),
    ("- name: a", 1, 3, "the rule neither allows nor denies", "add `allow:` or `deny:`"),
    (
        "- deny: {or: [{accept: true}]}",
        *(1, 3, "the rule has no name", "add `name: …`; decisions and records refer to it"),
    ),
    (
        "- {name: a b, deny: {or: [{accept: true}]}}",
        *(1, 10, "`a b` cannot be the name of a rule", "use letters, digits, `.`, `_` and `-`, at most 100 of them"),
    ),
    (
        "- {name: 5, deny: {or: [{accept: true}]}}",
        *(1, 10, "`5` cannot be the name of a rule", "use letters, digits, `.`, `_` and `-`, at most 100 of them"),
    ),
    ("- {name: a, deney: 1, deny: {or: [{accept: 1}]}}", 1, 13, "a rule has no `deney`", "did you mean `deny`?"),
    (
        "- {name: a, and: [], deny: {or: [{accept: 1}]}}",
        *(1, 13, "a rule has no `and`", "write it below `allow:` or `deny:`, as in `allow: {and: […]}`"),
    ),
    (
        "- {name: a, user: x, deny: {or: [{accept: 1}]}}",
        *(1, 13, "a rule has no `user`", "write it below an operator, as in `allow: {and: [{user: …}]}`"),
    ),
    (
        "- {name: a, ask: {and: [{accept: 1}]}}",
        *(1, 13, "`ask` is not in this version", "write `deny` until it is"),
    ),
    (
        "- {name: a, mode: shadwo, deny: {or: [{accept: 1}]}}",
        *(1, 19, "`shadwo` is not a mode", "did you mean `shadow`?"),
    ),
    (
        "- {name: a, mode: on, deny: {or: [{accept: 1}]}}",
        *(1, 19, "`on` is not a mode", "it is `enforce` (the default) or `shadow`"),
    ),
    (
        "- {name: a, owner: alic, deny: {or: [{accept: 1}]}}",
        *(1, 20, "`alic` is not declared in `people`", "did you mean `alice`?"),
    ),
    (
        "- {name: a, owner: [alice], deny: {or: [{accept: 1}]}}",
        *(1, 20, "an owner is a key of `people`, not a list", ""),
    ),
    (
        "- {name: a, deny: [{accept: 1}]}",
        *(1, 19, "`deny` takes operators, not a list", "write `deny: {and: […]}`"),
    ),
    ("- {name: a, deny: {}}", 1, 13, "this `deny` has no criteria, so it is never met", "add some, or remove it"),
    (
        "- {name: a, deny: {or: [], and: []}}",
        *(1, 13, "this `deny` has no criteria, so it is never met", "add some, or remove it"),
    ),
    ("- {name: a, deny: {nand: []}}", 1, 20, "there is no operator `nand`", "did you mean `and`?"),
    (
        "- {name: a, deny: {xyz: [{accept: 1}]}}",
        *(1, 20, "there is no operator `xyz`", "it is one of `and`, `or`, `not` or `nor`"),
    ),
    (
        "- {name: a, deny: {user: alice}}",
        *(1, 20, "there is no operator `user`", "criteria stand below an operator, as in `and: [{user: …}]`"),
    ),
    (
        "- {name: a, deny: {or: {accept: 1}}}",
        *(1, 24, "`or` takes a list of criteria, not a mapping", "start each criterion with `- `"),
    ),
]


@pytest.mark.parametrize(("text", "line", "column", "message", "hint"), RULES, ids=[row[0] for row in RULES])
def test_what_is_not_a_rule_is_refused(text: str, line: int, column: int, message: str, hint: str) -> None:
    problems = [p for p in found(text)[0] if p.message == message]
    assert [(p.line, p.column, p.hint) for p in problems] == [(line, column, hint)]
    assert len(found(text)[0]) == (2 if "nand" in text else 1)


# Each row: a criterion, the column from its start, the message and the hint.
CRITERIA = [
    ("accept", 0, "a criterion is expected, not text", "write `accept: …`"),
    ("[accept]", 0, "a criterion is expected, not a list", "write `NAME: VALUE`"),
    ("{}", 0, "a criterion has one name, this one has 0", "remove the `{}`"),
    (
        "{user: alice, server: notes}",
        *(0, "a criterion has one name, this one has 2", "start each criterion with a `- ` of its own"),
    ),
    (
        "or: [{accept: 1}]",
        0,
        "operators cannot be nested (`or` stands in a list of criteria)",
        "write another rule, or another operator beside",
    ),
    ("grups: dev", 0, "there is no criterion `grups`", "did you mean `groups`?"),
    ("xyzzy: 1", 0, "there is no criterion `xyzzy`", "the reference of the rule language lists them all"),
    ("http_method: GET", 0, "`http_method` is not in this version", "remove it, or the rule, until it is"),
    ("device/type: any", 0, "`device` is not in this version", "remove it, or the rule, until it is"),
    (
        "resource_uri: {under: /srv}",
        15,
        "`under` does not go with `resource_uri`",
        "it takes `is`, `not`, `in`, `not_in`, `contains`, `starts_with`, `ends_with`, `matches` or `host`",
    ),
    ("resource_uri/x: y", 0, "`resource_uri` has nothing below it", "write `resource_uri: …`"),
    ("prompt: 5", 8, "`prompt` is text, not a number", 'write it in quotes, as in "5"'),
    ("prompt: [a]", 8, "`prompt` cannot be compared with a bare list", "write `prompt: {in: [A, B]}`"),
    (
        "server_request: sampling/createMesage",
        *(16, "`sampling/createMesage` is no `server_request`", "did you mean `sampling/createMessage`?"),
    ),
    (
        "server_request: tools/call",
        16,
        "`tools/call` is no `server_request`",
        "it is one of `sampling/createMessage`, `elicitation/create`, `roots/list` or `ping`",
    ),
    (
        "server_request: {starts_with: tools/}",
        30,
        "no `server_request` fits `starts_with: tools/`",
        "it is one of `sampling/createMessage`, `elicitation/create`, `roots/list` or `ping`",
    ),
    (
        "ssh_username: root",
        *(0, "`ssh_username` speaks of SSH, which this gateway does not serve", "remove it; it can never be met here"),
    ),
    ("groups/dev: 1", 0, "`groups` has nothing below it", "write `groups: …`"),
    ("argument: x", 0, "`argument` needs to say which one", "write `argument/PATH: …`"),
    ("claim/: x", 0, "`claim` needs to say which one", "write `claim/NAME: …`"),
    ("argument/a//b: x", 0, "the path has an empty step", "join the names of members by single `/`"),
    (
        "argument/a~b: x",
        *(0, "`~` stands alone in the path", "write `~0` for `~` and `~1` for `/` inside a name"),
    ),
    ("accept: false", 8, "`accept` compares nothing", "write `accept: true`"),
    ("authenticated_user: {}", 20, "`authenticated_user` compares nothing", "write `authenticated_user: true`"),
    ("reject:", 0, "`reject` has no value", "write one; JSON's null is written `null`"),
    ("email: {}", 7, "an empty matcher compares nothing", "write `{is: VALUE}`"),
    ("groups: {}", 8, "an empty matcher compares nothing", "write `{has: VALUE}`"),
    ("email: [a, b]", 7, "`email` cannot be compared with a bare list", "write `email: {in: [A, B]}`"),
    (
        "groups: [a, b]",
        8,
        "`groups` cannot be compared with a bare list",
        "write one criterion for each under `or`, as in `- groups: {has: A}`",
    ),
    ("claim/x: [a, b]", 9, "`claim` cannot be compared with a bare list", "write `claim/x: {in: [A, B]}`"),
    ("email: {starts: a}", 8, "there is no matcher `starts`", "did you mean `starts_with`?"),
    ("groups: {zzz: a}", 9, "there is no matcher `zzz`", "it takes `has`, `is` or `exclude`"),
    ("groups: {in: [a]}", 9, "`in` does not go with `groups`", "it takes `has`, `is` or `exclude`"),
    (
        "argument/x: {has: a}",
        *(13, "`has` does not go with `argument`", "lists are compared value by value, so write `is`"),
    ),
    (
        "action: {starts_with: re}",
        *(9, "`starts_with` does not go with `action`", "it takes `is`, `not`, `in` or `not_in`"),
    ),
    ("action: raed", 8, "`raed` is no `action`", "did you mean `read`?"),
    ("actor_type: robot", 12, "`robot` is no `actor_type`", "it is one of `human`, `service` or `agent`"),
    ("email: {in: a}", 12, "`in` takes a list, not text", "write `in: [A, B]`"),
    ("email: {in: []}", 12, "the list of `in` is empty", "name at least one value"),
    ("email: {not_in: []}", 16, "the list of `not_in` is empty", "name at least one value"),
    ("email: {in: [a, [b]]}", 16, "`in` takes single values, not a list", ""),
    ("email: {is: [a]}", 12, "`is` takes one value, not a list", ""),
    ("email: {contains: {is: a}}", 18, "`contains` takes one value, not a mapping", ""),
    ("email: 5", 7, "`email` is text, not a number", 'write it in quotes, as in "5"'),
    ("email: true", 7, "`email` is text, not true or false", 'write it in quotes, as in "true"'),
    ("email:", 0, "`email` has no value", "write one; JSON's null is written `null`"),
    ("email: {is: }", 8, "`is` has no value", "write one; JSON's null is written `null`"),
    ("email: null", 7, "`email` is text, not nothing", 'write it in quotes, as in "null"'),
    ('email: ""', 7, "`email` is never empty text", "write a value"),
    ("argument/x:", 0, "`argument/x` has no value", "write one; JSON's null is written `null`"),
    ("argument/x: {is: ~}", 17, "the value is missing", "write `null` if you mean the JSON value"),
    (
        "argument/x: 9007199254740993",
        12,
        "`9007199254740993` has more digits than JSON numbers carry exactly, so nothing can be equal to it",
        "use `lt`, `lte`, `gt` or `gte`, or quotes if the value is text",
    ),
    (
        "argument/x: {in: [0.1000000000000000055]}",
        18,
        "`0.1000000000000000055` has more digits than JSON numbers carry exactly, so nothing can be equal to it",
        "use `lt`, `lte`, `gt` or `gte`, or quotes if the value is text",
    ),
    (
        "argument/x: 1e400",
        12,
        "`1e400` has more digits than JSON numbers carry exactly, so nothing can be equal to it",
        "use `lt`, `lte`, `gt` or `gte`, or quotes if the value is text",
    ),
    ("argument/x: {lt: abc}", 17, "`lt` takes a number, not text", ""),
    ("argument/x: {gte: true}", 18, "`gte` takes a number, not true or false", ""),
    ('email: {starts_with: ""}', 21, "`starts_with` takes text that is not empty", "every value holds the empty text"),
    ("email: {contains: 5}", 18, "`contains` takes text, not a number", 'write it in quotes, as in "5"'),
    ("argument/p: {under: etc}", 20, "`etc` is not an absolute path", "write `/etc`"),
    (
        "argument/p: {under: /etc/}",
        *(20, "`/etc/` is not a canonical path", "write it without `//`, `.`, `..` and a final `/`"),
    ),
    (
        "argument/p: {under: /a/../b}",
        *(20, "`/a/../b` is not a canonical path", "write it without `//`, `.`, `..` and a final `/`"),
    ),
    (
        "argument/p: {under: /a%2fb}",
        20,
        "`/a%2fb` holds a character that a canonical path does not have",
        "write it without `%` and `\\`",
    ),
    *(
        (
            f"argument/u: {{host: '{host}'}}",
            19,
            f"`{host}` is not a host name as it stands in a canonical URL",
            "write it in lower case, without scheme, port or final dot; names beyond ASCII as `xn--…`",
        )
        for host in ("Example.com", "https://a.b", "a.b:443", "a.b.", "*.a.b", "ñ.es")
    ),
    (
        "argument/s: {matches: '(?=a)'}",
        22,
        "the pattern looks around (`(?=`), which has no linear-time match",
        "add a second matcher, or `not`",
    ),
    (
        r"argument/s: {matches: '(a)\1'}",
        *(22, r"the pattern refers back (`\1`), which has no linear-time match", "write the group out again"),
    ),
    (
        "argument/s: {matches: '*.txt'}",
        22,
        "the pattern repeats nothing (`*` at its start)",
        "patterns are regular expressions, not globs",
    ),
    ("argument/s: {matches: 'a(b'}", 22, "the pattern leaves a `(` open", "write `\\(` for the character"),
    (
        "argument/s: {matches: 'a)b'}",
        22,
        "the pattern closes a group that is not open",
        "write `\\)` for the character",
    ),
    ("argument/s: {matches: 'a[b'}", 22, "the pattern leaves a `[` open", "write `\\[` for the character"),
    ("argument/s: {matches: 'a\\'}", 22, "the pattern ends in a lone `\\`", "write `\\\\` for a backslash"),
    (
        "source_ip: 10.0.0.300",
        *(11, "`10.0.0.300` is not an address or network", "write it as in `10.0.0.0/8` or `2001:db8::1`"),
    ),
    (
        "source_ip: [10.0.0.1/8]",
        12,
        "`10.0.0.1/8` is not an address or network",
        "the network is `10.0.0.0/8`; for the one address leave `/8` out",
    ),
    (
        "source_ip: []",
        *(11, "the list is empty", "write an address or a network, as in `10.0.0.0/8`, or a list of them"),
    ),
    (
        "source_ip: {is: 10.0.0.1}",
        11,
        "an address is expected, not a mapping",
        "write an address or a network, as in `10.0.0.0/8`, or a list of them",
    ),
    (
        "time_of_day: 10:00",
        *(
            13,
            "`time_of_day` takes a mapping, not text",
            "write `time_of_day: {after: …, before: …}`, or one of the two",
        ),
    ),
    (
        "time_of_day: {}",
        13,
        "`time_of_day` without `after` or `before` says nothing",
        "write `time_of_day: {after: …, before: …}`, or one of the two",
    ),
    (
        "time_of_day: {afer: 10:00, before: 11:00}",
        *(14, "`time_of_day` has no `afer`", "did you mean `after`?"),
    ),
    (
        "time_of_day: {after: 25:00}",
        *(21, "`25:00` cannot be read as a `time_of_day`", "write it as in `16:20:00` or `4:20PM`"),
    ),
    (
        "time_of_day: {after: 13PM}",
        *(21, "`13PM` cannot be read as a `time_of_day`", "write it as in `16:20:00` or `4:20PM`"),
    ),
    (
        "time_of_day: {after: 10:00, timezone: Mars/Base}",
        38,
        "there is no time zone `Mars/Base`",
        "write a name of the time zone database, as in `Europe/Madrid`, or `UTC`",
    ),
    (
        "time_of_day: {after: 22:00, before: 06:00}",
        13,
        "no moment of a day is after 22:00:00 and before 06:00:00",
        "for a night, write two criteria under `or`",
    ),
    (
        "date: {after: 2026-12-01, before: 2026-11-01}",
        6,
        "no moment is after 2026-12-01T00:00:00Z and before 2026-11-01T00:00:00Z",
        "exchange them",
    ),
    (
        "date: {after: 2026-13-01}",
        *(14, "`2026-13-01` cannot be read as a `date`", "write it as in `2026-11-22` or `2026-11-22T16:20:00Z`"),
    ),
    ("day_of_week: modnay", 13, "`modnay` is no day of the week", "did you mean `monday`?"),
    (
        "day_of_week: 7",
        13,
        "`7` is no day of the week",
        "it is one of `mon`, `tue`, `wed`, `thu`, `fri`, `sat` or `sun`, or 0 (sunday) to 6",
    ),
    ("day_of_week: []", 13, "the list is empty", "name at least one day"),
    ("day_of_week: {is: mon}", 13, "`day_of_week` takes days, not a mapping", "write `mon-fri`, or `[mon, wed]`"),
    # names
    (
        "user: bob",
        6,
        "`bob` has no issuer and subject in `people`, so no caller can be known to be `bob`",
        "give `people.bob` an `issuer` and a `subject`",
    ),
    ("user: human:crop:alice", 6, "no provider or issuer of humans is called `crop`", "did you mean `corp`?"),
    ("user: 'human:corp:'", 6, "`human:corp:` is not a full id", "write `human:ISSUER:SUBJECT`"),
    ("user: human:bots:x", 6, "no provider or issuer of humans is called `bots`", ""),
    (
        "user: agent:local:release-bot",
        6,
        "`agent:local:release-bot` is not the id of a human",
        "the criterion for it is `agent`",
    ),
    ("agent: relase-bot", 7, "`relase-bot` is not declared in `agents`", "did you mean `release-bot`?"),
    ("agent: {in: [release-bot, zzz]}", 26, "`zzz` is not declared in `agents`", ""),
    ("agent: human:corp:x", 7, "`human:corp:x` is not the id of an agent", "the criterion for it is `user`"),
    ("service: {not: btch}", 15, "`btch` is not declared in `services`", "did you mean `batch`?"),
    ("owner: alicia", 7, "`alicia` is not declared in `people`", "did you mean `alice`?"),
    ("server: note", 8, "`note` is not declared in `servers`", "did you mean `notes`?"),
    ("tool: echo", 6, "`echo` names no server", "write `SERVER/TOOL`, or use `mcp_tool` for the bare name"),
    ("tool: note/echo", 6, "`note` is not declared in `servers`", "did you mean `notes`?"),
]


@pytest.mark.parametrize(("text", "column", "message", "hint"), CRITERIA, ids=[row[0] for row in CRITERIA])
def test_what_is_not_a_criterion_is_refused(text: str, column: int, message: str, hint: str) -> None:
    problems, _ = found(f"- name: r\n  deny:\n    or:\n      - {text}\n")
    assert [(p.file, p.line, p.column, p.message, p.hint) for p in problems] == [
        ("p.yaml", 4, 9 + column, message, hint)
    ]


NOT_SERVED = "is no method that this version serves, so no request reaches the rules with it"
UNLISTED = "only its default class is known"
WARNINGS = [
    ("tool: notes/ehco", f"`notes/ehco` is not listed in servers.notes.tools: {UNLISTED}", "did you mean `echo`?"),
    ("mcp_tool: ehco", f"`ehco` is not listed in the `tools` of any server: {UNLISTED}", "did you mean `echo`?"),
    (
        "mcp_tool: notes/echo",
        "no server lists a tool called `notes/echo`",
        "`mcp_tool` is the bare name; use `tool` for `SERVER/TOOL`",
    ),
    ("mcp_method: tools/lst", f"`tools/lst` {NOT_SERVED}", "did you mean `tools/list`?"),
    ("mcp_method: {in: [ping, prompts/gte]}", f"`prompts/gte` {NOT_SERVED}", "did you mean `prompts/get`?"),
    (
        "mcp_method: sampling/createMessage",
        f"`sampling/createMessage` {NOT_SERVED}",
        "what a server asks is `server_request`",
    ),
]


@pytest.mark.parametrize(("text", "message", "hint"), WARNINGS, ids=[row[0] for row in WARNINGS])
def test_what_is_odd_is_told_and_taken(text: str, message: str, hint: str) -> None:
    problems, warnings = found(f"- name: r\n  deny:\n    or:\n      - {text}\n")
    assert problems == []
    assert [(w.line, w.message, w.hint) for w in warnings] == [(4, message, hint)]


def test_what_is_not_odd_is_not_told() -> None:
    for text in (
        "mcp_method: {starts_with: prompts/}",
        "mcp_tool: echo",
        "tool: notes/echo",
        "tool: {starts_with: x/}",
    ):
        assert found(f"- name: r\n  deny:\n    or:\n      - {text}\n") == ([], []), text


def test_every_fault_is_told_in_one_run() -> None:
    text = """
- name: a
  mode: x
  deny: {or: [{grups: dev}, {email: [a]}, {agent: nobody}]}
- name: a
  allow: {and: [{action: rd}]}
  extra: 1
"""
    assert [(p.line, p.column) for p in found(text)[0]] == [(3, 9), (4, 16), (4, 37), (4, 51), (5, 9), (6, 26), (7, 3)]


@pytest.mark.parametrize(
    ("issuers", "message"),
    [
        ({}, "nobody is called `zoe`, and no provider or issuer of humans is declared that could know the name"),
        (
            {"corp": "human", "ads": "human"},
            "`zoe` could come from `corp` or `ads`: two sources that say the same name are two people",
        ),
    ],
)
def test_a_bare_subject_needs_exactly_one_source_of_humans(issuers: dict[str, str], message: str) -> None:
    names = Names(people={}, issuers=issuers)
    assert [p.message for p in found("- {name: r, deny: {or: [{user: zoe}]}}", names)[0]] == [message]
    assert found("- {name: r, deny: {or: [{user: zoe}]}}", Names(people={}, issuers={"corp": "human"}))[0] == []
