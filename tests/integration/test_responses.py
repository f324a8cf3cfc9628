"""What comes back is read as strictly as what was sent: sizes, ids, lists, and requests that a server makes."""

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Seen, Talk, Upstream, polite, result_for
from tests.kit.wire import Reply, http, message, read_events, tool_call, wait_until


def listed(house: House, era: str, tools: Any, **more: Any) -> Reply:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"] |= {"tools": tools, **more}
        await talk.json(answer)

    with house.upstream.scripted(script):
        return house.gateway.post(message("tools/list", {}, era=era), house.alice, era=era)


def test_a_page_keeps_its_cursor_even_when_nothing_is_left_of_it(house: House, era: str) -> None:
    reply = listed(house, era, [{"name": "hidden", "inputSchema": {}}], nextCursor="page-2")
    assert reply.json()["result"]["tools"] == []
    assert reply.json()["result"]["nextCursor"] not in {None, "", "page-2"}


@pytest.mark.parametrize("cursor", [7, {}, "x" * 5000])
def test_a_cursor_that_cannot_be_given_out_is_not_delivered(house: House, era: str, cursor: Any) -> None:
    reply = listed(house, era, [], nextCursor=cursor)
    assert (reply.status, reply.error["code"]) == (502, 5020)


def test_items_without_a_sound_name_are_left_out(house: House, era: str) -> None:
    odd = [{"name": 7}, {"title": "x"}, "echo", None, {"name": "echo", "inputSchema": {"type": "object"}}]
    assert listed(house, era, odd).json()["result"]["tools"] == [{"name": "echo", "inputSchema": {"type": "object"}}]


@pytest.mark.parametrize("tools", [None, {}, "echo", 7])
def test_a_list_that_is_none_is_not_delivered(house: House, era: str, tools: Any) -> None:
    reply = listed(house, era, tools)
    assert (reply.status, reply.error["code"]) == (502, 5020)


def test_a_list_shows_what_more_scope_would_open(house: House, era: str) -> None:
    reply = house.gateway.post(message("tools/list", {}, era=era), house.reading_bot, era=era)
    assert [tool["name"] for tool in reply.json()["result"]["tools"]] == ["echo", "read_file", "add"]


def test_ids_of_two_callers_never_meet(house: House, era: str) -> None:
    """CVE-2026-25536, and `1` beside `"1"`: each answer goes to the request that it answers, under its own id."""
    gates = [house.upstream.gate() for _ in range(3)]
    order = iter(gates)

    async def script(seen: Seen, talk: Talk) -> None:
        await next(order).wait()
        await polite(seen, talk)

    told: dict[int, Reply] = {}
    idents: list[int | str] = [1, "1", 1]

    def ask(number: int) -> None:
        body = tool_call("echo", {"text": str(number)}, era=era, ident=idents[number])
        told[number] = house.gateway.post(body, house.alice, era=era)

    before = house.upstream.count
    with house.upstream.scripted(script):
        threads = []
        for number, gate in enumerate(gates):
            threads.append(threading.Thread(target=ask, args=(number,)))
            threads[-1].start()
            assert gate.reached.wait(10)
        for gate in reversed(gates):
            gate.open()
        for thread in threads:
            thread.join()
    for number, reply in told.items():
        assert reply.json()["id"] == idents[number]
        assert type(reply.json()["id"]) is type(idents[number])
        assert json.loads(reply.json()["result"]["content"][0]["text"]) == {"text": str(number)}
    sent = [seen.message["id"] for seen in house.upstream.calls(before)]
    assert len(set(sent)) == 3
    assert all(isinstance(ident, str) for ident in sent)


def test_a_server_request_gets_an_error_from_us_and_never_reaches_the_caller(house: House) -> None:
    """Session era: no rule lets a server ask here, so the upstream is told so and goes on."""
    answered = house.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        if seen.rpc is None:
            answered.reached.set()
            answered.open()
            await talk.whole(b"", status=202)
            return
        await talk.stream()
        await talk.event({"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {"x": 1}})
        await answered.wait()
        await talk.event(result_for(seen))
        await talk.end()

    before = house.upstream.count
    with house.upstream.scripted(script):
        reply = house.gateway.post(tool_call("echo", {"text": "x"}, era="session"), house.alice, era="session")
    events = [json.loads(event["data"]) for event in read_events(reply.body) if event.get("data")]
    assert ["method" in event for event in events] == [False]
    (refusal,) = [seen.message for seen in house.upstream.seen[before:] if seen.rpc is None]
    assert (refusal["id"], "error" in refusal, "result" in refusal) == ("s-1", True, False)


def test_a_server_request_in_the_stateless_era_is_nonsense(house: House) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event({"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {}})
        await talk.event(result_for(seen))
        await talk.end()

    with house.upstream.scripted(script):
        reply = house.gateway.post(tool_call("echo", {"text": "x"}, era="stateless"), house.alice)
    assert reply.error["code"] == 5020
    assert b"sampling" not in reply.body


@pytest.mark.parametrize("kind", ["task", "whatever", 7])
def test_a_result_of_a_kind_that_is_not_served_is_not_delivered(house: House, kind: Any) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"] = {"resultType": kind, "inputRequests": {}, "requestState": "secret"}
        await talk.json(answer)

    with house.upstream.scripted(script):
        reply = house.gateway.post(tool_call("echo", {"text": "x"}, era="stateless"), house.alice)
    assert reply.error["code"] == 5020
    assert b"secret" not in reply.body


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[tuple[Gateway, Upstream, str]]:
    folder = tmp_path_factory.mktemp("narrow")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["servers"]["notes"]["max_response"] = "64KiB"
        with Gateway(folder, config) as gateway:
            yield gateway, upstream, issuer.token()


def test_an_answer_beyond_the_limit_is_cut_off(narrow: tuple[Gateway, Upstream, str], era: str) -> None:
    """Attack I04: whole or in events, declared or endless, nothing of it is buffered without end."""
    gateway, upstream, token = narrow

    async def whole(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["content"][0]["text"] = "x" * (65 << 10)
        await talk.json(answer)

    async def one_event(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["content"][0]["text"] = "x" * (65 << 10)
        await talk.stream()
        await talk.event(answer)
        await talk.end()

    async def endless(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        while True:
            await talk.chunk(b"data: " + b"x" * 4096)

    for script in (whole, one_event, endless):
        with upstream.scripted(script):
            reply = gateway.call("echo", {"text": "x"}, token, era=era)
        assert reply.error["code"] == 5020, script
        assert b"xxx" not in reply.body
    assert gateway.call("echo", {"text": "x"}, token, era=era).status == 200


def test_a_caller_that_leaves_is_recorded_as_cancelled(house: House) -> None:
    gate = house.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await gate.wait()

    since = len(house.gateway.records())
    with house.upstream.scripted(script):
        with house.gateway.wire() as wire:
            wire.send(house.gateway.layout(tool_call("echo", {"text": "x"}, era="stateless"), house.alice))
            assert gate.reached.wait(10)
        (outcome,) = house.gateway.next_record(since, "outcome")
    assert outcome["outcome"] == "cancelled"
    assert house.upstream.hang_ups.acquire(timeout=10)


def test_a_chunked_request_is_framed_anew_and_its_trailers_are_dropped(house: House, era: str) -> None:
    """Attack C03: what came in chunks goes out with a length, and trailers carry nothing."""
    raw = house.gateway.layout(tool_call("echo", {"text": "x"}, era=era), house.alice, era=era)
    head, _, body = raw.partition(b"\r\n\r\n")
    head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length"))
    half = len(body) // 2
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]))
    trailers = b"0\r\nAuthorization: Bearer evil\r\nX-Trailer: evil\r\n\r\n"
    before = house.upstream.count
    with house.gateway.wire() as wire:
        reply = wire.ask(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + trailers)
        assert reply.status == 200
        assert wire.ask(raw).status == 200
    seen = house.upstream.calls(before)[0]
    assert seen.header("content-length") == str(len(seen.body))
    assert seen.header("transfer-encoding") is None
    assert b"evil" not in seen.head + seen.body


def test_a_length_beside_chunks_is_refused(house: House, era: str) -> None:
    """Measured disagreement (CL + TE): uvicorn takes it, Node refuses."""
    raw = house.gateway.layout(tool_call("echo", {"text": "x"}, era=era), house.alice, era=era)
    head, _, body = raw.partition(b"\r\n\r\n")
    before = house.upstream.count
    with house.gateway.wire() as wire:
        chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        reply = wire.ask(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    assert (reply.status, house.upstream.count) == (400, before)


def test_expect_100_continue_is_answered_and_decided_like_any_other(house: House, era: str) -> None:
    """Attack C11."""
    body = json.dumps(tool_call("delete_file", {"path": "/x"}, era=era)).encode()
    raw = house.gateway.layout(json.loads(body), house.alice, era=era, headers=[("Expect", "100-continue")])
    before = house.upstream.bytes
    with house.gateway.wire() as wire:
        reply = wire.ask(raw)
    assert (reply.status, reply.error["code"]) == (200, 4030)
    assert house.upstream.bytes == before


def test_an_expired_token_stops_working_while_the_connection_lives(house: House) -> None:
    until = int(time.time()) + 2
    # 30 s of skew are granted to other clocks; this token is in them already.
    token = house.issuer.token(iat=until - 100, exp=until - 30)
    raw = house.gateway.layout(tool_call("echo", {"text": "x"}, era="stateless"), token)
    with house.gateway.wire() as wire:
        assert wire.ask(raw).status == 200

        def refused() -> bool:
            reply = wire.ask(raw)
            return reply.status == 401 and time.time() >= until

        wait_until(refused, step_s=0.1, what="the token's end")


def test_ending_no_session_is_unknown(house: House) -> None:
    fields = [("Host", house.gateway.host), ("Authorization", f"Bearer {house.alice}")]
    before = house.upstream.bytes
    with house.gateway.wire() as wire:
        assert wire.ask(http("DELETE", "/mcp/notes", fields)).status == 404
    assert house.upstream.bytes == before
