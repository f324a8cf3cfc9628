"""Streams held at both ends: a caller's feed, and on the server's side a `Push` that sends what the test gives it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .caller import Caller, Feed
from .manners import SUBSCRIPTION, acknowledgement
from .upstream import Push, Seen, Talk, Upstream, polite

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .gateway import Gateway

#: An event that every caller may see.
MARK = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "mark"}}
A = "file:///srv/docs/a.txt"
LISTEN = {"notifications": {"toolsListChanged": True, "resourceSubscriptions": [A]}}
CALL = {"name": "echo", "arguments": {"text": "x"}}
#: kind: the era, and the method as records name it
KINDS = {
    "session": ("session", "session/stream"),
    "listen": ("stateless", "subscriptions/listen"),
    "call in a session": ("session", "tools/call"),
    "call": ("stateless", "tools/call"),
}


@contextlib.contextmanager
def held(
    upstream: Upstream, method: str, opening: contextlib.AbstractContextManager[Feed]
) -> Iterator[tuple[Push, Feed, Seen]]:
    """Open a stream, and hold what arrives of `method`, as records name it; the rest is answered politely meanwhile."""
    push, arrived = upstream.push(), threading.Event()
    found: list[Seen] = []

    async def script(seen: Seen, talk: Talk) -> None:
        if method == ("session/stream" if seen.method == "GET" else seen.rpc):
            found.append(seen)
            arrived.set()
            await push.run(talk)
        else:
            await polite(seen, talk)

    with upstream.scripted(script), opening as feed:
        assert feed.head.status == 200, b"".join(feed.pieces)
        assert arrived.wait(10)
        yield push, feed, found[0]


@dataclass
class Line:
    """One stream under way."""

    kind: str
    caller: Caller
    push: Push
    feed: Feed
    seen: Seen

    def marked(self) -> bool:
        """Send an event that passes, and say whether it arrived."""
        if self.kind == "listen":
            meta = {SUBSCRIPTION: self.seen.message["id"]}
            self.push.event({**MARK, "method": "notifications/tools/list_changed", "params": {"_meta": meta}})
        else:
            self.push.event(MARK)
        return (self.feed.next() or {}).get("method") is not None


@contextlib.contextmanager
def under_way(gateway: Gateway, upstream: Upstream, token: str, kind: str) -> Iterator[Line]:
    """Open a stream of one of the `KINDS`; what its client asked goes by the id `mine`."""
    era, method = KINDS[kind]
    caller = Caller.arrive(gateway, token, era)
    opening = {
        "session/stream": caller.listen(),
        "subscriptions/listen": caller.stream(method, LISTEN, ident="mine"),
        "tools/call": caller.stream(method, CALL, ident="mine"),
    }[method]
    upstream.forget_hang_ups()
    with held(upstream, method, opening) as (push, feed, seen):
        line = Line(kind, caller, push, feed, seen)
        if kind == "listen":
            push.event(acknowledgement(seen))
            assert feed.next() is not None
        yield line
