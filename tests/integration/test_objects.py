"""Prompts, resources, completion and lists: what the rules say of each is what passes, and nothing else does."""

import json
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, result_for
from tests.kit.wire import Reply

DOC = "file:///srv/docs/a.txt"
PRIVATE = "file:///srv/docs/private/key"
ARGUMENT = {"name": "name", "value": "a"}


def prompt_ref(name: str) -> dict[str, Any]:
    return {"ref": {"type": "ref/prompt", "name": name}, "argument": ARGUMENT}


def resource_ref(uri: str) -> dict[str, Any]:
    return {"ref": {"type": "ref/resource", "uri": uri}, "argument": ARGUMENT}


BOTH = ("session", "stateless")
#: method, params, eras, what the record says that it is about
ALLOWED = [
    ("prompts/get", {"name": "review", "arguments": {"file": "x"}}, BOTH, {"prompt": "review"}),
    ("prompts/get", {"name": "summarize"}, BOTH, {"prompt": "summarize"}),
    ("resources/read", {"uri": DOC}, BOTH, {"resource": DOC}),
    ("resources/subscribe", {"uri": DOC}, ("session",), {"resource": DOC}),
    ("resources/unsubscribe", {"uri": DOC}, ("session",), {"resource": DOC}),
    ("completion/complete", prompt_ref("review"), BOTH, {"prompt": "review"}),
    ("completion/complete", resource_ref("file:///srv/docs/{name}"), BOTH, {"resource": "file:///srv/docs/{name}"}),
    ("completion/complete", resource_ref(DOC), BOTH, {"resource": DOC}),
    ("logging/setLevel", {"level": "info"}, ("session",), {}),
    ("ping", {}, ("session",), {}),
    ("server/discover", {}, ("stateless",), {}),
]
REFUSED = [
    ("prompts/get", {"name": "secret-plan"}, BOTH, "no_rule", {"prompt": "secret-plan"}),
    ("prompts/get", {"name": "Review"}, BOTH, "no_rule", {"prompt": "Review"}),
    ("resources/read", {"uri": "file:///etc/passwd"}, BOTH, "no_rule", {"resource": "file:///etc/passwd"}),
    ("resources/read", {"uri": PRIVATE}, BOTH, "denied_by_rule", {"resource": PRIVATE}),
    ("resources/subscribe", {"uri": PRIVATE}, ("session",), "denied_by_rule", {"resource": PRIVATE}),
    ("resources/unsubscribe", {"uri": PRIVATE}, ("session",), "denied_by_rule", {"resource": PRIVATE}),
    ("completion/complete", prompt_ref("secret-plan"), BOTH, "no_rule", {"prompt": "secret-plan"}),
    ("completion/complete", resource_ref("file:///etc/{name}"), BOTH, "no_rule", {"resource": "file:///etc/{name}"}),
    ("completion/complete", resource_ref(PRIVATE), BOTH, "denied_by_rule", {"resource": PRIVATE}),
]


def rows(table: list[Any]) -> list[Any]:
    return [
        pytest.param(*row[:2], *row[3:], era, id=f"{row[0]}-{era}-{number}")
        for number, row in enumerate(table)
        for era in row[2]
    ]


@pytest.mark.parametrize(("method", "params", "about", "era"), rows(ALLOWED))
def test_what_a_rule_allows_passes(
    open_house: House, method: str, params: dict[str, Any], about: dict[str, str], era: str
) -> None:
    caller = open_house.caller(era)
    since, before = len(open_house.gateway.records()), open_house.upstream.count
    reply = caller.say(method, params, ident="mine")
    (seen,) = open_house.upstream.seen[before:]
    answer = result_for(seen)
    assert answer is not None
    assert (reply.status, reply.json()["id"]) == (200, "mine")
    assert set(reply.json()["result"]) == set(answer["result"])
    sent = seen.message["params"] if params else {}
    assert {name: sent[name] for name in params} == params
    assert seen.message["id"] != "mine"
    (record,) = open_house.gateway.next_record(since, "intent")
    assert (record["mcp_method"], record["request"]["era"], record["action"]) == (method, era, "read")
    assert {name: record[name] for name in ("tool", "prompt", "resource")} == {
        "tool": None,
        "prompt": None,
        "resource": None,
    } | about
    assert open_house.gateway.record_of(record["id"], "outcome")["outcome"] == "ok"


@pytest.mark.parametrize(("method", "params", "reason", "about", "era"), rows(REFUSED))
def test_what_no_rule_allows_is_refused(
    open_house: House, method: str, params: dict[str, Any], reason: str, about: dict[str, str], era: str
) -> None:
    caller = open_house.caller(era)
    since, before = len(open_house.gateway.records()), open_house.upstream.bytes
    reply = caller.say(method, params, ident="mine")
    assert (reply.status, reply.json()["id"], reply.error["code"]) == (200, "mine", 4030)
    assert reply.error["data"]["reason"] == reason
    assert open_house.upstream.bytes == before
    (record,) = open_house.gateway.next_record(since, "deny")
    assert (record["reason"], record["mcp_method"]) == (reason, method)
    assert {name: record[name] for name in about} == about


@pytest.mark.parametrize(("method", "params", "about", "era"), [row for row in rows(ALLOWED) if row.values[2]])
def test_none_of_it_is_open_under_rules_that_speak_of_tools(
    house: House, method: str, params: dict[str, Any], about: dict[str, str], era: str
) -> None:
    """Attack A12."""
    before = house.upstream.bytes
    reply = Caller(gateway=house.gateway, token=house.alice, era=era).say(method, params)
    assert (reply.error["code"], reply.error["data"]["reason"]) == (4030, "no_rule")
    assert house.upstream.bytes == before


#: Spelt so that a rule and a server could take them for different things, or simply wrong.
MALFORMED = [
    ("prompts/get", {}),
    ("prompts/get", {"name": 7}),
    ("prompts/get", {"name": " review"}),
    ("prompts/get", {"name": "r\u0435view"}),
    ("prompts/get", {"name": "review", "arguments": {"n": 1}}),
    ("prompts/get", {"name": "review", "arguments": ["x"]}),
    ("resources/read", {}),
    ("resources/read", {"uri": ["file:///srv/docs/a"]}),
    ("resources/read", {"uri": DOC, "URI": "file:///etc/passwd"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "review"}}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "review", "uri": DOC}, "argument": ARGUMENT}),
    ("completion/complete", {"ref": {"type": "ref/tool", "name": "echo"}, "argument": ARGUMENT}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "file:///srv/../{x}"}, "argument": ARGUMENT}),
    ("completion/complete", prompt_ref("review") | {"argument": {"name": "a", "value": 1}}),
    ("completion/complete", prompt_ref("review") | {"context": {"arguments": {"a": 1}}}),
    ("resources/list", {"cursor": 7}),
]


@pytest.mark.parametrize("params", [{"level": "loud"}, {"level": 3}, {"Level": "info"}, {}])
def test_a_level_is_one_of_the_eight(open_house: House, params: dict[str, Any]) -> None:
    before = open_house.upstream.bytes
    reply = Caller(gateway=open_house.gateway, token=open_house.alice, era="session").say("logging/setLevel", params)
    assert (reply.status, reply.error["code"]) == (400, -32602)
    assert open_house.upstream.bytes == before


@pytest.mark.parametrize("row", range(len(MALFORMED)))
def test_params_that_could_be_read_in_two_ways_are_refused(open_house: House, era: str, row: int) -> None:
    method, params = MALFORMED[row]
    since, before = len(open_house.gateway.records()), open_house.upstream.bytes
    reply = Caller(gateway=open_house.gateway, token=open_house.alice, era=era).say(method, params)
    # A name that is none is told by the headers first, which must repeat it.
    assert (reply.status, reply.error["code"]) in {(400, -32602), (400, -32020)}
    assert open_house.upstream.bytes == before
    assert open_house.gateway.next_record(since, "deny")[0]["reason"] == "malformed"


LISTS = [
    ("prompts/list", "prompts", "name", ["summarize", "review"]),
    ("resources/list", "resources", "uri", ["file:///srv/docs/a.txt", "file:///srv/docs/b.txt"]),
    ("resources/templates/list", "resourceTemplates", "uriTemplate", ["file:///srv/docs/{name}"]),
    ("tools/list", "tools", "name", ["echo", "read_file", "add"]),
]


@pytest.mark.parametrize(("method", "member", "name", "left"), LISTS, ids=[row[0] for row in LISTS])
def test_a_list_shows_what_could_be_allowed_in_its_order_and_privately(
    open_house: House, era: str, method: str, member: str, name: str, left: list[str]
) -> None:
    reply = open_house.caller(era).say(method, {})
    result = reply.json()["result"]
    assert [item[name] for item in result[member]] == left
    assert result.get("cacheScope") == ("private" if era == "stateless" else None)
    assert result.get("ttlMs") == (60_000 if era == "stateless" else None)
    for kept_back in (b"secret-plan", b"passwd", b"private/", b"hidden", b"delete_file"):
        assert kept_back not in reply.body


@pytest.mark.parametrize(("method", "member", "name", "left"), LISTS[:3], ids=[row[0] for row in LISTS[:3]])
def test_a_list_shows_nothing_where_the_rules_speak_of_tools(
    house: House, era: str, method: str, member: str, name: str, left: list[str]
) -> None:
    reply = house.caller(era).say(method, {})
    assert reply.json()["result"][member] == []


def test_a_resource_is_private_to_its_reader(open_house: House) -> None:
    """Attack G07: the server says `public`; what one may read, a cache must not show another."""
    result = open_house.caller("stateless").say("resources/read", {"uri": DOC}).json()["result"]
    assert (result["cacheScope"], result["contents"][0]["text"]) == ("private", f"contents of {DOC}")
    result = open_house.caller("stateless").say("server/discover", {}).json()["result"]
    assert result["cacheScope"] == "private"


async def pages(seen: Seen, talk: Talk) -> None:
    """Three pages of prompts, each with one that is shown and one that is not; the second shows nothing."""
    answer = result_for(seen)
    assert answer is not None
    if seen.rpc == "prompts/list":
        page = {None: 0, "": 1, "p 2/\u00e9": 2}[seen.message["params"].get("cursor")]
        names = [["summarize", "x1"], ["x2", "x3"], ["x4", "review"]][page]
        answer["result"]["prompts"] = [{"name": name} for name in names]
        answer["result"] |= [{"nextCursor": ""}, {"nextCursor": "p 2/\u00e9"}, {}][page]
    await talk.json(answer)


def names_of(reply: Reply) -> tuple[list[str], str | None]:
    result = reply.json()["result"]
    return [item["name"] for item in result["prompts"]], result.get("nextCursor")


def test_pages_come_one_by_one_under_cursors_of_ours(open_house: House, era: str) -> None:
    caller = open_house.caller(era)
    with open_house.upstream.scripted(pages):
        shown, first = names_of(caller.say("prompts/list", {}))
        assert shown == ["summarize"]
        shown, second = names_of(caller.say("prompts/list", {"cursor": first}))
        assert shown == []
        shown, end = names_of(caller.say("prompts/list", {"cursor": second}))
        assert (shown, end) == (["review"], None)
        # A cursor can be used again: it holds all that there is to know.
        assert names_of(caller.say("prompts/list", {"cursor": first}))[0] == []
    assert len({first, second, "", "p 2/\u00e9", None}) == 5
    assert "p 2" not in f"{first}{second}"


def test_a_cursor_that_is_not_the_callers_is_answered_like_an_unknown_one(open_house: House, era: str) -> None:
    alice, other = open_house.caller(era), open_house.caller(era, server="files")
    bob = open_house.caller(era, open_house.bob)
    program = open_house.caller(era, open_house.issuer.token(client_id="another-program"))
    with open_house.upstream.scripted(pages):
        _, own = names_of(alice.say("prompts/list", {}))
    assert own is not None
    flipped = own[:-1] + ("A" if own[-1] != "A" else "B")
    tried = [
        (alice, "prompts/list", "made-up"),
        (alice, "prompts/list", ""),
        (alice, "prompts/list", flipped),
        (alice, "prompts/list", own + "A"),
        (alice, "prompts/list", "x" * 200_000),
        (alice, "tools/list", own),
        (alice, "resources/list", own),
        (bob, "prompts/list", own),
        (program, "prompts/list", own),
        (other, "prompts/list", own),
    ]
    before, since = open_house.upstream.bytes, len(open_house.gateway.records())
    told = [caller.say(method, {"cursor": cursor}) for caller, method, cursor in tried]
    assert {(reply.status, reply.error["code"], reply.error["message"]) for reply in told} == {
        (400, -32602, told[0].error["message"])
    }
    assert {tuple(sorted(reply.error["data"])) for reply in told} == {("decision", "reason")}
    assert open_house.upstream.bytes == before
    assert len(open_house.gateway.next_record(since, "deny", count=len(tried))) == len(tried)


def test_a_list_cannot_be_filtered_unless_it_is_one(open_house: House, era: str) -> None:
    for method, member, *_ in LISTS:

        async def script(seen: Seen, talk: Talk, member: str = member) -> None:
            answer = result_for(seen)
            assert answer is not None
            answer["result"][member] = {"0": {"name": "secret-plan"}}
            await talk.json(answer)

        caller = open_house.caller(era)
        with open_house.upstream.scripted(script):
            reply = caller.say(method, {})
        assert (reply.status, reply.error["code"]) == (502, 5020)
        assert b"secret" not in reply.body


ODD = {
    "prompts/list": ("prompts", "name", ["review", 7, None, " review", "r\u0435view", "review", "x" * 300]),
    "resources/list": (
        "resources",
        "uri",
        [DOC, "FILE:///srv/docs/x", "file:///srv/docs/../x", "file:///srv/docs/%61"],
    ),
    "resources/templates/list": (
        "resourceTemplates",
        "uriTemplate",
        ["file:///srv/docs/{a}", "file:///srv/docs/{", "file:///srv/docs/../{a}", "file:///srv/docs/{}"],
    ),
}


@pytest.mark.parametrize("method", list(ODD))
def test_items_that_nobody_could_ask_for_are_left_out(open_house: House, era: str, method: str) -> None:
    member, name, values = ODD[method]

    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"][member] = [*({name: value} for value in values), "x", None, {}]
        await talk.json(answer)

    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        result = caller.say(method, {}).json()["result"]
    assert result[member] == [{name: values[0]}]


#: template, the argument that is completed, what the server says, and what is left of it
COMPLETED = [
    ("file:///srv/docs/{name}", "name", ["a.txt", "b.txt"], ["a.txt", "b.txt"]),
    ("file:///srv/docs/{+path}", "path", ["a.txt", "private/key", "x/y"], ["a.txt", "x/y"]),
    ("file:///srv/docs/{+path}", "path", ["../../etc/passwd", "./private/key", "a/../private/key"], []),
    ("file:///srv/docs/{name}", "name", ["private/key", "..", "a b"], ["a b"]),
    ("file:///srv/docs/{dir}/{name}", "dir", ["private", "public"], ["public"]),
    ("file:///srv/docs/{dir}/x{/rest}", "dir", ["private", "public"], ["public"]),
    ("file:///srv/docs/{+dir}key", "dir", ["private/", "public/"], ["public/"]),
    ("file:///srv/docs/{name}", "name", [7, None, {"x": "a.txt"}, "a.txt"], ["a.txt"]),
    # A name that the template does not have says nothing of where its values lead.
    ("file:///srv/docs/{+path}", "other", ["private/key"], []),
    ("file:///srv/docs/{+dir,name}", "dir", ["private/key"], []),
]


@pytest.mark.parametrize("row", range(len(COMPLETED)))
def test_completion_leads_nowhere_that_may_not_be_read(open_house: House, era: str, row: int) -> None:
    template, name, values, left = COMPLETED[row]

    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["completion"] = {"values": values, "total": len(values), "hasMore": False}
        await talk.json(answer)

    params = {"ref": {"type": "ref/resource", "uri": template}, "argument": {"name": name, "value": ""}}
    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        completion = caller.say("completion/complete", params).json()["result"]["completion"]
    assert completion["values"] == left
    assert completion.get("total") == (len(values) if left == values else None)


@pytest.mark.parametrize("completion", [None, [], {}, {"values": "private/key"}, {"values": {"0": "private/key"}}])
def test_a_completion_that_cannot_be_filtered_is_not_delivered(open_house: House, era: str, completion: Any) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["completion"] = completion
        await talk.json(answer)

    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        reply = caller.say("completion/complete", resource_ref("file:///srv/docs/{name}"))
    assert (reply.status, reply.error["code"]) == (502, 5020)
    assert b"private" not in reply.body


def test_what_is_read_holds_nothing_that_may_not_be_read(open_house: House, era: str) -> None:
    kept = [DOC, "file:///srv/docs/b.txt"]
    others = [PRIVATE, "file:///etc/passwd", "file:///srv/docs/../../etc/passwd", "FILE:///srv/docs/b.txt", 7]

    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["contents"] = [{"uri": uri, "text": str(uri)} for uri in [*others, *kept]]
        await talk.json(answer)

    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        reply = caller.say("resources/read", {"uri": DOC})
    assert [item["uri"] for item in reply.json()["result"]["contents"]] == kept
    assert b"passwd" not in reply.body


@pytest.mark.parametrize("contents", [{"0": {"uri": PRIVATE}}, "private/key", [[{"uri": PRIVATE}]]])
def test_contents_that_cannot_be_filtered_are_not_delivered(open_house: House, era: str, contents: Any) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["contents"] = contents
        await talk.json(answer)

    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        reply = caller.say("resources/read", {"uri": DOC})
    assert b"private/key" not in reply.body


def test_capabilities_are_those_that_are_served(open_house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        extensions = {"io.modelcontextprotocol/ui": {}, "io.modelcontextprotocol/tasks": {}, "com.example/x": {}}
        answer["result"]["capabilities"] |= {"tasks": {"list": {}}, "experimental": {}, "extensions": extensions}
        await talk.json(answer)

    method, params = {
        "session": ("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}),
        "stateless": ("server/discover", {}),
    }[era]
    with open_house.upstream.scripted(script):
        reply = Caller(gateway=open_house.gateway, token=open_house.alice, era=era).say(method, params)
    offered = reply.json()["result"]["capabilities"]
    assert set(offered) == {"tools", "prompts", "resources", "completions", "logging", "extensions"}
    assert offered["extensions"] == {"io.modelcontextprotocol/ui": {}}


def test_tasks_are_not_offered_upstream_either(open_house: House, era: str) -> None:
    tasks = {"tasks": {"requests": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}, "com.example/x": {}}}
    params: dict[str, Any]
    if era == "session":
        method = "initialize"
        params = {"protocolVersion": "2025-11-25", "capabilities": {"sampling": {}, **tasks}, "clientInfo": {}}
    else:
        method = "tools/call"
        meta = {"io.modelcontextprotocol/clientCapabilities": {"sampling": {}, **tasks}}
        params = {"name": "echo", "arguments": {}, "_meta": meta}
    before = open_house.upstream.count
    reply = Caller(gateway=open_house.gateway, token=open_house.alice, era=era).say(method, params)
    assert reply.status == 200
    (seen,) = open_house.upstream.seen[before:]
    assert b"tasks" not in seen.body
    assert b"com.example/x" in seen.body
    assert json.loads(seen.body)["method"] == method


def test_a_call_as_a_task_is_answered_as_any_other(open_house: House, era: str) -> None:
    before = open_house.upstream.count
    caller = Caller(gateway=open_house.gateway, token=open_house.alice, era=era)
    reply = caller.say("tools/call", {"name": "echo", "arguments": {"text": "x"}, "task": {"ttl": 1000}})
    assert reply.json()["result"]["content"][0]["text"] == '{"text": "x"}'
    (seen,) = open_house.upstream.seen[before:]
    assert b"task" not in seen.body


ASKABLE = {"sampling": {}, "elicitation": {"form": {}, "url": {}}, "roots": {"listChanged": True}, "experimental": {}}


@pytest.mark.parametrize(("rules", "left"), [("house", set()), ("open_house", {"sampling", "elicitation"})])
def test_a_client_does_not_offer_what_it_could_never_be_asked(
    rules: str, left: set[str], request: pytest.FixtureRequest
) -> None:
    house: House = request.getfixturevalue(rules)
    before = house.upstream.count
    params = {"protocolVersion": "2025-11-25", "capabilities": ASKABLE, "clientInfo": {"name": "x", "version": "1"}}
    reply = Caller(gateway=house.gateway, token=house.alice, era="session").say("initialize", params)
    assert reply.status == 200
    (seen,) = house.upstream.seen[before:]
    assert set(seen.message["params"]["capabilities"]) == left | {"experimental"}


def test_an_agent_has_of_it_what_its_token_and_ceiling_leave(open_house: House, era: str) -> None:
    """Prompts and resources are of class read, and `bot-works` speaks of tools alone."""
    caller = open_house.caller(era, open_house.bot)
    before = open_house.upstream.bytes
    for method, params in (("prompts/get", {"name": "review"}), ("resources/read", {"uri": DOC})):
        assert caller.say(method, params).error["data"]["reason"] == "no_rule"
    assert open_house.upstream.bytes == before
