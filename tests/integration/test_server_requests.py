"""What a server asks of its client (up to 2025-11-25): decided like any other request, answered once, by its client."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit.caller import Caller, Feed
from tests.kit.house import House
from tests.kit.streams import MARK, held
from tests.kit.upstream import Push, Seen, Talk, result_for
from tests.kit.wire import wait_until

CALL = {"name": "echo", "arguments": {"text": "x"}, "_meta": {"progressToken": "p-1"}}
SAMPLING = {"messages": [{"role": "user", "content": {"type": "text", "text": "hi"}}], "maxTokens": 100}
FORM = {"mode": "form", "message": "who?", "requestedSchema": {"type": "object", "properties": {}}}
SIGN_IN = {"mode": "url", "message": "sign in", "url": "https://accounts.example.com/x", "elicitationId": "e-1"}
PLACES = ["call", "session"]


@dataclass
class Scene:
    """A session with a stream on which its server can ask; `post` is the answer to its client's answers."""

    house: House
    caller: Caller
    push: Push
    feed: Feed
    call: Seen
    since: int

    def ask(self, method: str, params: Any = ..., *, ident: Any = "s-1") -> None:
        body = {"jsonrpc": "2.0", "id": ident, "method": method}
        self.push.event(body if params is ... else body | {"params": params})

    def asked(self, method: str, params: Any = ..., *, ident: Any = "s-1") -> Any:
        """Ask, and return what the client is asked."""
        self.ask(method, params, ident=ident)
        return self.feed.next()

    def marked(self) -> Any:
        """Send an event that passes, and return what the client gets next."""
        self.push.event(MARK)
        return self.feed.next()

    @property
    def told(self) -> list[dict[str, Any]]:
        """The answers that reached the server."""
        sent = self.house.upstream.seen[self.since :]
        answers = [seen for seen in sent if seen.body and seen.rpc is None]
        return [seen.message for seen in answers if seen.header("mcp-session-id") == self.session]

    @property
    def session(self) -> str | None:
        """The session as the server knows it."""
        return self.call.header("mcp-session-id")

    def records(self, kind: str, method: str) -> list[dict[str, Any]]:
        """Wait for the records of `kind` about what the server asked."""

        def found() -> list[dict[str, Any]]:
            return [
                each
                for each in self.house.gateway.records()[self.records_since :]
                if each["kind"] == kind and each["mcp_method"] == method
            ]

        return wait_until(found, what=f"a record of {method}")

    records_since: int = 0


@contextlib.contextmanager
def asking(house: House, place: str, *, token: str | None = None, server: str = "notes") -> Iterator[Scene]:
    """Open a stream in a session of its own: that of a call, or that of the session."""
    caller = house.caller("session", token, server=server)
    method, opening = {
        "call": ("tools/call", caller.stream("tools/call", CALL, ident="mine")),
        "session": ("session/stream", caller.listen()),
    }[place]
    count, records = house.upstream.count, len(house.gateway.records())
    with held(house.upstream, method, opening) as (push, feed, seen):
        yield Scene(house, caller, push, feed, seen, count, records)


ALLOWED = [
    ("sampling/createMessage", SAMPLING),
    ("elicitation/create", FORM),
    ("elicitation/create", SIGN_IN),
    ("elicitation/create", FORM | {"_meta": {"progressToken": 5}}),
]
IDENTS: list[Any] = ["s-1", 1, 0, -7, "1", "\u00e9 \n\u2028"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", range(len(ALLOWED)))
def test_what_a_rule_allows_is_asked_under_our_id_and_answered_under_theirs(
    open_house: House, place: str, row: int
) -> None:
    method, params = ALLOWED[row]
    with asking(open_house, place) as scene:
        asked = scene.asked(method, params)
        assert (asked["method"], asked["params"]) == (method, params)
        assert asked["id"] not in {"s-1", "mine"}
        answer = {"action": "accept", "content": {"n": 1.50, "who": "\u00e9"}}
        reply = scene.caller.answer(asked["id"], answer)
        assert (reply.status, reply.body) == (202, b"")
        (told,) = scene.told
        assert told == {"jsonrpc": "2.0", "id": "s-1", "result": answer}
        (intent,) = scene.records("intent", method)
        assert (intent["decision"], intent["action"]) == ("allow", "read")
        assert intent["tool"] == ("echo" if place == "call" else None)
        assert open_house.gateway.record_of(intent["id"], "outcome")["outcome"] == "ok"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("ident", IDENTS)
def test_a_server_gets_the_very_id_that_it_gave(open_house: House, place: str, ident: Any) -> None:
    with asking(open_house, place) as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING, ident=ident)
        assert scene.caller.answer(asked["id"], {"role": "assistant"}).status == 202
        (told,) = scene.told
        assert (told["id"], type(told["id"])) == (ident, type(ident))


def test_two_questions_of_one_id_each_get_their_answer(open_house: House) -> None:
    """`1` and `"1"` are two ids, and sessions do not share them."""
    with asking(open_house, "call") as first, asking(open_house, "call", token=open_house.bob) as second:
        ids = [first.asked("sampling/createMessage", SAMPLING, ident=ident)["id"] for ident in (1, "1")]
        ids.append(second.asked("sampling/createMessage", SAMPLING, ident=1)["id"])
        assert len(set(ids)) == 3
        assert second.caller.answer(ids[2], {"from": "bob"}).status == 202
        assert first.caller.answer(ids[1], {"from": "text"}).status == 202
        assert first.caller.answer(ids[0], {"from": "number"}).status == 202
        assert [(told["id"], told["result"]["from"]) for told in second.told] == [(1, "bob")]
        assert [(type(told["id"]), told["result"]["from"]) for told in first.told] == [(str, "text"), (int, "number")]


def test_an_error_of_the_client_reaches_the_server(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        assert scene.caller.answer(asked["id"], code=-1, message="the user said no", data={"x": 1}).status == 202
        error = {"code": -1, "message": "the user said no", "data": {"x": 1}}
        assert scene.told == [{"jsonrpc": "2.0", "id": "s-1", "error": error}]


def test_what_a_client_says_in_our_name_is_taken_out(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        meta = {"dev.ostiary/decision": "allow", "com.example/x": 1}
        assert scene.caller.answer(asked["id"], {"_meta": meta}).status == 202
        assert scene.told[0]["result"] == {"_meta": {"com.example/x": 1}}


@pytest.mark.parametrize("place", PLACES)
def test_a_question_is_answered_once(open_house: House, place: str) -> None:
    with asking(open_house, place) as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        assert scene.caller.answer(asked["id"], {}).status == 202
        since = len(open_house.gateway.records())
        reply = scene.caller.answer(asked["id"], {"again": True})
        assert (reply.status, reply.error["data"]["reason"]) == (400, "not_open")
        assert len(scene.told) == 1
        (record,) = open_house.gateway.next_record(since, "deny")
        assert (record["reason"], record["mcp_method"]) == ("not_open", "response")


def test_only_the_client_that_was_asked_can_answer(open_house: House) -> None:
    """Another principal, another session of the same, another program, another server: all as if nothing was asked."""
    house = open_house
    with asking(house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        others = {
            "another principal": house.caller("session", house.bob),
            "another session": house.caller("session"),
            "another program": house.caller("session", house.issuer.token(client_id="another-program")),
            "another server": house.caller("session", server="files"),
            "no session": Caller(gateway=house.gateway, token=house.alice, era="session"),
        }
        told = {}
        for who, other in others.items():
            reply = other.answer(asked["id"], {"evil": True})
            told[who] = (reply.status, reply.error["code"], reply.error["message"], reply.error["data"]["reason"])
            made_up = other.answer("01930b7e-0000-7000-8000-000000000000", {"evil": True})
            assert told[who] == (made_up.status, made_up.error["code"], made_up.error["message"], "not_open")
        assert set(told.values()) == {(400, -32600, told["no session"][2], "not_open")}
        stolen = Caller(gateway=house.gateway, token=house.bob, era="session", session=scene.caller.session)
        assert stolen.answer(asked["id"], {"evil": True}).status == 404
        assert scene.told == []
        assert scene.caller.answer(asked["id"], {}).status == 202
        assert len(scene.told) == 1


def test_a_client_answers_with_a_token_that_is_newer_than_the_question(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        scene.caller.token = open_house.issuer.token()
        assert scene.caller.answer(asked["id"], {}).status == 202
        assert len(scene.told) == 1


def test_of_many_answers_at_once_one_arrives(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        line, statuses = threading.Barrier(8), list[int]()

        def answer(number: int) -> None:
            line.wait(10)
            statuses.append(scene.caller.answer(asked["id"], {"number": number}).status)

        threads = [threading.Thread(target=answer, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [202] + [400] * 7
        assert len(scene.told) == 1


def test_64_questions_wait_and_the_oldest_gives_way(open_house: House) -> None:
    with asking(open_house, "session") as scene:
        ids = [scene.asked("sampling/createMessage", SAMPLING, ident=number)["id"] for number in range(65)]
        assert len(set(ids)) == 65
        assert scene.caller.answer(ids[0], {}).error["data"]["reason"] == "not_open"
        assert scene.caller.answer(ids[1], {}).status == 202
        assert scene.caller.answer(ids[64], {}).status == 202
        assert [told["id"] for told in scene.told] == [1, 64]
        (first, *_) = scene.records("intent", "sampling/createMessage")
        assert open_house.gateway.record_of(first["id"], "outcome")["outcome"] == "cancelled"


UNASKED: list[Any] = ["s-1", "mine", 1, "", None, 1.5, {"a": 1}, "x" * 2000]


@pytest.mark.parametrize("ident", UNASKED)
def test_an_answer_to_nothing_is_refused(open_house: House, ident: Any) -> None:
    """Attack A06: nor can the server's own id, or that of the client's call, be used."""
    with asking(open_house, "call") as scene:
        assert scene.asked("sampling/createMessage", SAMPLING)["method"] == "sampling/createMessage"
        reply = scene.caller.answer(ident, {"evil": True})
        assert (reply.status, reply.error["code"]) == (400, -32600)
        assert scene.told == []


REFUSED = [
    ("roots/list", ..., "no_rule"),
    ("roots/list", {}, "no_rule"),
    ("sampling/createMessage", SAMPLING | {"maxTokens": 100_000}, "denied_by_rule"),
    ("sampling/createMessage", SAMPLING | {"maxTokens": "100000"}, "denied_by_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://evil.test/accounts.example.com"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://accounts.example.com.evil.test/"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://accounts.example.com@evil.test/"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://evil.test\\@accounts.example.com/"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://ACCOUNTS.example.com/"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "https://accounts.example.com./"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "javascript://accounts.example.com/%0aalert(1)"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": "file://accounts.example.com/etc"}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": ["https://accounts.example.com/", "https://evil.test/"]}, "no_rule"),
    ("elicitation/create", SIGN_IN | {"url": 7}, "no_rule"),
    ("elicitation/create", {"message": "who?"}, "no_rule"),
    ("elicitation/create", ..., "no_rule"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("row", range(len(REFUSED)))
def test_what_no_rule_allows_is_answered_for_the_client(open_house: House, place: str, row: int) -> None:
    method, params, reason = REFUSED[row]
    with asking(open_house, place) as scene:
        scene.ask(method, params, ident=7)
        assert scene.marked() == MARK
        (told,) = wait_until(lambda: scene.told, what="the refusal")
        assert (told["id"], told["error"]["code"]) == (7, 4030)
        assert "dev-" not in told["error"]["message"]
        assert "little" not in told["error"]["message"]
        (record,) = scene.records("deny", method)
        assert (record["reason"], record["decision"], record["server"]) == (reason, "deny", "notes")
        assert record["principal"]["id"] == "human:corp:alice@example.com"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("method", ["tools/call", "tasks/get", "sampling/CreateMessage", "roots/list ", "x"])
def test_what_nobody_may_ask_is_an_unknown_method(open_house: House, place: str, method: str) -> None:
    with asking(open_house, place) as scene:
        scene.ask(method, {"name": "delete_file", "arguments": {}})
        assert scene.marked() == MARK
        (told,) = wait_until(lambda: scene.told, what="the refusal")
        assert (told["id"], told["error"]["code"]) == ("s-1", -32601)
        assert scene.records("deny", method)[0]["reason"] == "unknown_method"


@pytest.mark.parametrize("place", PLACES)
def test_a_ping_of_the_server_is_answered_here(open_house: House, place: str) -> None:
    with asking(open_house, place) as scene:
        scene.ask("ping", ident=3)
        assert scene.marked() == MARK
        assert wait_until(lambda: scene.told, what="the pong") == [{"jsonrpc": "2.0", "id": 3, "result": {}}]


@pytest.mark.parametrize("ident", [None, 1.5, True, [1], {}, 2**70, "x" * 2000])
def test_a_question_whose_id_is_none_ends_the_stream(open_house: House, ident: Any) -> None:
    with asking(open_house, "call") as scene:
        scene.ask("sampling/createMessage", SAMPLING, ident=ident)
        (told,) = scene.feed.rest()
        assert (told["id"], told["error"]["code"]) == ("mine", 5020)


@pytest.mark.parametrize("method", ["ping", "roots/list", "made/up"])
def test_a_server_that_does_not_stop_asking_is_left(open_house: House, method: str) -> None:
    with asking(open_house, "call") as scene:
        question = f'data: {{"jsonrpc":"2.0","id":1,"method":"{method}"}}\n\n'.encode()
        scene.push.chunk(question * (5_000 if method == "ping" else 200))
        (told,) = scene.feed.rest()
        assert (told["id"], told["error"]["code"]) == ("mine", 5020)


def test_the_call_goes_on_after_the_question(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("elicitation/create", FORM)
        assert scene.caller.answer(asked["id"], {"action": "decline"}).status == 202
        scene.push.event(result_for(scene.call))
        assert scene.feed.next()["id"] == "mine"
        scene.push.end()
        assert scene.feed.next() is None
        assert scene.caller.answer(asked["id"], {"action": "accept"}).status == 400


def test_a_server_can_withdraw_its_question(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING, ident=4)
        about = {"requestId": 4, "reason": "late"}
        scene.push.event({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": about})
        told = scene.feed.next()
        assert told["params"] == {"requestId": asked["id"], "reason": "late"}
        reply = scene.caller.answer(asked["id"], {})
        assert (reply.status, reply.error["data"]["reason"]) == (400, "not_open")
        assert scene.told == []
        (intent,) = scene.records("intent", "sampling/createMessage")
        assert open_house.gateway.record_of(intent["id"], "outcome")["outcome"] == "cancelled"


def test_a_server_cannot_withdraw_what_another_session_was_asked(open_house: House) -> None:
    with asking(open_house, "call") as first, asking(open_house, "call", token=open_house.bob) as second:
        asked = first.asked("sampling/createMessage", SAMPLING, ident=4)
        for about in (4, asked["id"]):
            params = {"requestId": about}
            second.push.event({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert second.marked() == MARK
        assert first.caller.answer(asked["id"], {}).status == 202


def sent(house: House, since: int, method: str) -> list[dict[str, Any]]:
    return [seen.message for seen in house.upstream.seen[since:] if seen.body and seen.rpc == method]


def test_a_client_cancels_its_call_under_the_id_that_the_server_knows(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        reply = scene.caller.say("notifications/cancelled", {"requestId": "mine", "reason": "enough"}, ident=None)
        assert (reply.status, reply.body) == (202, b"")
        (note,) = sent(open_house, scene.since, "notifications/cancelled")
        assert note["params"] == {"requestId": scene.call.message["id"], "reason": "enough"}


@pytest.mark.parametrize("about", ["other", 7, "theirs"])
def test_a_client_cannot_cancel_what_is_not_its_own(open_house: House, about: Any) -> None:
    with asking(open_house, "call") as scene, asking(open_house, "session", token=open_house.bob) as bob:
        about = scene.call.message["id"] if about == "theirs" else about
        for caller, name in ((bob.caller, "mine"), (scene.caller, about), (bob.caller, about)):
            since = len(open_house.gateway.records())
            reply = caller.say("notifications/cancelled", {"requestId": name}, ident=None)
            assert (reply.status, reply.body) == (202, b"")
            assert open_house.gateway.next_record(since, "deny")[0]["reason"] == "not_open"
        assert sent(open_house, scene.since, "notifications/cancelled") == []


def test_progress_passes_both_ways(open_house: House) -> None:
    with asking(open_house, "call") as scene:
        scene.asked("sampling/createMessage", SAMPLING | {"_meta": {"progressToken": 5}})
        step = {"progressToken": 5, "progress": 0.5, "total": 1}
        assert scene.caller.say("notifications/progress", step, ident=None).status == 202
        (note,) = sent(open_house, scene.since, "notifications/progress")
        assert note["params"] == step
        told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "p-1", "progress": 1}}
        scene.push.event(told)
        assert scene.feed.next() == told


def test_a_client_tells_of_progress_only_where_it_was_asked_to(open_house: House) -> None:
    with asking(open_house, "call") as scene, asking(open_house, "session", token=open_house.bob) as bob:
        scene.asked("sampling/createMessage", SAMPLING | {"_meta": {"progressToken": 5}})
        for caller, token in ((scene.caller, "5"), (scene.caller, 6), (scene.caller, "p-1"), (bob.caller, 5)):
            step = {"progressToken": token, "progress": 1}
            assert caller.say("notifications/progress", step, ident=None).status == 202
        assert sent(open_house, scene.since, "notifications/progress") == []


def test_a_client_says_that_its_roots_have_changed(open_house: House) -> None:
    caller, before = open_house.caller("session"), open_house.upstream.count
    assert caller.say("notifications/roots/list_changed", ident=None).status == 202
    assert len(sent(open_house, before, "notifications/roots/list_changed")) == 1


def test_the_end_of_a_session_ends_its_questions(open_house: House) -> None:
    with asking(open_house, "session") as scene:
        asked = scene.asked("sampling/createMessage", SAMPLING)
        assert scene.caller.leave().status == 204
        reply = scene.caller.answer(asked["id"], {})
        assert (reply.status, reply.error["data"]["reason"]) == (400, "not_open")
        assert scene.told == []


LINKS = [
    (["https://accounts.example.com/a"], -32042),
    (["https://accounts.example.com/a", "https://accounts.example.com/b"], -32042),
    (["https://evil.test/a"], 4030),
    (["https://accounts.example.com/a", "https://evil.test/b"], 4030),
]


@pytest.mark.parametrize("as_events", [False, True])
@pytest.mark.parametrize(("urls", "code"), LINKS)
def test_an_error_that_sends_the_user_somewhere_asks_for_it_too(
    open_house: House, era: str, urls: list[str], code: int, as_events: bool
) -> None:
    """2025-11-25, Elicitation: -32042 holds links that the client shows its user."""

    async def script(seen: Seen, talk: Talk) -> None:
        listed = [SIGN_IN | {"url": url} for url in urls]
        error = {"code": -32042, "message": "sign in first", "data": {"elicitations": listed}}
        told = {"jsonrpc": "2.0", "id": seen.message["id"], "error": error}
        if as_events:
            await talk.stream()
            await talk.event(told)
            await talk.end()
        else:
            await talk.json(told)

    caller = open_house.caller(era)
    since = len(open_house.gateway.records())
    with open_house.upstream.scripted(script):
        reply = caller.say("tools/call", CALL, ident="mine")
    assert (reply.status, reply.error["code"], reply.json()["id"]) == (200, code, "mine")
    if code == 4030:
        assert b"evil.test" not in reply.body
        (record,) = open_house.gateway.next_record(since, "deny")
        assert (record["reason"], record["mcp_method"]) == ("no_rule", "elicitation/create")
    else:
        assert [each["url"] for each in reply.error["data"]["elicitations"]] == urls


@pytest.mark.parametrize("data", [None, {}, {"elicitations": {}}, {"elicitations": ["https://evil.test"]}])
def test_such_an_error_without_links_that_can_be_read_is_nonsense(open_house: House, era: str, data: Any) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        error = {"code": -32042, "message": "sign in", "data": data}
        await talk.json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error})

    caller = open_house.caller(era)
    with open_house.upstream.scripted(script):
        reply = caller.say("tools/call", CALL)
    assert (reply.status, reply.error["code"]) == (502, 5020)
    assert b"evil" not in reply.body


def test_an_agent_is_asked_nothing_that_no_rule_says_of_it(open_house: House) -> None:
    with asking(open_house, "call", token=open_house.bot) as scene:
        scene.ask("sampling/createMessage", SAMPLING)
        assert scene.marked() == MARK
        (told,) = wait_until(lambda: scene.told, what="the refusal")
        assert told["error"]["code"] == 4030
