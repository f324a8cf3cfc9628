"""Session ids of the session era are our own, sealed, and bound to the principal."""

from pathlib import Path

import pytest
from tests.kit.caller import Caller
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Seen, Talk, Upstream, polite, result_for
from tests.kit.wire import http, message, tool_call


def call_in(house: House, session: str, token: str) -> tuple[int, dict[str, object]]:
    body = tool_call("echo", {"text": "x"}, era="session")
    reply = house.gateway.post(body, token, era="session", headers=[("Mcp-Session-Id", session)])
    return reply.status, {"error": reply.error.get("code"), "message": reply.error.get("message"), "body": reply.body}


def test_a_session_works_and_the_upstream_gets_its_own_id(house: House) -> None:
    session = house.gateway.open_session(house.alice)
    before = house.upstream.count
    assert call_in(house, session, house.alice)[0] == 200
    (seen,) = house.upstream.calls(before)
    upstream_id = seen.header("mcp-session-id")
    assert upstream_id is not None
    assert upstream_id.startswith("upstream-")
    assert upstream_id not in session


def test_a_foreign_session_is_answered_exactly_as_an_unknown_one(house: House) -> None:
    """Attack G01: nothing tells a stolen id from an invented one."""
    foreign = house.gateway.open_session(house.bot)
    last = foreign[-1]
    unknown = foreign[:-1] + ("A" if last != "A" else "B")
    before = house.upstream.bytes
    told = [call_in(house, session, house.alice) for session in (foreign, unknown, "made-up")]
    assert told[0][0] == 404
    assert told[0][1]["error"] == told[1][1]["error"] == told[2][1]["error"]
    assert told[0][1]["message"] == told[1][1]["message"] == told[2][1]["message"]
    assert house.upstream.bytes == before
    assert call_in(house, foreign, house.bot)[0] == 200


def test_a_session_is_bound_to_the_client_as_well(house: House) -> None:
    session = house.gateway.open_session(house.alice)
    other = house.issuer.token(client_id="another-program")
    assert call_in(house, session, other)[0] == 404
    assert call_in(house, session, house.issuer.token())[0] == 200


def test_a_session_id_does_not_tell_the_upstreams(house: House) -> None:
    first, second = (house.gateway.open_session(house.alice) for _ in range(2))
    assert first != second
    assert all(0x21 <= ord(char) <= 0x7E for char in first)
    assert len(first) >= 40


def test_ending_a_session_ends_it_upstream(house: House) -> None:
    session = house.gateway.open_session(house.alice)
    before = house.upstream.count
    with house.gateway.wire() as wire:
        fields = [
            ("Host", house.gateway.host),
            ("Authorization", f"Bearer {house.alice}"),
            ("Mcp-Session-Id", session),
            ("MCP-Protocol-Version", "2025-11-25"),
        ]
        reply = wire.ask(http("DELETE", "/mcp/notes", fields))
    assert reply.status in {200, 204}
    assert [seen.method for seen in house.upstream.seen[before:]] == ["DELETE"]


def test_a_session_id_on_a_stateless_request_changes_nothing(house: House) -> None:
    """Attack B08: never a weaker path; the field is ignored and does not travel."""
    before = house.upstream.count
    reply = house.gateway.call(
        "echo", {"text": "x"}, house.alice, headers=[("Mcp-Session-Id", "whatever"), ("Last-Event-ID", "7")]
    )
    if reply.status == 200:
        (seen,) = house.upstream.calls(before)
        assert (seen.header("mcp-session-id"), seen.header("last-event-id")) == (None, None)
    else:
        assert reply.status == 400
        assert house.upstream.count == before


@pytest.mark.parametrize("server", ["notes"])
def test_a_call_without_a_session_passes_if_the_upstream_takes_it(house: House, server: str) -> None:
    assert house.gateway.call("echo", {"text": "x"}, house.alice, era="session").status == 200


def test_a_session_has_a_stream_of_its_own_for_its_caller_alone(house: House) -> None:
    caller = house.caller("session")
    before = house.upstream.count
    with caller.listen() as feed:
        assert (feed.head.status, feed.head.header("content-type")) == (200, "text/event-stream")
    (seen,) = house.upstream.seen[before:]
    assert (seen.method, seen.header("accept"), seen.body) == ("GET", "text/event-stream", b"")
    assert (seen.header("mcp-session-id") or "").startswith("upstream-")
    foreign = Caller(gateway=house.gateway, token=house.bot, era="session", session=caller.session)
    with foreign.listen() as feed:
        assert feed.head.status == 404
    assert house.upstream.count == before + 1


def test_there_is_no_session_stream_in_the_stateless_era(house: House) -> None:
    before = house.upstream.bytes
    fields = [("Authorization", f"Bearer {house.alice}"), ("Accept", "text/event-stream")]
    reply = house.gateway.get("/mcp/notes", [*fields, ("MCP-Protocol-Version", "2026-07-28")])
    assert (reply.status, reply.header("allow")) == (405, "GET, POST, DELETE")
    assert house.upstream.bytes == before


def test_a_stream_is_only_for_those_who_accept_one(house: House) -> None:
    before = house.upstream.bytes
    for accept in ("application/json", "text/event-stream;q=0"):
        reply = house.gateway.get("/mcp/notes", [("Authorization", f"Bearer {house.alice}"), ("Accept", accept)])
        assert reply.status == 406
    assert house.upstream.bytes == before


def test_handles_outlive_a_restart(tmp_path: Path, issuer: Issuer) -> None:
    """Nothing of them is stored: what was sealed before is opened after."""

    async def paged(seen: Seen, talk: Talk) -> None:
        answer = result_for(seen) if seen.body else None
        if seen.rpc == "tools/list" and answer is not None:
            answer["result"]["nextCursor"] = "own-cursor"
            await talk.json(answer)
        elif seen.rpc == "tools/call" and seen.stateless and answer is not None:
            state = seen.message["params"].get("requestState")
            answer["result"] = answer["result"] if state else {"resultType": "input_required", "requestState": "own"}
            await talk.json(answer)
        else:
            await polite(seen, talk)

    issuer.write(tmp_path / "jwks.json")
    call = {"name": "echo", "arguments": {"text": "x"}}
    with Upstream() as upstream, upstream.scripted(paged):
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        with Gateway(tmp_path, config) as gateway:
            first, second = (Caller.arrive(gateway, issuer.token(), era) for era in ("session", "stateless"))
            cursor = first.say("tools/list", {}).json()["result"]["nextCursor"]
            state = second.say("tools/call", call).json()["result"]["requestState"]
            gateway.end()
            gateway.start()
            before = upstream.count
            assert first.say("tools/list", {"cursor": cursor}).status == 200
            assert second.say("tools/call", call | {"requestState": state}).json()["result"]["resultType"] == "complete"
            assert [seen.message["params"].get("cursor") for seen in upstream.seen[before:]] == ["own-cursor", None]


def test_a_ping_is_answered(house: House) -> None:
    session = house.gateway.open_session(house.alice)
    reply = house.gateway.post(
        message("ping", era="session", ident="p"), house.alice, era="session", headers=[("Mcp-Session-Id", session)]
    )
    assert (reply.status, reply.json()) == (200, {"jsonrpc": "2.0", "id": "p", "result": {}})
