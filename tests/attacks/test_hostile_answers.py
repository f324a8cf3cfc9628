"""Known attacks by servers, as data: each is contained, recorded, and reaches its caller in one form or not at all."""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, result_for
from tests.kit.wire import Reply, read_events

CASES = json.loads((Path(__file__).parent / "answers" / "cases.json").read_text())
BOTH = ["session", "stateless"]
CALL: list[Any] = ["tools/call", {"name": "echo", "arguments": {"text": "x"}}]
EVIL = b"evil-payload"
#: Compressed texts for `$Z` (a bomb) and `$D`; `$N` is their length.
PACKED = {b"$Z": gzip.compress(b"0" * (8 << 20)), b"$D": zlib.compress(b'"evil-payload"')}
#: The fields of an answer that are our own.
OWN = {"content-type", "cache-control", "content-length", "transfer-encoding", "date", "x-accel-buffering"}
IN_ERAS = [pytest.param(case, era, id=f"{case['id']}-{era}") for case in CASES for era in case.get("eras", BOTH)]


def bytes_of(text: Any, seen: Seen) -> bytes:
    """Return what a case says, with the id of the request and a polite result in the places for them."""
    data = b"".join(map(piece, text if isinstance(text, list) else [text]))
    for mark, packed in PACKED.items():
        if data.endswith(mark):
            return data.removesuffix(mark).replace(b"$N", str(len(packed)).encode()) + packed
    result = json.dumps(result_for(seen)).encode()
    return data.replace(b"$ID", json.dumps(seen.message["id"]).encode()).replace(b"$RESULT", result)


def piece(part: Any) -> bytes:
    if isinstance(part, str):
        return part.encode()
    return bytes.fromhex(part["hex"]) if "hex" in part else part["repeat"].encode() * int(part["times"])


async def send(answer: dict[str, Any], seen: Seen, talk: Talk) -> None:
    if "raw" in answer:
        await talk.raw(bytes_of(answer["raw"], seen))
        talk.hang_up()
    elif "body" in answer:
        await talk.whole(bytes_of(answer["body"], seen), headers=answer.get("headers", []))
    else:
        await talk.stream()
        event = b"event: message\ndata: " + bytes_of(answer.get("event", ""), seen) + b"\n\n"
        await talk.chunk(bytes_of(answer["events"], seen) if "events" in answer else event)
        await talk.end()


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    names = [case["id"] for case in CASES]
    assert len(names) == len(set(names))
    assert [case["id"] for case in CASES if not (case["source"] and case["why"])] == []


@pytest.mark.parametrize(("case", "era"), IN_ERAS)
def test_a_hostile_answer_is_contained(case: dict[str, Any], era: str, house: House) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await send(case["answer"], seen, talk)

    must = case["must"]
    method, params = case.get("asked", CALL)
    caller = Caller(gateway=house.gateway, token=house.alice, era=era)
    since, before = len(house.gateway.records()), house.upstream.count
    with house.upstream.scripted(script):
        reply = caller.say(method, params, ident="mine")
    assert house.upstream.count - before == must["upstream_calls"], "what may have run is never sent again"
    told = messages(reply)
    assert [each["id"] for each in told if "id" in each] == ["mine"]
    assert told[-1].get("error", {}).get("code") == must["code"]
    assert EVIL not in reply.body
    assert {name.lower() for name, _ in reply.headers} <= OWN
    assert must["recorded"]
    assert house.gateway.end_of(method, since) == must["outcome"]
    if must.get("result"):
        assert told[-1]["result"]["content"][0]["text"] == '{"text": "x"}'
    if "text" in must:
        assert told[-1]["result"]["content"][0]["text"] == json.loads(f'"{must["text"]}"')
    if "tools" in must:
        assert [tool["name"] for tool in told[-1]["result"]["tools"]] == must["tools"]
    assert caller.say(*CALL, ident="next").json()["result"]["content"][0]["text"] == '{"text": "x"}'


def messages(reply: Reply) -> list[Any]:
    """Every JSON-RPC message of an answer; an event has no fields but those that are made here."""
    if not (reply.header("content-type") or "").startswith("text/event-stream"):
        return [json.loads(reply.body)]
    events = read_events(reply.body)
    assert all(set(event) <= {"event", "data", "id", "retry"} for event in events)
    return [json.loads(event["data"]) for event in events if event.get("data")]
