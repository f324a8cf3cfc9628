"""Handles in the wrong hands: each is answered exactly as one that never was, recorded, and kept from the upstream."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.house import House
from tests.kit.upstream import Seen, Talk, polite, result_for
from tests.kit.wire import Reply, message

CASES = json.loads((Path(__file__).parent / "handles" / "cases.json").read_text())
BOTH = ["session", "stateless"]
CALL = {"name": "echo", "arguments": {"text": "x"}}
INVENTED = "dGhpcy1uZXZlci13YXMtYS1oYW5kbGUtb2Ytb3Vycy1hbmQtbmV2ZXItd2lsbC1iZQ"
MARK = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "mark"}}
OWN_EVENT, OWN_QUESTION = "event-1", "question-1"
SAMPLING = {"jsonrpc": "2.0", "id": OWN_QUESTION, "method": "sampling/createMessage", "params": {"maxTokens": 1}}


async def generous(seen: Seen, talk: Talk) -> None:
    """Give out a handle of every kind: cursors, states, events, questions."""
    answer = result_for(seen) if seen.body else None
    if seen.method == "GET":
        await talk.stream()
        await talk.event(MARK, extra=f"id: {OWN_EVENT}\r\n")
        await talk.event(SAMPLING)
        await talk.until_left()
    elif seen.rpc == "tools/call" and seen.stateless and "requestState" not in seen.message["params"] and answer:
        answer["result"] = {"resultType": "input_required", "requestState": "own-state"}
        await talk.json(answer)
    elif (seen.rpc or "").endswith("/list") and answer:
        answer["result"]["nextCursor"] = "own-cursor"
        await talk.json(answer)
    else:
        await polite(seen, talk)


class Victim:
    """Alice, who was given a handle of every kind that her era has."""

    def __init__(self, house: House, era: str) -> None:
        self.house, self.era = house, era
        before = house.upstream.count
        self.caller = house.caller(era)
        self.handles = {"cursor": self.caller.say("prompts/list", {}).json()["result"]["nextCursor"]}
        self.own = {"cursor": "own-cursor", "event": OWN_EVENT, "question": OWN_QUESTION}
        if era == "session":
            self.handles["session"] = self.caller.session or ""
            sent = [seen.header("mcp-session-id") for seen in house.upstream.seen[before:]]
            self.own["session"] = next(each for each in sent if each)
            with self.caller.listen() as feed:
                self.handles["event"] = (feed.event() or {})["id"]
                self.handles["question"] = feed.next()["id"]
        else:
            self.handles["state"] = self.caller.say("tools/call", CALL).json()["result"]["requestState"]

    def presenter(self, who: str) -> Caller:
        """Return who presents the handle; everybody has a session of their own where there are sessions."""
        house = self.house
        tokens: dict[str, Callable[[], str]] = {
            "another-person": lambda: house.bob,
            "another-program": lambda: house.issuer.token(client_id="another-program"),
            "agent": lambda: house.bot,
            "stranger": lambda: house.issuer.token(sub="eve@example.com", groups=["sales"]),
        }
        if who == "victim":
            return self.caller
        token = tokens[who]() if who in tokens else house.alice
        caller = Caller(gateway=house.gateway, token=token, era=self.era)
        caller.server = "files" if who == "another-server" else "notes"
        if self.era == "session" and who != "stranger":
            caller.session = house.gateway.open_session(token, server=caller.server)
        return caller

    def changed(self, kind: str, change: str | None) -> str:
        """Return the handle as the case changes it."""
        handle = self.handles[kind]
        if change is not None and change.startswith("a "):
            return self.handles[change.removeprefix("a ")]
        flip = {"A": "B"}
        changes: dict[str | None, Callable[[], str]] = {
            None: lambda: handle,
            "made-up": lambda: INVENTED,
            "flip-last": lambda: handle[:-1] + flip.get(handle[-1], "A"),
            "flip-first": lambda: flip.get(handle[0], "A") + handle[1:],
            "cut": lambda: handle[:-4],
            "longer": lambda: handle + "AAAA",
            "empty-half": lambda: handle[: len(handle) // 2],
            "injection": lambda: handle + "&user=root",
            "huge": lambda: handle + "A" * 20_000,
            "upper": lambda: handle.upper(),
            "upstream": lambda: self.own[kind],
        }
        return changes[change]()


def present(caller: Caller, case: dict[str, Any], text: str) -> Reply:
    """Present a handle as the case says, or as its kind is presented usually."""
    kind = case["handle"]
    if kind == "cursor":
        return caller.say(case.get("method", "prompts/list"), {"cursor": text})
    if kind == "state":
        params = case.get("params", CALL) | {"requestState": text, "inputResponses": {}}
        return caller.say(case.get("method", "tools/call"), params)
    if kind == "event":
        return whole(caller, text)
    if kind == "question":
        return caller.answer(text, {"role": "assistant"})
    holder = Caller(gateway=caller.gateway, token=caller.token, era="session", server=caller.server, session=text)
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    ways: dict[str, Callable[[], Reply]] = {
        "post": lambda: holder.say("tools/call", CALL),
        "initialize": lambda: holder.say("initialize", hello),
        "notify": lambda: holder.post(message("notifications/initialized", era="session", ident=None)),
        "stream": lambda: whole(holder, None),
        "delete": holder.leave,
        "answer": lambda: holder.answer("1", {}),
    }
    return ways[case["how"]]()


def whole(caller: Caller, last_event: str | None) -> Reply:
    """Ask for the stream of a session where a refusal is expected, or leave it once it has begun."""
    with caller.listen(last_event) as feed:
        refused = feed.head.header("content-length") is not None
        body = b"".join(feed.pieces) if refused else b""
        return Reply(status=feed.head.status, headers=feed.head.headers, body=body)


@pytest.fixture(scope="module")
def victims(open_house: House) -> Iterator[dict[str, Victim]]:
    with open_house.upstream.scripted(generous):
        yield {era: Victim(open_house, era) for era in BOTH}


IN_ERAS = [pytest.param(case, era, id=f"{case['id']}-{era}") for case in CASES for era in case.get("eras", BOTH)]


def test_every_case_has_an_id_of_its_own_and_a_source() -> None:
    names = [case["id"] for case in CASES]
    assert len(names) == len(set(names))
    assert [case["id"] for case in CASES if not (case["source"] and case["why"])] == []


@pytest.mark.parametrize(("case", "era"), IN_ERAS)
def test_a_handle_in_the_wrong_hands_is_as_one_that_never_was(
    case: dict[str, Any], era: str, open_house: House, victims: dict[str, Victim]
) -> None:
    house, must, victim = open_house, case["must"], victims[era]
    presenter = victim.presenter(case["by"])
    since, before = len(house.gateway.records()), house.upstream.bytes
    reply = present(presenter, case, victim.changed(case["handle"], case.get("change")))
    invented = present(presenter, case, INVENTED)
    assert house.upstream.bytes - before == must["upstream_bytes"] == 0
    assert (reply.status, reply.error.get("code")) == (must["status"], must.get("code"))
    assert told(reply) == told(invented)
    records = house.gateway.next_record(since, "deny", count=2)
    assert [record["reason"] for record in records] == [must["reason"]] * 2
    assert must["recorded"]


def told(reply: Reply) -> Any:
    """What a caller can tell from an answer, but for the id of the decision."""
    error = dict(reply.error)
    if error:
        error["data"] = {name: value for name, value in error["data"].items() if name != "decision"}
    kept = [(name, value) for name, value in reply.headers if name.lower() != "date"]
    return reply.status, error or reply.body, kept


KINDS = [
    (kind, era)
    for era, kinds in {"session": ["session", "cursor", "event"], "stateless": ["cursor", "state"]}.items()
    for kind in kinds
]


@pytest.mark.parametrize(("kind", "era"), KINDS)
def test_the_handle_of_a_victim_works_for_the_victim(
    kind: str, era: str, open_house: House, victims: dict[str, Victim]
) -> None:
    victim, case = victims[era], {"handle": kind, "how": "post"}
    before = open_house.upstream.count
    assert present(victim.caller, case, victim.handles[kind]).status == 200
    assert open_house.upstream.count == before + 1


def test_a_question_is_answered_by_who_was_asked(open_house: House) -> None:
    with open_house.upstream.scripted(generous):
        victim = Victim(open_house, "session")
        before = open_house.upstream.count
        assert victim.caller.answer(victim.handles["question"], {}).status == 202
        assert [seen.message["id"] for seen in open_house.upstream.seen[before:]] == [OWN_QUESTION]
