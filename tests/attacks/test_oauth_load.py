"""Revocation while much is going on (L03), as data; one process, so there is no other replica to wait for."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.kit.caller import Caller, Feed
from tests.kit.estate import App, Estate
from tests.kit.issuer import read
from tests.kit.upstream import Seen, Talk, polite
from tests.kit.wire import CutError, Reply, wait_until

CASES = json.loads((Path(__file__).parent / "oauth" / "load.json").read_text())


class Load:
    """Calls that wait at the server, streams that are open, and somebody who never stops calling."""

    def __init__(self, estate: Estate, token: str) -> None:
        self.estate, self.token = estate, token
        self.arrived = threading.Semaphore(0)
        self.begun: list[tuple[float, Reply]] = []
        self.over = threading.Event()
        self.gate = estate.upstream.gate()

    async def slow(self, seen: Seen, talk: Talk) -> None:
        if seen.rpc == "tools/call" and seen.message["params"]["arguments"] == {"text": "slow"}:
            self.arrived.release()
            await self.gate.wait()
        await polite(seen, talk)

    def hold(self, _: int) -> int | None:
        """Make a call that waits; its status, or `None` where it was cut."""
        try:
            return self.estate.gateway.call("echo", {"text": "slow"}, self.token).status
        except CutError:
            return None

    def hurry(self) -> None:
        """Call again and again, and note when each call began."""
        while not self.over.is_set():
            begun = time.monotonic()
            self.begun.append((begun, self.estate.gateway.call("echo", {"text": f"begun {begun}"}, self.token)))


def words(app: App, token: str) -> dict[str, str]:
    """What the words of a case stand for."""
    claims = read(token)[1]
    found = {"$CLIENT": app.id, "$VENDOR": app.third_party, "$SUB": claims["sub"], "$FAM": claims["fam"]}
    return {**found, "$JTI": claims["jti"]}


def listen(estate: Estate, token: str, streams: dict[str, int], stack: ExitStack) -> list[Feed]:
    """Open so many streams of each era."""
    feeds = []
    for era, number in streams.items():
        for _ in range(number):
            caller = Caller.arrive(estate.gateway, token, era)
            wanted = {"notifications": {"toolsListChanged": True}}
            opened = caller.listen() if era == "session" else caller.stream("subscriptions/listen", wanted)
            feeds.append(stack.enter_context(opened))
    assert [feed.head.status for feed in feeds] == [200] * len(feeds)
    return feeds


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in CASES])
def test_nothing_that_begins_after_a_revocation_is_let_in(case: dict[str, Any], estate: Estate) -> None:
    app, gateway, must = estate.app(), estate.gateway, case["must"]
    token = app.tokens(estate.browser(estate.somebody()))["access_token"]
    other = estate.app().tokens(estate.browser("bob"))["access_token"]
    value = case["value"]
    for word, meaning in words(app, token).items():
        value = value.replace(word, meaning)
    load = Load(estate, token)
    with ExitStack() as stack, estate.upstream.scripted(load.slow), ThreadPoolExecutor(case["calls"] + 4) as pool:
        feeds = listen(estate, token, case["streams"], stack)
        held = [pool.submit(load.hold, number) for number in range(case["calls"])]
        for _ in held:
            assert load.arrived.acquire(timeout=30)
        busy = [pool.submit(load.hurry) for _ in range(2)]
        wait_until(lambda: len(load.begun) > 4, what="calls")
        if case.get("by") == "command":
            gateway.run("revoke", f"--{case['kind']}", value, "--config", str(gateway.file))
        else:
            estate.act("/revoke", kind=case["kind"], value=value)
        answered = time.monotonic()
        assert all(feed.rest() is not None for feed in feeds)
        wait_until(lambda: sum(begun > answered for begun, _ in load.begun) > 4, what="calls after the answer")
        load.over.set()
        for each in busy:
            each.result(20)
        load.gate.open()
        told = {each.result(30) for each in held}
        assert gateway.call("echo", {"text": "x"}, other).status == 200
    check(load, answered, must)
    assert told <= {200, must["status"], None}
    records = [record for record in gateway.records() if record.get("decision") == "deny"]
    assert records[-1]["reason"] == must["reason"]


def check(load: Load, answered: float, must: dict[str, Any]) -> None:
    """Hold the calls that never stopped to what must come of them, by when they began."""
    late = [reply for begun, reply in load.begun if begun > answered]
    assert {reply.status for reply in late} == {must["status"]}
    assert {reply.status for _, reply in load.begun} == {200, must["status"]}
    # A server may read late what was sent before; what began after the answer never got there.
    arrived = b"".join(seen.body for seen in load.estate.upstream.seen)
    after = [begun for begun, _ in load.begun if begun > answered and f"begun {begun}".encode() in arrived]
    assert len(after) == must["late_upstream_calls"]
    assert any(f"begun {begun}".encode() in arrived for begun, _ in load.begun)
