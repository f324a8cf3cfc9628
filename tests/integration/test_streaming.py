"""Streams pass event by event, and a closed end closes the other."""

import json

import pytest
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, result_for
from tests.kit.wire import message, read_events


def progress(step: int) -> dict[str, object]:
    return {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": step}}


def asking(era: str) -> dict[str, object]:
    """A call that wants to hear of progress, under the token that `progress` speaks of."""
    params = {"name": "echo", "arguments": {"text": "x"}, "_meta": {"progressToken": 1}}
    return message("tools/call", params, era=era, ident="mine")


def test_the_first_event_arrives_before_the_second_is_made(house: House, era: str) -> None:
    gate = house.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event(progress(1))
        await gate.wait()
        await talk.event(progress(2))
        await talk.event(result_for(seen))
        await talk.end()

    with house.upstream.scripted(script), house.gateway.wire() as wire:
        wire.send(house.gateway.layout(asking(era), house.alice, era=era))
        head = wire.read_head()
        assert (head.status, head.header("content-type")) == (200, "text/event-stream")
        pieces = wire.body(head)
        first = b""
        while b"\n\n" not in first.replace(b"\r\n", b"\n"):
            first += next(pieces)
        assert not gate._passed.is_set()
        assert [json.loads(event["data"]) for event in read_events(first)] == [progress(1)]
        gate.open()
        rest = [json.loads(event["data"]) for event in read_events(b"".join(pieces))]
    assert rest[0] == progress(2)
    assert (rest[1]["id"], rest[1]["result"]["content"][0]["text"]) == ("mine", '{"text": "x"}')


@pytest.mark.parametrize("asked", [None, 2, "1"])
def test_progress_that_nobody_asked_to_hear_of_is_dropped(house: House, era: str, asked: int | str | None) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event(progress(1))
        await talk.event(result_for(seen))
        await talk.end()

    meta = {} if asked is None else {"_meta": {"progressToken": asked}}
    body = message("tools/call", {"name": "echo", "arguments": {"text": "x"}, **meta}, era=era, ident="mine")
    with house.upstream.scripted(script):
        reply = house.gateway.post(body, house.alice, era=era)
    assert ["method" in json.loads(event["data"]) for event in read_events(reply.body)] == [False]


def test_a_caller_that_leaves_ends_the_call_upstream(house: House) -> None:
    gate = house.upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event(progress(1))
        await gate.wait()

    with house.upstream.scripted(script):
        house.upstream.forget_hang_ups()
        with house.gateway.wire() as wire:
            wire.send(house.gateway.layout(asking("stateless"), house.alice))
            next(wire.body(wire.read_head()))
        assert house.upstream.hang_ups.acquire(timeout=10)


@pytest.mark.parametrize("newline", ["\n", "\r", "\r\n"])
def test_every_line_end_of_an_event_stream_is_read(house: House, era: str, newline: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        answer = json.dumps(result_for(seen), indent=1).split("\n")
        lines = [": a comment", "event: message", *(f"data: {line}" for line in answer), "", ""]
        await talk.stream()
        for byte in newline.join(lines).encode():
            await talk.chunk(bytes([byte]))
        await talk.end()

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert reply.json()["result"]["content"][0]["text"] == '{"text": "x"}'


def test_an_upstream_string_cannot_make_an_event(house: House, era: str) -> None:
    """Attack I01: what stands inside a JSON string stays there."""
    evil = "x\n\ndata: {}\n\nid: 9\r\rdata: {}"

    async def script(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen)
        assert answer is not None
        answer["result"]["content"][0]["text"] = evil
        await talk.stream()
        await talk.event(answer)
        await talk.end()

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    messages = [json.loads(event["data"]) for event in read_events(reply.body) if "data" in event]
    assert [each["result"]["content"][0]["text"] for each in messages] == [evil]


def lying(case: str, seen: Seen) -> list[object]:
    answer = result_for(seen)
    assert answer is not None
    match case:
        case "another id":
            return [{**answer, "id": "someone-elses"}]
        case "number for our id":
            return [{**answer, "id": 1}]
        case "two answers":
            return [answer, {**answer, "result": {"content": [{"type": "text", "text": "second"}]}}]
        case "no answer":
            return [progress(1)]
        case "result and error":
            return [{**answer, "error": {"code": 1, "message": "x"}}]
        case _:
            raise AssertionError(case)


@pytest.mark.parametrize("as_events", [False, True])
@pytest.mark.parametrize("case", ["another id", "number for our id", "result and error"])
def test_an_answer_that_is_not_ours_is_not_delivered(house: House, era: str, case: str, as_events: bool) -> None:
    """Attack I02."""

    async def script(seen: Seen, talk: Talk) -> None:
        (lie,) = lying(case, seen)
        if as_events:
            await talk.stream()
            await talk.event(lie)
            await talk.end()
        else:
            await talk.json(lie)

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert (reply.error["code"], reply.json()["id"]) == (5020, "mine")
    assert reply.status == (200 if as_events and reply.header("content-type") == "text/event-stream" else 502)
    record = house.gateway.record_of(reply.error["data"]["decision"], "outcome")
    assert record["outcome"] != "ok"


def test_only_the_first_answer_on_a_stream_is_delivered(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        for lie in lying("two answers", seen):
            await talk.event(lie)
        await talk.end()

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert b"second" not in reply.body
    answers = [json.loads(event["data"]) for event in read_events(reply.body) if "data" in event]
    assert [answer["result"]["content"][0]["text"] for answer in answers if "result" in answer] == ['{"text": "x"}']


def test_a_stream_that_ends_without_an_answer_is_told_as_such(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        for lie in lying("no answer", seen):
            await talk.event(lie)
        await talk.end()

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert (reply.json()["id"], reply.error["code"]) == ("mine", 5020)


def test_fields_of_the_upstream_do_not_reach_the_caller(house: House, era: str) -> None:
    """Attack I03."""
    dangerous = [
        "Set-Cookie",
        "Clear-Site-Data",
        "Strict-Transport-Security",
        "Access-Control-Allow-Origin",
        "Location",
    ]

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.json(result_for(seen), headers=[(name, "x") for name in dangerous])

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert reply.status == 200
    assert [name for name in dangerous if reply.all(name)] == []


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_of_the_upstream_is_not_followed(house: House, era: str, status: int) -> None:
    """Attack C12."""
    before = house.upstream.count

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.whole(b"", status=status, headers=[("Location", f"{house.upstream.url}/elsewhere")])

    with house.upstream.scripted(script):
        reply = house.gateway.post(asking(era), house.alice, era=era)
    assert (reply.status, reply.error["code"]) == (502, 5020)
    assert house.upstream.count == before + 1
