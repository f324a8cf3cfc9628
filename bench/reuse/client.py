"""One client: two calls under way at any time, one with the id 1 and one with the id "1", for as long as it lives."""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.kit.wire import call_headers, message, tool_call

from bench.wire import Connection, LostError, post

if TYPE_CHECKING:
    from collections.abc import Mapping

ASKS = 0.1
CAPABILITIES: dict[str, Any] = {"roots": {}}


@dataclass(slots=True)
class Tally:
    """What happened to all calls together."""

    calls: int = 0
    asked: int = 0
    mixed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Client:
    """A caller with a token, in one era, with a session of its own if there is one."""

    number: int
    address: tuple[str, int]
    path: str
    token: str
    era: str
    tally: Tally
    session: str | None = None

    def request(self, body: Mapping[str, Any]) -> bytes:
        """Lay out a POST of `body`."""
        fields = call_headers(f"{self.address[0]}:{self.address[1]}", self.token, body, era=self.era)
        if self.session is not None:
            fields.append(("Mcp-Session-Id", self.session))
        return post(self.path, fields, json.dumps(body).encode())

    async def live(self, until: float) -> None:
        """Call until then, in both lanes."""
        if self.era == "session":
            await self._hello()
        await asyncio.gather(*(self._lane(ident, until) for ident in (1, "1")))

    async def _hello(self) -> None:
        who = {"name": "bench", "version": "1"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": CAPABILITIES, "clientInfo": who}
        async with Connection(self.address) as line:
            answer = await line.send(self.request(message("initialize", hello, era="session")))
            async for _ in answer.messages():
                pass
            self.session = answer.fields["mcp-session-id"]
            await line.ask(self.request(message("notifications/initialized", era="session", ident=None)))

    async def _lane(self, ident: int | str, until: float) -> None:
        chance = random.Random(f"{self.number} {ident!r}")
        count = 0
        async with Connection(self.address) as line, Connection(self.address) as beside:
            while time.monotonic() < until:
                count += 1
                text = f"{self.number} {ident!r} {count}"
                # One question at a time and session: the server behind has one id for all that it asks.
                ask = ident == 1 and chance.random() < ASKS
                try:
                    await self._call(line, beside, ident, text, ask=ask)
                except (LostError, TimeoutError, OSError) as lost:
                    self.tally.failed.append(f"{text}: {lost!r}")
                    line.close()

    async def _call(self, line: Connection, beside: Connection, ident: int | str, text: str, *, ask: bool) -> None:
        body = tool_call("echo", {"text": text, "ask": ask}, era=self.era, ident=ident)
        meta = body["params"].setdefault("_meta", {})
        meta["progressToken"] = f"lane {ident!r}"
        if self.era == "stateless":
            meta["io.modelcontextprotocol/clientCapabilities"] = CAPABILITIES
        root = {"roots": [{"uri": f"file:///{text.replace(' ', '-')}"}]}
        said = await self._hear(line, beside, body, text, root)
        if said is not None and said.get("resultType") == "input_required":
            if said["inputRequests"] != {"roots": {"method": "roots/list"}}:
                self.tally.mixed.append(f"{text}: asked {said}")
            body["params"] |= {"inputResponses": {"roots": root}, "requestState": said["requestState"]}
            said = await self._hear(line, beside, body, text, root)
        expected = f"{text} {root['roots'][0]['uri']}" if ask else text
        self.tally.calls += 1
        self.tally.asked += ask
        if said is not None and said.get("content") != [{"type": "text", "text": expected}]:
            self.tally.mixed.append(f"{expected}: told {said}")

    async def _hear(self, line: Connection, beside: Connection, body: Any, text: str, root: Any) -> Any:
        """Send, answer what is asked on the way, and return the result; None where there is none."""
        answer = await line.send(self.request(body))
        result = None
        async for told in answer.messages():
            if told.get("method") == "roots/list":
                status, _ = await beside.ask(self.request({"jsonrpc": "2.0", "id": told["id"], "result": root}))
                if status != 202:
                    self.tally.failed.append(f"{text}: the answer to a question got {status}")
            elif told.get("method") == "notifications/progress":
                params = told["params"]
                if (params["progressToken"], params["message"]) != (body["params"]["_meta"]["progressToken"], text):
                    self.tally.mixed.append(f"{text}: progress {params}")
            elif "result" in told:
                result = told["result"]
                if (told["id"], type(told["id"])) != (body["id"], type(body["id"])):
                    self.tally.mixed.append(f"{text}: an answer to {told['id']!r}")
            else:
                self.tally.failed.append(f"{text}: {answer.status} {json.dumps(told)[:300]}")
        if result is None and not self.tally.failed:
            self.tally.failed.append(f"{text}: {answer.status} without an answer")
        return result
