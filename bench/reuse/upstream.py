"""The server behind: answers every call with its own words, late and out of order, and asks now and then.

It uses one and the same id for all that it asks, in every session, as a careless server does.
`python -m bench.reuse.upstream` prints its port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from tests.kit.upstream import Upstream, result_for

if TYPE_CHECKING:
    from tests.kit.upstream import Seen, Talk

SLOWEST_S = 0.02
ASK = {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}


class Careless:
    """Its script, and the answers that it waits for, by session."""

    def __init__(self) -> None:
        self.chance = random.Random(1)
        self.sessions = 0
        self.waiting: dict[str, asyncio.Future[Any]] = {}

    async def __call__(self, seen: Seen, talk: Talk) -> None:
        """Answer one request."""
        if seen.method != "POST":
            await talk.whole(b"", status=405)
            return
        message = seen.message
        session = seen.header("mcp-session-id") or ""
        if "method" not in message:
            self.waiting.pop(session).set_result(message["result"])
            await talk.whole(b"", status=202)
        elif message["method"] == "tools/call":
            await asyncio.sleep(self.chance.uniform(0, SLOWEST_S))
            await self.call(message, session, talk, stateless=seen.stateless)
        elif (answer := result_for(seen)) is None:
            await talk.whole(b"", status=202)
        elif message["method"] == "initialize":
            self.sessions += 1
            await talk.json(answer, headers=[("Mcp-Session-Id", f"s{self.sessions}")])
        else:
            await talk.json(answer)

    async def call(self, message: Any, session: str, talk: Talk, *, stateless: bool) -> None:
        """Say the text again: at once, after telling of progress, or after asking for something."""
        params, said = message["params"], message["params"]["arguments"]["text"]
        if message["params"]["arguments"].get("ask") and stateless:
            if "inputResponses" not in params:
                rounds = {"resultType": "input_required", "inputRequests": {"roots": {"method": "roots/list"}}}
                await talk.json({"jsonrpc": "2.0", "id": message["id"], "result": {**rounds, "requestState": said}})
                return
            said = f"{params['requestState']} {params['inputResponses']['roots']['roots'][0]['uri']}"
        elif message["params"]["arguments"].get("ask"):
            await talk.stream()
            self.waiting[session] = answered = asyncio.get_running_loop().create_future()
            await talk.event(ASK)
            said = f"{said} {(await answered)['roots'][0]['uri']}"
            await talk.event(_said(message, said, stateless=stateless))
            await talk.end()
            return
        if self.chance.random() < 0.5:
            await talk.json(_said(message, said, stateless=stateless))
            return
        await talk.stream()
        for step in (1, 2):
            told = {
                "progressToken": params["_meta"]["progressToken"],
                "progress": step,
                "message": params["arguments"]["text"],
            }
            await talk.event({"jsonrpc": "2.0", "method": "notifications/progress", "params": told})
            await asyncio.sleep(self.chance.uniform(0, SLOWEST_S / 4))
        await talk.event(_said(message, said, stateless=stateless))
        await talk.end()


def _said(message: Any, text: str, *, stateless: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": False}
    if stateless:
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def main() -> None:
    """Serve until standard input ends."""
    with Upstream() as upstream:
        upstream.script = Careless()
        upstream.seen = deque(maxlen=1)  # type: ignore[assignment]  # nobody looks, and it must not grow
        print(upstream.address[1], flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            sys.stdin.read()


if __name__ == "__main__":
    main()
