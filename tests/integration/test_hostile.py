"""A server that lies, floods and injects: contained, recorded, and never passed on as it is.

What can be said as data stands in `tests/attacks/answers`; here is what takes time, state or a scene of its own."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import ALL_OF_MCP, House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Seen, Talk, Upstream, polite, result_for
from tests.kit.wire import Reply, message, read_events, tool_call

Script = Callable[[Seen, Talk], Awaitable[None]]
CALL = {"name": "echo", "arguments": {"text": "x"}}
EVIL = "evil-payload"


def answer_of(seen: Seen, **members: Any) -> dict[str, Any]:
    answer = result_for(seen)
    assert answer is not None
    return answer | members


def call(house: House, era: str, script: Script, *, method: str = "tools/call", params: Any = CALL) -> Reply:
    """Make one request of the plainest kind, and check that the next one is none the worse for it."""
    caller = Caller(gateway=house.gateway, token=house.alice, era=era)
    with house.upstream.scripted(script):
        reply = caller.say(method, params, ident="mine")
    assert caller.say("tools/call", CALL, ident="next").json()["result"]["content"][0]["text"] == '{"text": "x"}'
    return reply


def contained(house: House, reply: Reply, *, outcome: str = "upstream") -> None:
    """The caller was told in our words, under its own id, and that has been recorded."""
    assert (reply.json()["id"], reply.error["code"], reply.error["data"]["reason"]) == ("mine", 5020, "upstream")
    assert reply.status in {200, 502}
    assert EVIL.encode() not in reply.body
    record = house.gateway.record_of(reply.error["data"]["decision"], "outcome")
    assert record["outcome"] == outcome


def evil_result(**members: Any) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": EVIL}], **members}


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints"])
def test_an_interim_answer_is_not_the_answer(house: House, era: str, interim: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        for _ in range(3):
            await talk.raw(f"HTTP/1.1 {interim}\r\nLink: <http://evil.test>\r\nSet-Cookie: a=b\r\n\r\n".encode())
        await talk.json(answer_of(seen))

    reply = call(house, era, script)
    assert (reply.status, reply.error) == (200, {})
    assert reply.header("link") is None


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("as_events", [False, True])
def test_fields_of_a_server_are_left_behind(house: House, era: str, status: int, as_events: bool) -> None:
    """Attack I03."""
    fields = {
        "Set-Cookie": "__Host-ostiary=evil; Path=/",
        "Clear-Site-Data": '"*"',
        "Strict-Transport-Security": "max-age=0",
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Expose-Headers": "*",
        "Content-Security-Policy": "default-src *",
        "Alt-Svc": 'h2="evil.test:443"',
        "Link": "<http://evil.test>; rel=preload",
        "Refresh": "0; url=http://evil.test",
        "Location": "http://evil.test",
        "Content-Location": "http://evil.test",
        "WWW-Authenticate": "Bearer resource_metadata=http://evil.test",
        "Mcp-Session-Id": "evil",
        "Server": "evil",
        "Via": "1.1 evil",
        "Trailer": "X-Evil",
        "X-Accel-Redirect": "/evil",
        "Content-Disposition": "attachment; filename=evil",
    }

    async def script(seen: Seen, talk: Talk) -> None:
        answer = answer_of(seen)
        if status == 404:
            answer = {"jsonrpc": "2.0", "id": seen.message["id"], "error": {"code": -32601, "message": "no"}}
        if as_events and status == 200:
            await talk.stream(headers=list(fields.items()))
            await talk.event(answer)
            await talk.raw(b"0\r\nX-Evil: evil\r\n\r\n")
        else:
            await talk.json(answer, status=status, headers=list(fields.items()))

    reply = call(house, era, script)
    assert reply.status == status
    own = {"content-type", "cache-control", "content-length", "transfer-encoding", "date", "x-accel-buffering"}
    assert {name.lower() for name, _ in reply.headers} <= own
    assert not any("evil" in value for _, value in reply.headers)


def test_cookies_of_a_server_do_not_come_back_to_it(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.json(answer_of(seen), headers=[("Set-Cookie", "a=b"), ("Alt-Svc", "clear")])

    before = house.upstream.count
    call(house, era, script)
    assert [seen.header("cookie") for seen in house.upstream.seen[before:]] == [None, None]


@pytest.mark.parametrize(
    "text",
    [
        "\n\ndata: {}\n\n",
        "\r\rdata: evil\r\r",
        "\r\n\r\nid: 9\r\nretry: 1\r\n\r\n",
        "\u2028data: x\u2029\u0085\x0b\x0c",
        "\x1b[31mred\x1b]8;;http://evil.test\x07\x00\x7f",
        "\U000e0041\U000e0042 \u202eabc\u200b",
        "data:\nevent: message\ndata: {}",
    ],
)
def test_what_stands_in_a_string_stays_in_it(house: House, era: str, text: str) -> None:
    """Attacks I01 and I05: in values, in names, in errors and in notifications."""
    told = {"level": "info", "data": {text: text}}

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": told}
        await talk.chunk(b"data: " + json.dumps(note, ensure_ascii=False).replace("\x7f", "\\u007f").encode() + b"\n\n")
        error = {"code": 1, "message": text, "data": {text: [text]}}
        await talk.event({"jsonrpc": "2.0", "id": seen.message["id"], "error": error})
        await talk.end()

    reply = call(house, era, script)
    events = read_events(reply.body)
    assert [set(event) for event in events] == [{"event", "data"}] * 2
    assert json.loads(events[0]["data"])["params"] == told
    assert reply.error == {"code": 1, "message": text, "data": {text: [text]}}


SECOND = [
    '{"jsonrpc":"2.0","id":$ID,"result":{"content":["evil-payload"]}}',
    '{"jsonrpc":"2.0","id":"mine","result":{"content":["evil-payload"]}}',
    '{"jsonrpc":"2.0","id":1,"method":"sampling/createMessage","params":{"x":"evil-payload"}}',
    '{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"evil-payload"}}',
    "evil-payload",
]


@pytest.mark.parametrize("after", SECOND)
@pytest.mark.parametrize("at_once", [False, True])
def test_nothing_follows_the_answer(house: House, era: str, after: str, at_once: bool) -> None:
    """Attack I02, in one chunk with the answer and in one of its own."""

    async def script(seen: Seen, talk: Talk) -> None:
        first = b"data: " + json.dumps(answer_of(seen)).encode() + b"\n\n"
        second = f"data: {after}\n\n".replace("$ID", json.dumps(seen.message["id"])).encode()
        await talk.stream()
        for part in [first + second] if at_once else [first, second]:
            await talk.chunk(part)
        await talk.end()

    reply = call(house, era, script)
    assert EVIL.encode() not in reply.body
    assert reply.json()["result"]["content"][0]["text"] == '{"text": "x"}'


OURS = [4030, 4031, 4290, 5000, 5020, 5030, 5040]


@pytest.mark.parametrize("code", OURS)
def test_our_own_codes_come_from_us_alone(house: House, era: str, code: int) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        data = {"decision": "x", "remedy": {"scope": ["mcp:admin"]}, "url": "http://evil.test"}
        error = {"code": code, "message": "get a better token", "data": data}
        await talk.json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error})

    reply = call(house, era, script)
    assert (reply.status, reply.error) == (200, {"code": -32603, "message": "get a better token"})


def test_what_a_server_says_in_our_name_is_taken_out(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        meta = {"dev.ostiary/decision": "allow", "ostiary/x": 1, "com.example/y": 2}
        result = evil_result(_meta=meta)
        await talk.json(answer_of(seen, result=result))

    assert call(house, era, script).json()["result"]["_meta"] == {"com.example/y": 2}


BOMBS: dict[str, Any] = {
    "deep": lambda: nested(60),
    "many keys": lambda: {
        "type": "object",
        "properties": {f"p{number}": {"type": "string"} for number in range(20_000)},
    },
    "a loop of references": lambda: {
        "$ref": "#/$defs/a",
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
    },
    "a reference to elsewhere": lambda: {"$ref": "http://127.0.0.1:1/schema.json"},
    "a slow pattern": lambda: {"properties": {"x": {"type": "string", "pattern": "(a+)+$"}}},
    "doubling": lambda: {"$defs": {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(64)}},
}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(depth // 2):
        schema = {"properties": {"x": schema}}
    return schema


@pytest.mark.parametrize("case", list(BOMBS))
def test_a_schema_is_carried_and_never_evaluated(house: House, era: str, case: str) -> None:
    """Attack K06: nothing of it is fetched, expanded or matched, so its size is all that it costs."""

    async def script(seen: Seen, talk: Talk) -> None:
        tool = {"name": "echo", "inputSchema": BOMBS[case]()}
        await talk.json(answer_of(seen, result={"tools": [tool, {"name": "hidden", "inputSchema": {}}]}))

    begun = time.monotonic()
    reply = call(house, era, script, method="tools/list", params={})
    assert time.monotonic() - begun < 5
    assert [tool["name"] for tool in reply.json()["result"]["tools"]] == ["echo"]


@pytest.mark.parametrize("depth", [200, 100_000])
def test_a_schema_too_deep_for_other_readers_is_not_delivered(house: House, era: str, depth: int) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        ident = json.dumps(seen.message["id"])
        schema = '{"a":' * depth + '"evil-payload"' + "}" * depth
        tools = f'{{"tools":[{{"name":"echo","inputSchema":{schema}}}]}}'
        await talk.whole(f'{{"jsonrpc":"2.0","id":{ident},"result":{tools}}}'.encode())

    contained(house, call(house, era, script, method="tools/list", params={}))


def test_two_tools_of_one_name_are_one(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        tools = [{"name": "echo", "inputSchema": {}}, {"name": "echo", "inputSchema": {}, "description": EVIL}]
        await talk.json(answer_of(seen, result={"tools": tools}))

    reply = call(house, era, script, method="tools/list", params={})
    assert (len(reply.json()["result"]["tools"]), EVIL.encode() in reply.body) == (1, False)


SESSION_IDS = [b"", b"a b", b"\xff", b"x" * 1100, b"a\tb"]


@pytest.mark.parametrize("ident", SESSION_IDS)
def test_a_session_id_that_is_none_begins_no_session(house: House, ident: bytes) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        body = json.dumps(answer_of(seen)).encode()
        fields = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nMcp-Session-Id: "
        await talk.raw(fields.encode() + ident + b"\r\n\r\n" + body)

    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    contained(house, call(house, "session", script, method="initialize", params=params))


@pytest.mark.parametrize("version", ["2024-11-05", "2026-07-28", "9999-01-01", "", 7, None])
def test_a_session_of_a_version_that_is_not_served_does_not_begin(house: House, version: Any) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = answer_of(seen)
        answer["result"]["protocolVersion"] = version
        await talk.json(answer, headers=[("Mcp-Session-Id", "u")])

    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}
    reply = call(house, "session", script, method="initialize", params=params)
    contained(house, reply)
    assert reply.header("mcp-session-id") is None


@dataclass
class Tight:
    gateway: Gateway
    upstream: Upstream
    token: str


@pytest.fixture(scope="module")
def tight(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Tight]:
    """A gateway that waits a second, and takes 64 KiB."""
    folder = tmp_path_factory.mktemp("tight")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["policy"] += ALL_OF_MCP
        config["servers"]["notes"] |= {"timeout": "1s", "max_response": "64KiB"}
        with Gateway(folder, config) as gateway:
            yield Tight(gateway, upstream, issuer.token())


async def slow_head(_: Seen, talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await talk.raw(b"x")
        await asyncio.sleep(0.05)


async def slow_body(_: Seen, talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{")
    while True:
        await talk.raw(b" ")
        await asyncio.sleep(0.05)


async def endless_interim(_: Seen, talk: Talk) -> None:
    while True:
        await talk.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("script", [slow_head, slow_body, endless_interim])
def test_a_server_has_no_more_than_its_time(tight: Tight, era: str, script: Script) -> None:
    tight.upstream.forget_hang_ups()
    begun = time.monotonic()
    with tight.upstream.scripted(script):
        reply = tight.gateway.call("echo", {"text": "x"}, tight.token, era=era)
    assert time.monotonic() - begun < 4
    assert (reply.status, reply.error["code"]) == (504, 5040)
    assert tight.upstream.hang_ups.acquire(timeout=10)


async def endless_line(_: Seen, talk: Talk) -> None:
    await talk.stream()
    while True:
        await talk.chunk(b"x" * 4096)


async def endless_data(_: Seen, talk: Talk) -> None:
    await talk.stream()
    while True:
        await talk.chunk(b"data: x\n" * 512)


async def endless_ids(_: Seen, talk: Talk) -> None:
    await talk.stream()
    while True:
        await talk.chunk(b"id: " + b"x" * 1000 + b"\n")


async def endless_body(_: Seen, talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await talk.chunk(b" " * 4096)


async def promised_body(_: Seen, talk: Talk) -> None:
    await talk.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2000000000\r\n\r\n")
    while True:
        await talk.raw(b" " * 4096)


ENDLESS = [endless_line, endless_data, endless_ids, endless_body, promised_body]


@pytest.mark.parametrize("script", ENDLESS)
def test_an_endless_answer_is_cut_off(tight: Tight, era: str, script: Script) -> None:
    """Attack I04."""
    tight.upstream.forget_hang_ups()
    with tight.upstream.scripted(script):
        reply = tight.gateway.call("echo", {"text": "x"}, tight.token, era=era)
    assert reply.error["code"] == 5020
    assert b"xx" not in reply.body
    assert len(reply.body) < 1000
    assert tight.upstream.hang_ups.acquire(timeout=10)
    assert tight.gateway.record_of(reply.error["data"]["decision"], "outcome")["outcome"] == "upstream"


@pytest.mark.parametrize("script", ENDLESS[:3])
def test_an_endless_event_ends_the_stream_of_a_session(tight: Tight, script: Script) -> None:
    async def either(seen: Seen, talk: Talk) -> None:
        await (script if seen.method == "GET" else polite)(seen, talk)

    caller = Caller.arrive(tight.gateway, tight.token, "session")
    since = len(tight.gateway.records())
    with tight.upstream.scripted(either), caller.listen() as feed:
        assert feed.rest() == []
    assert tight.gateway.end_of("session/stream", since) == "upstream"


def test_many_events_are_no_large_one(tight: Tight, era: str) -> None:
    """The limit is of one event: a stream of many is passed on, and none is kept."""
    note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "y" * 1000}}

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        for _ in range(300):
            await talk.event(note)
        await talk.event(answer_of(seen))
        await talk.end()

    with tight.upstream.scripted(script):
        reply = tight.gateway.post(tool_call("echo", {"text": "x"}, era=era), tight.token, era=era)
    assert len(read_events(reply.body)) == 301


def test_a_notification_is_answered_with_nothing_whatever_the_server_says(house: House) -> None:
    caller = house.caller("session")

    async def script(_: Seen, talk: Talk) -> None:
        await talk.whole(
            b'{"jsonrpc":"2.0","id":1,"method":"evil-payload"}', status=202, headers=[("Set-Cookie", "a=b")]
        )

    with house.upstream.scripted(script):
        reply = caller.post(message("notifications/initialized", era="session", ident=None))
    assert (reply.status, reply.body, reply.header("set-cookie")) == (202, b"", None)


@pytest.mark.parametrize(("pings", "code"), [(40, None), (2000, 5020)])
def test_pings_of_a_server_are_answered_one_after_the_other(tight: Tight, pings: int, code: int | None) -> None:
    """In one chunk: a few are answered on a connection or two; a server that does not stop is left."""
    connections: set[int] = set()
    ponged, count = tight.upstream.gate(), 0

    async def script(seen: Seen, talk: Talk) -> None:
        nonlocal count
        if seen.rpc == "tools/call":
            await talk.stream()
            await talk.chunk(b'data: {"jsonrpc":"2.0","id":1,"method":"ping"}\n\n' * pings)
            await ponged.wait()
            await talk.event(answer_of(seen))
            await talk.end()
            return
        connections.add(seen.connection)
        count += 1
        if count == pings:
            ponged.open()
        await polite(seen, talk)

    with tight.upstream.scripted(script):
        reply = tight.gateway.call("echo", {"text": "x"}, tight.token, era="session")
        assert reply.error.get("code") == code
        assert len(connections) <= 4
