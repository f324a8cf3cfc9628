"""The tour by clients in Python: the official SDK's, and fastmcp's, which has ways of its own."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import listen
from mcp.types import (
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitResult,
    ListRootsResult,
    PromptReference,
    ResourceTemplateReference,
    Root,
    TextContent,
)
from pydantic import BaseModel, FileUrl

from .plan import CALLS, CHANGES, COMPLETIONS, PROMPTS, READS, ROOT, WATCHED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mcp import ClientSession

PATIENCE_S = 10.0
STEP_S = 0.25


@dataclass(slots=True)
class Heard:
    """What came to the program unasked: questions, notifications, logs."""

    asked: list[str] = field(default_factory=list)
    noted: list[str] = field(default_factory=list)
    logs: list[Any] = field(default_factory=list)

    async def note(self, message: object) -> None:
        """Keep the name of a notification, and what it is about."""
        method = str(getattr(message, "method", type(message).__name__)).removeprefix("notifications/")
        about = getattr(getattr(message, "params", None), "uri", None)
        self.noted.append(f"{method} {about}" if about else method)

    async def log(self, params: Any) -> None:
        """Keep a line of the server's log."""
        self.logs.append([params.level, params.data])


class Ways(Protocol):
    """What a tour needs of a client; the answers are the protocol's own results."""

    heard: Heard

    @property
    def session(self) -> ClientSession: ...

    async def tools(self) -> Any: ...

    async def resources(self) -> Any: ...

    async def templates(self) -> Any: ...

    async def prompts(self) -> Any: ...

    async def call(self, name: str, arguments: dict[str, Any], told: Callable[..., Awaitable[None]] | None) -> Any: ...

    async def read(self, uri: str) -> Any: ...

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any: ...

    async def complete(self, ref: Any, argument: dict[str, str]) -> Any: ...


def plain(value: Any) -> Any:
    """A result as JSON."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


async def told(work: Awaitable[Any]) -> Any:
    """The result, or the error as the program sees it; of a refusal of ours only what is stable."""
    try:
        return plain(await work)
    except MCPError as refused:
        if isinstance(refused.data, dict) and "decision" in refused.data:
            return {"refused": refused.code, "reason": refused.data["reason"]}
        return {"error": refused.code, "message": refused.message}


async def soon(found: Callable[[], bool], within_s: float = STEP_S) -> bool:
    """Whether it comes true within the time."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not found():  # noqa: ASYNC110  (what is waited for are lists that a client's callbacks fill)
                await asyncio.sleep(0.01)
    return found()


async def take(ways: Ways, *, era: str) -> dict[str, Any]:
    """Take the whole tour."""
    out: dict[str, Any] = {
        "era": ways.session.protocol_version,
        "server": plain(ways.session.server_info),
        "can": plain(ways.session.server_capabilities),
    }
    for name, listing in (
        ("tools", ways.tools),
        ("resources", ways.resources),
        ("templates", ways.templates),
        ("prompts", ways.prompts),
    ):
        out[name] = await told(listing())
    if era == "session":
        out["set level"] = await told(ways.session.set_logging_level("info"))
    for name, arguments in CALLS:
        steps: list[Any] = []

        async def step(*done: Any, steps: list[Any] = steps) -> None:
            steps.append(done)

        out[f"call {name}"] = {"gave": await told(ways.call(name, arguments, step)), "progress": steps}
    await soon(lambda: len(ways.heard.logs) >= 3, PATIENCE_S)
    for uri in READS:
        out[f"read {uri}"] = await told(ways.read(uri))
    for name, given in PROMPTS:
        out[f"prompt {name}"] = await told(ways.prompt(name, given))
    for ref, argument in COMPLETIONS:
        kind = PromptReference if ref["type"] == "ref/prompt" else ResourceTemplateReference
        out[f"complete {sorted(ref.values())}"] = await told(ways.complete(kind.model_validate(ref), argument))
    out["changes"] = await (_changes_by_session(ways) if era == "session" else _changes_by_listening(ways))
    out["gave up"] = await _give_up(ways)
    return out | {"asked": ways.heard.asked, "logs": ways.heard.logs}


async def turn_pages(client: Client) -> dict[str, Any]:
    """Every page of every list, as it came."""
    out: dict[str, Any] = {}
    for name, listing in (
        ("tools", client.list_tools),
        ("resources", client.list_resources),
        ("templates", client.list_resource_templates),
        ("prompts", client.list_prompts),
    ):
        pages: list[Any] = []
        cursor = None
        while not pages or cursor:
            page: Any = await listing(cursor=cursor)
            pages.append(plain(page))
            cursor = page.next_cursor
        out[name] = pages
    return out


async def _until_told(ways: Ways, tool: str, came: Callable[[], bool]) -> bool:
    """Call `tool` until its notification came: one that is sent before the stream for it is open is lost by design."""
    for _ in range(int(PATIENCE_S / STEP_S)):
        await told(ways.call(tool, {}, None))
        if await soon(came):
            return True
    return False


async def _changes_by_session(ways: Ways) -> dict[str, Any]:
    out: dict[str, Any] = {"subscribed": await told(ways.session.subscribe_resource(WATCHED))}
    for tool, word in CHANGES.items():
        out[word] = await _until_told(ways, tool, lambda word=word: word in ways.heard.noted)  # type: ignore[misc]
    if "refused" not in out["subscribed"]:
        updated = f"resources/updated {WATCHED}"
        out["updated"] = await _until_told(ways, "touch", lambda: updated in ways.heard.noted)
    out["unsubscribed"] = await told(ways.session.unsubscribe_resource(WATCHED))
    return out


async def _changes_by_listening(ways: Ways) -> dict[str, Any]:
    heard: list[str] = []
    wanted = {"tools_list_changed": True, "prompts_list_changed": True, "resource_subscriptions": [WATCHED]}
    async with listen(ways.session, **wanted) as stream:  # type: ignore[arg-type]

        async def hear() -> None:
            async for event in stream:
                heard.append(str(event))  # noqa: PERF401  (read while it grows)

        hearing = asyncio.create_task(hear())
        for tool in (*CHANGES, "touch"):
            before = len(heard)
            await told(ways.call(tool, {}, None))
            await soon(lambda before=before: len(heard) > before, 1.0)  # type: ignore[misc]
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
        return {"honoured": plain(stream.honored), "heard": heard}


async def _give_up(ways: Ways) -> Any:
    """Cancel a call under way, and see whether the server noticed."""
    begun = asyncio.Event()

    async def step(*_: Any) -> None:
        begun.set()

    async def left() -> int:
        return int((await ways.call("left", {}, None)).structured_content["result"])

    before = await told(left())
    if isinstance(before, dict):
        return before
    call = asyncio.create_task(ways.call("wait", {}, step))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    for _ in range(int(PATIENCE_S / 0.05)):
        if (now := await left()) != before:
            return now - before
        await asyncio.sleep(0.05)
    return "the server did not notice"


@dataclass(slots=True)
class SdkWays:
    """The official SDK's client."""

    client: Client
    heard: Heard

    @property
    def session(self) -> ClientSession:
        return self.client.session

    async def tools(self) -> Any:
        return await self.client.list_tools()

    async def resources(self) -> Any:
        return await self.client.list_resources()

    async def templates(self) -> Any:
        return await self.client.list_resource_templates()

    async def prompts(self) -> Any:
        return await self.client.list_prompts()

    async def call(self, name: str, arguments: dict[str, Any], told: Any) -> Any:
        return await self.client.call_tool(name, arguments, progress_callback=told)

    async def read(self, uri: str) -> Any:
        return await self.client.read_resource(uri)

    async def prompt(self, name: str, arguments: dict[str, str]) -> Any:
        return await self.client.get_prompt(name, arguments)

    async def complete(self, ref: Any, argument: dict[str, str]) -> Any:
        return await self.client.complete(ref, argument)


@contextlib.asynccontextmanager
async def sdk(url: str, token: str | None, era: str) -> AsyncIterator[Ways]:
    """Connect the official client."""
    heard = Heard()

    async def sampled(context: Any, params: Any) -> CreateMessageResult:
        heard.asked.append(f"sampling {params.messages[0].content.text}")
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text="four"), model="stub")

    async def elicited(context: Any, params: Any) -> ElicitResult:
        if isinstance(params, ElicitRequestFormParams):
            heard.asked.append(f"form {params.message}")
            return ElicitResult(action="accept", content={"name": "alice"})
        heard.asked.append(f"visit {params.url}")
        return ElicitResult(action="accept")

    async def roots(context: Any) -> ListRootsResult:
        heard.asked.append("roots")
        return ListRootsResult(roots=[Root(uri=FileUrl(ROOT), name="project")])

    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20.0) as http,
        Client(
            streamable_http_client(url, http_client=http),
            mode="legacy" if era == "session" else "auto",
            cache=None,
            read_timeout_seconds=20.0,
            log_level="info",
            sampling_callback=sampled,
            elicitation_callback=elicited,
            list_roots_callback=roots,
            logging_callback=heard.log,
            message_handler=heard.note,
        ) as client,
    ):
        yield SdkWays(client, heard)
