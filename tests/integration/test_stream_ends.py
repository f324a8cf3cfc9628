"""How long a stream lasts: not longer than its token, the rules that opened it, and its share of the streams."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.kit.caller import Caller, Feed
from tests.kit.gateway import Gateway, as_yaml, free_port, settings
from tests.kit.house import ALL_OF_MCP, House
from tests.kit.issuer import Issuer
from tests.kit.streams import CALL, KINDS, LISTEN, A, Line, under_way
from tests.kit.upstream import Push, Seen, Talk, Upstream, polite
from tests.kit.wire import wait_until

SOON_S = 2.0
OPEN = ["session", "listen"]


def ended(line: Line, upstream: Upstream, *, code: int) -> None:
    """The stream has ended: with an error where it answered something, and the server has been left."""
    rest = line.feed.rest()
    if line.kind == "session":
        assert rest == []
    else:
        (told,) = rest
        assert (told["id"], told["error"]["code"]) == ("mine", code)
    assert upstream.hang_ups.acquire(timeout=10)


@contextlib.contextmanager
def one_of_each(gateway: Gateway, upstream: Upstream, token: str) -> Iterator[list[Line]]:
    """Every kind of stream at once, each seen to work."""
    with contextlib.ExitStack() as stack:
        lines = [stack.enter_context(under_way(gateway, upstream, token, kind)) for kind in KINDS]
        assert all(line.marked() for line in lines)
        yield lines


def outcomes(gateway: Gateway, since: int) -> dict[str, list[str]]:
    """Wait for the ends of one of each, by method."""
    methods = {method for _, method in KINDS.values()}

    def found() -> list[dict[str, Any]]:
        new = gateway.records()[since:]
        ids = {each["id"] for each in new if each["kind"] == "intent" and each["mcp_method"] in methods}
        over = [each for each in new if each["kind"] == "outcome" and each["id"] in ids]
        return over if len(over) == len(KINDS) else []

    over = wait_until(found, what="the ends of the streams")
    return {method: [each["outcome"] for each in over if each["mcp_method"] == method] for method in methods}


CANCELLED = {
    "session/stream": ["cancelled"],
    "subscriptions/listen": ["cancelled"],
    "tools/call": ["cancelled", "cancelled"],
}


@pytest.mark.parametrize("chatty", [False, True])
def test_every_stream_ends_with_its_token(open_house: House, chatty: bool) -> None:
    """30 s of skew are granted to other clocks; this token is in them already."""
    house = open_house
    until = int(time.time()) + 2
    token = house.issuer.token(iat=until - 100, exp=until - 30)
    since, talking = len(house.gateway.records()), threading.Event()
    with one_of_each(house.gateway, house.upstream, token) as lines:
        talkers = [threading.Thread(target=keep_talking, args=(line.push, talking)) for line in lines if chatty]
        for talker in talkers:
            talker.start()
        try:
            for line in lines:
                ended(line, house.upstream, code=4030)
                assert until - 0.1 <= time.time() <= until + SOON_S
        finally:
            talking.set()
        assert outcomes(house.gateway, since) == CANCELLED
    for talker in talkers:
        talker.join()


def keep_talking(push: Push, stop: threading.Event) -> None:
    """Send comments without a pause, as a server may to keep a stream alive."""
    while not stop.wait(0.001):
        push.chunk(b": still here\n\n" * 200)


@dataclass
class Live:
    gateway: Gateway
    upstream: Upstream
    token: str

    def write(self, rules: list[dict[str, Any]]) -> None:
        """Put other rules in force."""
        before, text = self.snapshot(), as_yaml({**self.gateway.config, "policy": rules})
        if self.gateway.file.read_text() == text:
            return
        self.gateway.save(text)
        wait_until(lambda: self.snapshot() != before, what="the new rules")

    def snapshot(self) -> str:
        since = len(self.gateway.records())
        self.gateway.call("nothing", {}, self.token)
        snapshot: str = self.gateway.next_record(since, "deny")[0]["snapshot"]
        return snapshot


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("ends")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["policy"] += ALL_OF_MCP
        with Gateway(folder, config) as gateway:
            yield Live(gateway, upstream, issuer.token())


@pytest.fixture
def live(lasting: Live) -> Live:
    """The lasting scene under the rules that it began with."""
    lasting.write(lasting.gateway.config["policy"])
    return lasting


def test_a_lockdown_ends_every_stream(live: Live) -> None:
    since = len(live.gateway.records())
    with one_of_each(live.gateway, live.upstream, live.token) as lines:
        live.gateway.run("lockdown", "--config", str(live.gateway.file))
        locked = time.monotonic()
        try:
            for line in lines:
                rest = line.feed.rest()
                assert [told["error"]["data"]["reason"] for told in rest] == ["lockdown"] * (line.kind != "session")
                assert live.upstream.hang_ups.acquire(timeout=10)
            assert time.monotonic() - locked < SOON_S
        finally:
            live.gateway.run("lockdown", "--lift", "--config", str(live.gateway.file))
        assert outcomes(live.gateway, since) == CANCELLED


def test_a_lockdown_reaches_what_has_no_answer_yet(live: Live) -> None:
    """Calls that wait for a plain answer, and streams whose server says nothing before their first event."""
    gate, told = live.upstream.gate(), dict[str, tuple[bytes, float]]()

    async def script(seen: Seen, talk: Talk) -> None:
        if seen.method == "GET" or seen.rpc in {"subscriptions/listen", "tools/call"}:
            arrived.release()
            await gate.wait()
        await polite(seen, talk)

    def wait_for(kind: str) -> None:
        caller = callers[kind]
        if kind == "session":
            with caller.listen() as feed:
                told[kind] = (b"".join(feed.pieces), time.monotonic())
        else:
            listens = kind == "listen"
            reply = caller.say("subscriptions/listen" if listens else "tools/call", LISTEN if listens else CALL)
            told[kind] = (reply.body, time.monotonic())

    arrived = threading.Semaphore(0)
    callers = {kind: Caller.arrive(live.gateway, live.token, era) for kind, (era, _) in KINDS.items()}
    with live.upstream.scripted(script):
        waiting = [threading.Thread(target=wait_for, args=(kind,), daemon=True) for kind in KINDS]
        for each in waiting:
            each.start()
        assert all(arrived.acquire(timeout=10) for _ in KINDS)
        live.gateway.run("lockdown", "--config", str(live.gateway.file))
        locked = time.monotonic()
        try:
            for each in waiting:
                each.join(2 * SOON_S)
        finally:
            gate.open()
            live.gateway.run("lockdown", "--lift", "--config", str(live.gateway.file))
        assert set(told) == set(KINDS)
        assert max(at for _, at in told.values()) - locked < SOON_S
        assert [kind for kind, (body, _) in told.items() if b"lockdown" not in body and kind != "session"] == []


NOBODY = [{"name": "for-others", "allow": {"and": [{"groups": {"has": "ops"}}]}}]


@pytest.mark.parametrize("kind", OPEN)
def test_a_stream_ends_when_the_rules_no_longer_allow_it(live: Live, kind: str) -> None:
    since = len(live.gateway.records())
    with under_way(live.gateway, live.upstream, live.token, kind) as line:
        assert line.marked()
        live.write(NOBODY)
        changed = time.monotonic()
        ended(line, live.upstream, code=4030)
        assert time.monotonic() - changed < SOON_S
        assert live.gateway.end_of(KINDS[kind][1], since) == "cancelled"


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_stream_goes_on_under_rules_that_allow_it(live: Live, kind: str) -> None:
    with under_way(live.gateway, live.upstream, live.token, kind) as line:
        live.write([*live.gateway.config["policy"], {"name": "more", "deny": {"or": [{"tool": "notes/rename"}]}}])
        assert line.marked()


@pytest.mark.parametrize("kind", ["call", "call in a session"])
def test_a_call_that_was_sent_is_answered_whatever_the_rules_have_become(live: Live, kind: str) -> None:
    with under_way(live.gateway, live.upstream, live.token, kind) as line:
        live.write(NOBODY)
        result = {"content": [{"type": "text", "text": "done"}]}
        line.push.event({"jsonrpc": "2.0", "id": line.seen.message["id"], "result": result})
        assert line.feed.next()["result"] == result


@pytest.mark.parametrize("kind", OPEN)
def test_updates_are_judged_by_the_rules_of_now(live: Live, kind: str) -> None:
    with under_way(live.gateway, live.upstream, live.token, kind) as line:
        params: dict[str, Any] = {"uri": A}
        if kind == "listen":
            params["_meta"] = {"io.modelcontextprotocol/subscriptionId": line.seen.message["id"]}
        update = {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": params}
        line.push.event(update)
        assert line.feed.next()["params"]["uri"] == A
        live.write([*live.gateway.config["policy"], {"name": "no-docs", "deny": {"or": [{"resource_uri": A}]}}])
        line.push.event(update)
        assert line.marked()
        line.push.event(update)
        assert line.marked()


def test_a_question_is_judged_by_the_rules_of_the_moment_that_it_is_answered(live: Live) -> None:
    with under_way(live.gateway, live.upstream, live.token, "session") as line:
        line.push.event({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {"maxTokens": 5}})
        asked = line.feed.next()
        live.write([rule for rule in live.gateway.config["policy"] if rule["name"] != "may-sample"])
        since, before = len(live.gateway.records()), live.upstream.count
        line.caller.answer(asked["id"], {"role": "assistant"})
        assert [seen for seen in live.upstream.seen[before:] if b"assistant" in seen.body] == []
        assert live.gateway.next_record(since, "deny")[0]["reason"] == "no_rule"


QUOTA = 64


@contextlib.contextmanager
def open_streams(gateway: Gateway, token: str, number: int, era: str) -> Iterator[list[Feed]]:
    with contextlib.ExitStack() as stack:
        caller = Caller.arrive(gateway, token, era)
        opens = [
            caller.listen() if era == "session" else caller.stream("subscriptions/listen", LISTEN, ident=each)
            for each in range(number)
        ]
        yield [stack.enter_context(each) for each in opens]


def test_a_caller_has_64_streams_and_not_one_more(open_house: House, era: str) -> None:
    """Attack K05. The quota is of one subject and actor: another has its own, and what is closed is free again."""
    gateway, upstream = open_house.gateway, open_house.upstream
    carol = open_house.issuer.token(sub=f"carol-{era}@example.com")
    with open_streams(gateway, carol, QUOTA - 1, era) as feeds:
        assert {feed.head.status for feed in feeds} == {200}
        other = "stateless" if era == "session" else "session"
        with open_streams(gateway, carol, 1, other) as (last,):
            assert last.head.status == 200
            before, since = upstream.count, len(gateway.records())
            with open_streams(gateway, carol, 1, "session") as (over,):
                assert over.head.status == 429
            with open_streams(gateway, carol, 1, "stateless") as (over,):
                body = over.rest() if "event" in (over.head.header("content-type") or "") else b"".join(over.pieces)
                assert over.head.status == 200
                assert b"4290" in body
                assert b"retry_after" in body
            assert [
                seen for seen in upstream.seen[before:] if seen.method == "GET" or seen.rpc == "subscriptions/listen"
            ] == []
            records = gateway.next_record(since, "deny", count=2)
            assert {record["reason"] for record in records} == {"limit"}
            assert gateway.call("echo", {"text": "x"}, carol, era=era).status == 200
            with open_streams(gateway, open_house.bob, 1, era) as (bobs,):
                assert bobs.head.status == 200

        def free() -> bool:
            with open_streams(gateway, carol, 1, era) as (next_one,):
                return next_one.head.status == 200 and "event" in (next_one.head.header("content-type") or "")

        wait_until(free, what="the place of a closed stream")
