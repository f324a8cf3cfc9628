"""Rounds (2026-07-28): a result may ask for input first. Each question is judged, its state is sealed, and every retry
is decided anew."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, result_for
from tests.kit.wire import Reply

DOC = "file:///srv/docs/a.txt"
SAMPLING = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 100}}
FORM = {"method": "elicitation/create", "params": {"mode": "form", "message": "who?", "requestedSchema": {}}}
SIGN_IN = {"method": "elicitation/create", "params": {"mode": "url", "url": "https://accounts.example.com/x"}}
ROOTS = {"method": "roots/list"}
STATE = "the server's own state: \u00e9\n"
#: What a round can be of: method, params, and a change of them that no rule forbids.
ROUNDS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("tools/call", {"name": "echo", "arguments": {"text": "x"}}, {"arguments": {"text": "y"}}),
    ("prompts/get", {"name": "review", "arguments": {"file": "x"}}, {"name": "summarize"}),
    ("resources/read", {"uri": DOC}, {"uri": "file:///srv/docs/b.txt"}),
]
OF_EACH = pytest.mark.parametrize(("method", "params", "changed"), ROUNDS, ids=[row[0] for row in ROUNDS])
Script = Callable[[Seen, Talk], Awaitable[None]]


def asking(requests: Any = ..., state: Any = STATE, *, as_events: bool = False) -> Script:
    """Ask for input in the first round, and answer the second."""

    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        if "inputResponses" not in seen.message["params"] and "requestState" not in seen.message["params"]:
            answer["result"] = {"resultType": "input_required"}
            if requests is not ...:
                answer["result"]["inputRequests"] = requests
            if state is not ...:
                answer["result"]["requestState"] = state
        if as_events:
            await talk.stream()
            await talk.event(answer)
            await talk.end()
        else:
            await talk.json(answer)

    return script


def first(house: House, caller: Caller, method: str, params: dict[str, Any], script: Script) -> Reply:
    with house.upstream.scripted(script):
        return caller.say(method, params, ident="one")


def again(params: dict[str, Any], state: Any = ..., **responses: Any) -> dict[str, Any]:
    """Return the params of the next round."""
    more: dict[str, Any] = {"inputResponses": responses} if responses else {}
    return {**params, **more} | ({} if state is ... else {"requestState": state})


@pytest.mark.parametrize("as_events", [False, True])
@OF_EACH
def test_a_round_asks_is_answered_and_goes_on(
    open_house: House, method: str, params: dict[str, Any], changed: dict[str, Any], as_events: bool
) -> None:
    caller = open_house.caller("stateless")
    script = asking({"a": SAMPLING, "b": FORM, "c": SIGN_IN}, as_events=as_events)
    since, before = len(open_house.gateway.records()), open_house.upstream.count
    reply = first(open_house, caller, method, params, script)
    told = reply.json()
    assert (reply.status, told["id"], told["result"]["resultType"]) == (200, "one", "input_required")
    assert told["result"]["inputRequests"] == {"a": SAMPLING, "b": FORM, "c": SIGN_IN}
    state = told["result"]["requestState"]
    assert STATE not in state
    assert "server" not in state
    asked = [record["mcp_method"] for record in open_house.gateway.next_record(since, "intent", count=4)]
    assert asked == [method, SAMPLING["method"], FORM["method"], SIGN_IN["method"]]

    responses = {"a": {"role": "assistant"}, "b": {"action": "accept", "content": {}}, "c": {"action": "accept"}}
    with open_house.upstream.scripted(script):
        reply = caller.say(method, again(params, state, **responses), ident="two")
    assert (reply.json()["id"], reply.json()["result"]["resultType"]) == ("two", "complete")
    sent = [seen.message["params"] for seen in open_house.upstream.seen[before:]]
    assert [params.get("requestState") for params in sent] == [None, STATE]
    assert sent[1]["inputResponses"] == responses
    assert {name: sent[1][name] for name in params} == params


def test_a_round_may_have_a_state_alone_or_questions_alone(open_house: House) -> None:
    caller = open_house.caller("stateless")
    method, params, _ = ROUNDS[0]
    result = first(open_house, caller, method, params, asking()).json()["result"]
    assert set(result) == {"resultType", "requestState"}
    with open_house.upstream.scripted(asking()):
        assert caller.say(method, again(params, result["requestState"])).json()["result"]["resultType"] == "complete"
    result = first(open_house, caller, method, params, asking({"a": FORM}, ...)).json()["result"]
    assert set(result) == {"resultType", "inputRequests"}
    with open_house.upstream.scripted(asking()):
        assert caller.say(method, again(params, a={})).json()["result"]["resultType"] == "complete"


REFUSED = [
    ({"a": ROOTS}, "no_rule", "roots/list"),
    ({"a": FORM, "b": ROOTS}, "no_rule", "roots/list"),
    (
        {"a": {"method": "sampling/createMessage", "params": {"maxTokens": 10_000}}},
        "denied_by_rule",
        SAMPLING["method"],
    ),
    ({"a": {"method": "elicitation/create"}}, "no_rule", FORM["method"]),
    (
        {"a": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://evil.test/"}}},
        "no_rule",
        FORM["method"],
    ),
]


@pytest.mark.parametrize("as_events", [False, True])
@pytest.mark.parametrize(("requests", "reason", "asked"), REFUSED)
def test_a_question_that_no_rule_allows_is_not_asked(
    open_house: House, requests: dict[str, Any], reason: str, asked: str, as_events: bool
) -> None:
    caller = open_house.caller("stateless")
    since = len(open_house.gateway.records())
    method, params, _ = ROUNDS[0]
    reply = first(open_house, caller, method, params, asking(requests, as_events=as_events))
    assert (reply.status, reply.json()["id"], reply.error["code"]) == (200, "one", 4030)
    assert b"evil" not in reply.body
    assert b"requestState" not in reply.body
    (record,) = open_house.gateway.next_record(since, "deny")
    assert (record["reason"], record["mcp_method"], record["tool"]) == (reason, asked, "echo")
    assert open_house.gateway.end_of("tools/call", since) == "error"


def test_rules_that_speak_of_tools_let_no_question_through(house: House) -> None:
    method, params, _ = ROUNDS[0]
    reply = first(house, house.caller("stateless"), method, params, asking({"a": FORM}))
    assert reply.error["code"] == 4030


NONSENSE: list[tuple[Any, Any]] = [
    ({"a": {"method": "tools/call", "params": {"name": "delete_file"}}}, STATE),
    ({"a": {"method": "made/up"}}, STATE),
    ({"a": {"method": "ping"}}, STATE),
    ({"a": {"params": {}}}, STATE),
    ({"a": {"method": "roots/list", "params": []}}, STATE),
    ({"a": "roots/list"}, STATE),
    ([ROOTS], STATE),
    ("roots/list", STATE),
    ({str(number): FORM for number in range(33)}, STATE),
    ({"a": FORM}, 7),
    ({"a": FORM}, {"x": 1}),
    ({"a": FORM}, "x" * (65 << 10)),
]


@pytest.mark.parametrize("row", range(len(NONSENSE)))
def test_a_round_that_makes_no_sense_is_not_passed_on(open_house: House, row: int) -> None:
    since = len(open_house.gateway.records())
    method, params, _ = ROUNDS[0]
    reply = first(open_house, open_house.caller("stateless"), method, params, asking(*NONSENSE[row]))
    assert (reply.status, reply.error["code"]) == (502, 5020)
    assert b"inputRequests" not in reply.body
    assert open_house.gateway.end_of("tools/call", since) == "upstream"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("tools/list", {}),
        ("prompts/list", {}),
        ("resources/list", {}),
        ("resources/templates/list", {}),
        ("server/discover", {}),
        (
            "completion/complete",
            {"ref": {"type": "ref/prompt", "name": "review"}, "argument": {"name": "a", "value": ""}},
        ),
    ],
)
def test_what_has_no_rounds_cannot_ask(open_house: House, method: str, params: dict[str, Any]) -> None:
    reply = first(open_house, open_house.caller("stateless"), method, params, asking({"a": FORM}))
    assert (reply.status, reply.error["code"]) == (502, 5020)


@OF_EACH
def test_a_state_that_is_not_of_this_request_is_answered_like_an_unknown_one(
    open_house: House, method: str, params: dict[str, Any], changed: dict[str, Any]
) -> None:
    """Attack G04: changed, tampered with, somebody else's, or brought to another request or server."""
    house = open_house
    alice = house.caller("stateless")
    state = first(house, alice, method, params, asking({"a": FORM})).json()["result"]["requestState"]
    flipped = state[:-1] + ("A" if state[-1] != "A" else "B")
    other_method, other_params, _ = ROUNDS[(ROUNDS.index((method, params, changed)) + 1) % 3]
    tried = [
        (alice, method, again(params, "made-up", a={})),
        (alice, method, again(params, "", a={})),
        (alice, method, again(params, STATE, a={})),
        (alice, method, again(params, flipped, a={})),
        (alice, method, again(params, state + "A", a={})),
        (alice, method, again(params, state[:40], a={})),
        (alice, method, again(params, "x" * 200_000, a={})),
        (alice, method, again({**params, **changed}, state, a={})),
        (alice, method, again({**params, "extra": 1}, state, a={})),
        (alice, other_method, again(other_params, state, a={})),
        (house.caller("stateless", house.bob), method, again(params, state, a={})),
        (house.caller("stateless", house.issuer.token(client_id="other")), method, again(params, state, a={})),
        (house.caller("stateless", server="files"), method, again(params, state, a={})),
    ]
    before, since = house.upstream.bytes, len(house.gateway.records())
    told = [caller.say(name, body) for caller, name, body in tried]
    assert {(reply.status, reply.error["code"], reply.error["message"]) for reply in told} == {
        (400, -32602, told[0].error["message"])
    }
    assert house.upstream.bytes == before
    records = house.gateway.next_record(since, "deny", count=len(tried))
    assert {record["reason"] for record in records} == {"malformed"}
    with house.upstream.scripted(asking()):
        assert alice.say(method, again(params, state, a={})).status == 200


def test_a_cursor_is_no_state_and_a_state_no_cursor(open_house: House) -> None:
    async def paged(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["nextCursor"] = "2"
        await talk.json(answer)

    caller = open_house.caller("stateless")
    method, params, _ = ROUNDS[0]
    state = first(open_house, caller, method, params, asking({"a": FORM})).json()["result"]["requestState"]
    with open_house.upstream.scripted(paged):
        cursor = caller.say("tools/list", {}).json()["result"]["nextCursor"]
    before = open_house.upstream.bytes
    assert caller.say("tools/list", {"cursor": state}).error["code"] == -32602
    assert caller.say(method, again(params, cursor)).error["code"] == -32602
    assert open_house.upstream.bytes == before


def test_the_arguments_of_a_round_may_be_spelt_anew(open_house: House) -> None:
    """The state is tied to what the parameters mean, not to the order of their members."""
    caller = open_house.caller("stateless")
    params = {"name": "echo", "arguments": {"a": 1, "b": "x"}}
    state = first(open_house, caller, "tools/call", params, asking({"a": FORM})).json()["result"]["requestState"]
    turned = {"arguments": {"b": "x", "a": 1}, "name": "echo"}
    with open_house.upstream.scripted(asking()):
        assert caller.say("tools/call", again(turned, state, a={})).status == 200


def test_every_round_is_decided(open_house: House) -> None:
    """A later round is a call like the first: the rules are asked, and it has a record of its own."""
    caller = open_house.caller("stateless")
    before, since = open_house.upstream.bytes, len(open_house.gateway.records())
    refused = {"name": "read_file", "arguments": {"path": "/etc/passwd"}}
    reply = caller.say("tools/call", again(refused, a={"action": "accept"}))
    assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, "denied_by_rule")
    assert open_house.upstream.bytes == before
    assert open_house.gateway.next_record(since, "deny")[0]["tool"] == "read_file"


WRONG: list[dict[str, Any]] = [
    {"inputResponses": []},
    {"inputResponses": {"a": "x"}},
    {"inputResponses": {"a": None}},
    {"requestState": 7},
    {"requestState": None},
    {"InputResponses": {}},
    {"request\u017ftate": "x"},
]


@pytest.mark.parametrize("row", range(len(WRONG)))
def test_a_round_that_could_be_read_in_two_ways_is_refused(open_house: House, row: int) -> None:
    before = open_house.upstream.bytes
    for method, params, _ in ROUNDS:
        reply = open_house.caller("stateless").say(method, params | WRONG[row])
        assert (reply.status, reply.error["code"]) == (400, -32602)
    assert open_house.upstream.bytes == before


@OF_EACH
def test_there_are_no_rounds_in_sessions(
    open_house: House, method: str, params: dict[str, Any], changed: dict[str, Any]
) -> None:
    before = open_house.upstream.bytes
    caller = Caller(gateway=open_house.gateway, token=open_house.alice, era="session")
    for more in ({"requestState": "x"}, {"inputResponses": {"a": {}}}):
        assert (caller.say(method, params | more).status, open_house.upstream.bytes) == (400, before)


@pytest.mark.parametrize("as_events", [False, True])
def test_a_session_is_not_asked_inside_a_result(open_house: House, as_events: bool) -> None:
    """A client of both eras could take it for a round that nobody judged."""
    caller = open_house.caller("session")
    evil = {"a": {"method": "elicitation/create", "params": {"mode": "url", "url": "https://evil.test/"}}}
    method, params, _ = ROUNDS[0]
    reply = first(open_house, caller, method, params, asking(evil, as_events=as_events))
    assert b"evil.test" not in reply.body
    assert b"the server's own state" not in reply.body
