"""`subscriptions/listen` (2026-07-28): what its caller may not hear of is neither asked for nor passed on."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from tests.kit.caller import Feed
from tests.kit.house import House
from tests.kit.manners import SUBSCRIPTION
from tests.kit.streams import held
from tests.kit.upstream import Push, Seen

A, B = "file:///srv/docs/a.txt", "file:///srv/docs/b.txt"
PRIVATE, ELSEWHERE = "file:///srv/docs/private/key", "file:///etc/passwd"
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


class Scene:
    """One subscription under way: what went upstream, and both ends of what comes back."""

    def __init__(self, house: House, push: Push, feed: Feed, seen: Seen) -> None:
        self.house, self.push, self.feed, self.seen = house, push, feed, seen
        self.ours = seen.message["id"]

    def send(self, method: str, params: dict[str, Any] | None = None, *, to: Any = ...) -> None:
        """Send an event of the server for the subscription `to`: this one, unless said."""
        meta = {SUBSCRIPTION: self.ours if to is ... else to}
        self.push.event({"jsonrpc": "2.0", "method": method, "params": {**(params or {}), "_meta": meta}})

    def marked(self) -> Any:
        """Send an event that passes, and return what the client gets next."""
        self.send("notifications/tools/list_changed", {"mark": 1})
        return self.feed.next()


MARK = {"mark": 1, "_meta": {SUBSCRIPTION: "mine"}}


@contextlib.contextmanager
def subscribed(house: House, wanted: dict[str, Any], *, ident: int | str = "mine") -> Iterator[Scene]:
    opening = house.caller("stateless").stream("subscriptions/listen", {"notifications": wanted}, ident=ident)
    with held(house.upstream, "subscriptions/listen", opening) as (push, feed, seen):
        assert feed.head.header("content-type") == "text/event-stream"
        yield Scene(house, push, feed, seen)


def test_what_may_not_be_read_is_not_asked_for(open_house: House) -> None:
    wanted = {"toolsListChanged": True, "resourceSubscriptions": [PRIVATE, B, ELSEWHERE, A]}
    with subscribed(open_house, wanted) as scene:
        assert scene.seen.message["params"]["notifications"] == wanted | {"resourceSubscriptions": [B, A]}
        assert scene.ours != "mine"


def test_kinds_that_no_rule_could_judge_are_not_asked_for(open_house: House) -> None:
    wanted = {"promptsListChanged": False, "taskIds": ["t1"], "com.example/x": {"y": 1}}
    with subscribed(open_house, wanted) as scene:
        assert scene.seen.message["params"]["notifications"] == {"promptsListChanged": False}


@pytest.mark.parametrize("ident", ["mine", 7])
def test_events_name_the_subscription_as_the_client_knows_it(open_house: House, ident: int | str) -> None:
    wanted = {"resourceSubscriptions": [A]}
    with subscribed(open_house, wanted, ident=ident) as scene:
        scene.send(ACKNOWLEDGED, {"notifications": {"resourceSubscriptions": [A, PRIVATE, ELSEWHERE]}})
        told = scene.feed.next()
        assert (told["method"], told["params"]["notifications"]) == (ACKNOWLEDGED, {"resourceSubscriptions": [A]})
        assert told["params"]["_meta"] == {SUBSCRIPTION: ident}
        for method in ("tools", "prompts", "resources"):
            scene.send(f"notifications/{method}/list_changed")
            told = scene.feed.next()
            assert (told["method"], told["params"]["_meta"][SUBSCRIPTION]) == (
                f"notifications/{method}/list_changed",
                ident,
            )
        scene.send("notifications/resources/updated", {"uri": A})
        assert scene.feed.next()["params"] == {"uri": A, "_meta": {SUBSCRIPTION: ident}}


NOT_PASSED: dict[str, tuple[str, dict[str, Any], Any]] = {
    "a resource that may not be read": ("notifications/resources/updated", {"uri": PRIVATE}, ...),
    "a resource that no rule speaks of": ("notifications/resources/updated", {"uri": ELSEWHERE}, ...),
    "a resource without a name": ("notifications/resources/updated", {}, ...),
    "a resource by a number": ("notifications/resources/updated", {"uri": 7}, ...),
    "another spelling": ("notifications/resources/updated", {"uri": "file:///srv/docs/../../etc/passwd"}, ...),
    "another subscription": ("notifications/tools/list_changed", {}, "someone-elses"),
    "the client's own id": ("notifications/tools/list_changed", {}, "mine"),
    "no subscription": ("notifications/tools/list_changed", {}, None),
    "a log message": ("notifications/message", {"level": "info", "data": "x"}, ...),
    "progress": ("notifications/progress", {"progressToken": 1, "progress": 1}, ...),
    "tasks": ("notifications/tasks/status", {"taskId": "t"}, ...),
    "made up": ("notifications/made_up", {}, ...),
    "the end of another": ("notifications/cancelled", {"requestId": "someone-elses"}, ...),
}


@pytest.mark.parametrize("case", list(NOT_PASSED))
def test_an_event_that_is_not_this_subscriptions_is_dropped(open_house: House, case: str) -> None:
    method, params, to = NOT_PASSED[case]
    with subscribed(open_house, {"toolsListChanged": True, "resourceSubscriptions": [A]}) as scene:
        scene.send(method, params, to=to)
        assert scene.marked()["params"] == MARK


def test_an_event_may_not_hide_its_subscription_elsewhere(open_house: House) -> None:
    with subscribed(open_house, {"toolsListChanged": True}) as scene:
        note = {"jsonrpc": "2.0", "method": "notifications/tools/list_changed"}
        for params in ({"_meta": []}, {"_meta": {SUBSCRIPTION: [scene.ours]}}, {SUBSCRIPTION: scene.ours}, {}):
            scene.push.event({**note, "params": params})
        scene.push.event(note)
        assert scene.marked()["params"] == MARK


def test_the_server_ends_a_subscription_by_cancelling_it(open_house: House) -> None:
    with subscribed(open_house, {"toolsListChanged": True}) as scene:
        params = {"requestId": scene.ours, "reason": "bye"}
        scene.push.event({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
        assert scene.feed.next()["params"] == {"requestId": "mine", "reason": "bye"}
        scene.push.end()
        assert scene.feed.next() is None


def test_the_server_ends_a_subscription_with_a_result(open_house: House) -> None:
    since = len(open_house.gateway.records())
    with subscribed(open_house, {"toolsListChanged": True}) as scene:
        result = {"resultType": "complete", "_meta": {SUBSCRIPTION: scene.ours}}
        scene.push.event({"jsonrpc": "2.0", "id": scene.ours, "result": result})
        assert scene.feed.next() == {
            "jsonrpc": "2.0",
            "id": "mine",
            "result": {"resultType": "complete", "_meta": {SUBSCRIPTION: "mine"}},
        }
        assert scene.feed.next() is None
    (intent,) = open_house.gateway.next_record(since, "intent")
    assert (intent["mcp_method"], intent["tool"], intent["resource"]) == ("subscriptions/listen", None, None)
    assert open_house.gateway.record_of(intent["id"], "outcome")["outcome"] == "ok"


def test_an_abrupt_end_passes_as_one(open_house: House) -> None:
    since = len(open_house.gateway.records())
    with subscribed(open_house, {"toolsListChanged": True}) as scene:
        assert scene.marked()["params"] == MARK
        scene.push.end()
        assert scene.feed.next() is None
    assert open_house.gateway.end_of("subscriptions/listen", since) == "upstream"


def test_a_client_that_leaves_ends_the_subscription_upstream(open_house: House) -> None:
    open_house.upstream.forget_hang_ups()
    since = len(open_house.gateway.records())
    with subscribed(open_house, {"toolsListChanged": True}):
        pass
    assert open_house.upstream.hang_ups.acquire(timeout=10)
    assert open_house.gateway.end_of("subscriptions/listen", since) == "cancelled"


WRONG: list[Any] = [
    None,
    [],
    {"toolsListChanged": "yes"},
    {"resourceSubscriptions": A},
    {"resourceSubscriptions": [7]},
    {"resourceSubscriptions": ["file:///srv/docs/../../etc/passwd"]},
    {"resourceSubscriptions": [f"file:///srv/docs/{number}" for number in range(1001)]},
    {"ResourceSubscriptions": [A]},
    {"resourceSub\u017fcriptions": [A]},
]


@pytest.mark.parametrize("row", range(len(WRONG)))
def test_a_filter_that_could_be_read_in_two_ways_is_refused(open_house: House, row: int) -> None:
    before, since = open_house.upstream.bytes, len(open_house.gateway.records())
    reply = open_house.caller("stateless").say("subscriptions/listen", {"notifications": WRONG[row]})
    assert (reply.status, reply.error["code"]) == (400, -32602)
    assert open_house.upstream.bytes == before
    assert open_house.gateway.next_record(since, "deny")[0]["reason"] == "malformed"


def test_someone_for_whom_nothing_is_allowed_cannot_listen(open_house: House) -> None:
    """Requirement R06, for a stream that would stay open."""
    stranger = open_house.issuer.token(sub="eve@example.com", groups=["sales"])
    before = open_house.upstream.bytes
    reply = open_house.caller("stateless", stranger).say("subscriptions/listen", {"notifications": {}})
    assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, "no_rule")
    assert open_house.upstream.bytes == before


def test_a_server_cannot_ask_on_a_subscription(open_house: House) -> None:
    with subscribed(open_house, {"toolsListChanged": True}) as scene:
        scene.push.event({"jsonrpc": "2.0", "id": "s-1", "method": "sampling/createMessage", "params": {}})
        told = scene.feed.next()
        assert (told["id"], told["error"]["code"]) == ("mine", 5020)
        assert scene.feed.next() is None
