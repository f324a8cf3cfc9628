"""The stream of a session (GET, up to 2025-11-25): what comes on it, where it goes on after a break, how it ends."""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.caller import Caller, Feed
from tests.kit.house import House
from tests.kit.streams import held
from tests.kit.upstream import Push, Seen, Talk, polite, result_for
from tests.kit.wire import message

A, PRIVATE = "file:///srv/docs/a.txt", "file:///srv/docs/private/key"
MARK = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "mark"}}


def notice(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    told: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    return told if params is None else told | {"params": params}


@contextlib.contextmanager
def listening(house: House, caller: Caller, last_event: str | None = None) -> Iterator[tuple[Push, Feed, Seen]]:
    """Open the caller's stream; the upstream answers other requests politely meanwhile."""
    with held(house.upstream, "session/stream", caller.listen(last_event)) as line:
        yield line


PASSED = [
    notice("notifications/tools/list_changed"),
    notice("notifications/prompts/list_changed", {}),
    notice("notifications/resources/list_changed"),
    notice("notifications/resources/updated", {"uri": A}),
    notice("notifications/message", {"level": "info", "logger": "x", "data": {"a": [1.50, 1e3]}}),
    notice("notifications/elicitation/complete", {"elicitationId": "e-1"}),
]
DROPPED = [
    notice("notifications/resources/updated", {"uri": PRIVATE}),
    notice("notifications/resources/updated", {"uri": "file:///etc/passwd"}),
    notice("notifications/resources/updated", {"uri": [A]}),
    notice("notifications/resources/updated"),
    notice("notifications/progress", {"progressToken": "nobody-gave-it", "progress": 1}),
    notice("notifications/cancelled", {"requestId": "nobody-asked"}),
    notice("notifications/tasks/status", {"taskId": "t"}),
    notice("notifications/subscriptions/acknowledged", {}),
    notice("notifications/initialized"),
    notice("notifications/made_up", {"x": 1}),
]


def test_notifications_pass_or_are_dropped_one_by_one(open_house: House) -> None:
    caller = open_house.caller("session")
    with listening(open_house, caller) as (push, feed, seen):
        assert (seen.header("mcp-session-id") or "").startswith("upstream-")
        for each in PASSED:
            push.event(each)
            assert feed.next() == each
        for each in DROPPED:
            push.event(each)
            push.event(MARK)
            assert feed.next() == MARK, each


def test_without_a_rule_for_resources_no_update_passes(house: House) -> None:
    with listening(house, house.caller("session")) as (push, feed, _):
        push.event(notice("notifications/resources/updated", {"uri": A}))
        push.event(MARK)
        assert feed.next() == MARK


def test_what_a_server_says_in_our_name_is_taken_out(open_house: House) -> None:
    with listening(open_house, open_house.caller("session")) as (push, feed, _):
        meta = {"dev.ostiary/decision": "x", "com.example/y": 1}
        push.event(notice("notifications/message", {"level": "info", "data": 1, "_meta": meta}))
        assert feed.next()["params"]["_meta"] == {"com.example/y": 1}


def test_progress_on_the_stream_is_for_requests_under_way(open_house: House) -> None:
    caller = open_house.caller("session")
    gate = open_house.upstream.gate()
    progress = notice("notifications/progress", {"progressToken": "p-1", "progress": 1})
    with listening(open_house, caller) as (push, feed, _):
        before, script = open_house.upstream.script, open_house.upstream.script

        async def slow(seen: Seen, talk: Talk) -> None:
            await gate.wait()
            await polite(seen, talk)

        async def either(seen: Seen, talk: Talk) -> None:
            await (slow if seen.rpc == "tools/call" else script)(seen, talk)

        push.event(progress)
        push.event(MARK)
        told = [feed.next()]
        open_house.upstream.script = either
        params = {"name": "echo", "arguments": {}, "_meta": {"progressToken": "p-1"}}
        calling = threading.Thread(target=caller.say, args=("tools/call", params))
        calling.start()
        assert gate.reached.wait(10)
        push.event(progress)
        push.event(MARK)
        told += [feed.next(), feed.next()]
        gate.open()
        calling.join()
        push.event(progress)
        push.event(MARK)
        told.append(feed.next())
        open_house.upstream.script = before
    assert told == [MARK, progress, MARK, MARK]


def test_another_sessions_progress_is_not_passed_on(open_house: House) -> None:
    alice, gate = open_house.caller("session"), open_house.upstream.gate()
    with listening(open_house, open_house.caller("session", open_house.bob)) as (push, feed, _):
        script = open_house.upstream.script

        async def either(seen: Seen, talk: Talk) -> None:
            if seen.rpc == "tools/call":
                await gate.wait()
                await polite(seen, talk)
            else:
                await script(seen, talk)

        open_house.upstream.script = either
        params = {"name": "echo", "arguments": {}, "_meta": {"progressToken": "p-1"}}
        calling = threading.Thread(target=alice.say, args=("tools/call", params))
        calling.start()
        assert gate.reached.wait(10)
        push.event(notice("notifications/progress", {"progressToken": "p-1", "progress": 1}))
        push.event(MARK)
        assert feed.next() == MARK
        gate.open()
        calling.join()


@pytest.mark.parametrize("upstream_id", ["event-7", "a b", "x" * 500, "\u00e9v\u00e8nement"])
def test_a_stream_goes_on_after_the_last_event_that_was_seen(open_house: House, upstream_id: str) -> None:
    caller = open_house.caller("session")
    with listening(open_house, caller) as (push, feed, _):
        push.event(MARK, extra=f"id: {upstream_id}\r\nretry: 250\r\n")
        event = feed.event()
        assert event is not None
        assert event["retry"] == "250"
        assert upstream_id not in event["id"]
        push.end()
        assert feed.event() is None
    with listening(open_house, caller, event["id"]) as (push, feed, seen):
        sent = (seen.header("last-event-id") or "").encode("latin-1").decode()
        assert sent == upstream_id
        push.event(MARK)
        assert feed.next() == MARK


def test_an_event_without_data_gives_a_place_to_go_on_from(open_house: House) -> None:
    """2025-11-25: a server primes a stream with an id and empty data."""
    caller = open_house.caller("session")
    with listening(open_house, caller) as (push, feed, _):
        push.chunk(b"id: e-1\nretry: 10\ndata:\n\n")
        event = feed.event()
        assert event is not None
        assert (event["data"], event["retry"]) == ("", "10")
    with listening(open_house, caller, event["id"]) as (_, _, seen):
        assert seen.header("last-event-id") == "e-1"


def test_a_place_that_is_not_the_callers_is_answered_like_an_unknown_one(open_house: House) -> None:
    alice, again = open_house.caller("session"), open_house.caller("session")
    bob = open_house.caller("session", open_house.bob)
    other = open_house.caller("session", server="files")
    with listening(open_house, alice) as (push, feed, _):
        push.event(MARK, extra="id: 7\r\n")
        event = feed.event()
        assert event is not None
    own = event["id"]
    flipped = own[:-1] + ("A" if own[-1] != "A" else "B")
    tried = [(alice, flipped), (alice, "7"), (alice, own + "AA"), (again, own), (bob, own), (other, own)]
    tried += [(alice, alice.session or "")]
    before, since = open_house.upstream.bytes, len(open_house.gateway.records())
    told = []
    for caller, place in tried:
        with caller.listen(place) as feed:
            told.append((feed.head.status, b"".join(feed.pieces)))
    assert [status for status, _ in told] == [400] * len(tried)
    assert len({body for _, body in told}) == 1
    assert open_house.upstream.bytes == before
    records = open_house.gateway.next_record(since, "deny", count=len(tried))
    assert {(record["reason"], record["mcp_method"]) for record in records} == {("session", "session/stream")}


def test_an_answer_comes_by_the_stream_of_the_session_once_its_own_has_ended(open_house: House) -> None:
    """2025-11-25, Resumability: the server closes the stream of a call, and its client goes on by GET."""
    caller = open_house.caller("session")
    sent: list[Seen] = []

    async def closes(seen: Seen, talk: Talk) -> None:
        sent.append(seen)
        await talk.stream()
        await talk.chunk(b"id: e-1\nretry: 10\ndata:\n\n")
        await talk.end()

    since = len(open_house.gateway.records())
    call = {"name": "echo", "arguments": {"text": "x"}}
    with open_house.upstream.scripted(closes), caller.stream("tools/call", call, ident="mine") as feed:
        event = feed.event()
        assert event is not None
        assert feed.event() is None
    (intent,) = open_house.gateway.next_record(since, "intent")
    assert open_house.gateway.record_of(intent["id"], "outcome")["outcome"] == "detached"
    with listening(open_house, caller, event["id"]) as (push, feed, seen):
        assert seen.header("last-event-id") == "e-1"
        push.event(result_for(sent[0]))
        told = feed.next()
        assert (told["id"], told["result"]["content"][0]["text"]) == ("mine", '{"text": "x"}')
        assert feed.next() is None


def test_progress_and_cancelling_go_on_after_a_break(open_house: House) -> None:
    caller = open_house.caller("session")
    sent: list[Seen] = []

    async def closes(seen: Seen, talk: Talk) -> None:
        sent.append(seen)
        await talk.stream()
        await talk.chunk(b"id: e-1\ndata:\n\n")
        await talk.end()

    call = {"name": "echo", "arguments": {}, "_meta": {"progressToken": "p-1"}}
    with open_house.upstream.scripted(closes), caller.stream("tools/call", call, ident="mine") as feed:
        event = feed.event()
        assert event is not None
    with listening(open_house, caller, event["id"]) as (push, feed, _):
        for token in ("p-2", "p-1"):
            push.event(notice("notifications/progress", {"progressToken": token, "progress": 1}))
        push.event(MARK)
        assert feed.next() == notice("notifications/progress", {"progressToken": "p-1", "progress": 1})
        before = open_house.upstream.count
        assert caller.say("notifications/cancelled", {"requestId": "mine"}, ident=None).status == 202
        (told,) = open_house.upstream.seen[before:]
        assert told.message["params"] == {"requestId": sent[0].message["id"]}


def test_an_event_id_that_nobody_could_send_back_is_not_given_out(open_house: House) -> None:
    caller = open_house.caller("session")
    with listening(open_house, caller) as (push, feed, _):
        push.event(MARK, extra=f"id: {'x' * 100_000}\r\n")
        push.event(MARK)
        while (event := feed.event()) is not None and "id" not in event:
            push.end()
        assert event is None


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list"])
def test_a_list_that_comes_late_is_filtered_all_the_same(open_house: House, method: str) -> None:
    caller = open_house.caller("session")
    sent: list[Seen] = []

    async def closes(seen: Seen, talk: Talk) -> None:
        sent.append(seen)
        await talk.stream()
        await talk.chunk(b"id: e-1\ndata:\n\n")
        await talk.end()

    with open_house.upstream.scripted(closes), caller.stream(method, {}, ident=9) as feed:
        event = feed.event()
        assert event is not None
    with listening(open_house, caller, event["id"]) as (push, feed, _):
        push.event(result_for(sent[0]))
        told = feed.next()
    assert told["id"] == 9
    for kept_back in ("secret-plan", "passwd", "private", "hidden"):
        assert kept_back not in str(told)


def test_only_the_answer_that_is_waited_for_comes_by_a_resumed_stream(open_house: House) -> None:
    caller = open_house.caller("session")

    async def closes(_: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.chunk(b"id: e-1\ndata:\n\n")
        await talk.end()

    with open_house.upstream.scripted(closes), caller.stream("tools/call", {"name": "echo"}) as feed:
        event = feed.event()
        assert event is not None
    since = len(open_house.gateway.records())
    with listening(open_house, caller, event["id"]) as (push, feed, _):
        push.event({"jsonrpc": "2.0", "id": "someone-elses", "result": {"content": []}})
        assert [told for told in feed.rest() if "result" in told] == []
    assert open_house.gateway.end_of("session/stream", since) == "upstream"


@pytest.mark.parametrize("ident", [1, "1", "x", None])
def test_an_answer_on_a_stream_that_waits_for_none_ends_it(open_house: House, ident: Any) -> None:
    since = len(open_house.gateway.records())
    with listening(open_house, open_house.caller("session")) as (push, feed, _):
        push.event({"jsonrpc": "2.0", "id": ident, "result": {"content": [{"type": "text", "text": "evil"}]}})
        assert feed.rest() == []
    assert open_house.gateway.end_of("session/stream", since) == "upstream"


NO_STREAM = {405: 405, 404: 404, 409: 409, 400: 400, 401: 400, 403: 400, 406: 400, 429: 400, 500: 502, 302: 502}


@pytest.mark.parametrize(("status", "told"), NO_STREAM.items())
def test_a_server_without_a_stream_says_so(open_house: House, status: int, told: int) -> None:
    caller = open_house.caller("session")

    async def script(_: Seen, talk: Talk) -> None:
        await talk.whole(
            b"secret", status=status, content_type="text/plain", headers=[("Location", "http://evil.test")]
        )

    since = len(open_house.gateway.records())
    with open_house.upstream.scripted(script), caller.listen() as feed:
        assert feed.head.status == told
        assert feed.head.header("location") is None
        assert b"secret" not in b"".join(feed.pieces)
    assert open_house.gateway.end_of("session/stream", since) in {"error", "upstream"}


@pytest.mark.parametrize("content_type", ["application/json", "text/html"])
def test_a_stream_that_is_none_is_a_502(open_house: House, content_type: str) -> None:
    caller = open_house.caller("session")

    async def script(_: Seen, talk: Talk) -> None:
        await talk.whole(b"{}", content_type=content_type)

    with open_house.upstream.scripted(script), caller.listen() as feed:
        assert feed.head.status == 502


def test_someone_for_whom_nothing_is_allowed_has_no_stream(open_house: House) -> None:
    stranger = open_house.issuer.token(sub="eve@example.com", groups=["sales"])
    before, since = open_house.upstream.bytes, len(open_house.gateway.records())
    with Caller(gateway=open_house.gateway, token=stranger, era="session").listen() as feed:
        assert feed.head.status == 403
    assert open_house.upstream.bytes == before
    (record,) = open_house.gateway.next_record(since, "deny")
    assert (record["reason"], record["mcp_method"]) == ("no_rule", "session/stream")


def test_a_client_that_leaves_closes_the_stream_upstream(open_house: House) -> None:
    caller = open_house.caller("session")
    open_house.upstream.forget_hang_ups()
    since = len(open_house.gateway.records())
    with listening(open_house, caller) as (push, feed, _):
        push.event(MARK)
        assert feed.next() == MARK
    assert open_house.upstream.hang_ups.acquire(timeout=10)
    assert open_house.gateway.end_of("session/stream", since) == "cancelled"


def test_a_server_that_leaves_closes_the_stream_of_its_client(open_house: House) -> None:
    caller = open_house.caller("session")
    since = len(open_house.gateway.records())

    async def script(_: Seen, talk: Talk) -> None:
        await talk.stream()
        await talk.event(MARK)
        talk.hang_up()

    with open_house.upstream.scripted(script), caller.listen() as feed:
        assert feed.rest() == [MARK]
    assert open_house.gateway.end_of("session/stream", since) == "upstream"


def test_a_session_that_the_server_has_ended_is_unknown(open_house: House) -> None:
    caller = open_house.caller("session")

    async def script(_: Seen, talk: Talk) -> None:
        await talk.whole(b"", status=404)

    with open_house.upstream.scripted(script):
        reply = caller.post(message("ping", era="session"))
    assert (reply.status, reply.error["data"]["reason"]) == (404, "session")
