"""What a well-behaved MCP server of either era answers: tools, prompts, resources and their templates, completion."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .upstream import Seen, Talk

TOOLS = ("echo", "read_file", "add", "delete_file", "hidden")
PROMPTS = ("summarize", "secret-plan", "review")
RESOURCES = ("file:///srv/docs/a.txt", "file:///srv/docs/private/key", "file:///etc/passwd", "file:///srv/docs/b.txt")
TEMPLATES = ("file:///srv/docs/{name}", "file:///etc/{name}", "file:///srv/docs/private/{name}")
SESSION_VERSION = "2025-11-25"
STATELESS_VERSION = "2026-07-28"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "completions": {},
    "logging": {},
}

Params = dict[str, Any]
SESSIONS = itertools.count(1)
#: What may be kept of an answer: only the stateless era says.
CACHED = {"ttlMs": 60_000, "cacheScope": "public"}


def result_for(seen: Seen, *, tools: Sequence[str] = TOOLS) -> dict[str, Any] | None:
    """Return what a polite server answers: a JSON-RPC response, or `None` for what is no request."""
    message = seen.message
    if "id" not in message or "method" not in message:
        return None
    method, params = message["method"], message.get("params", {})
    if method == "tools/list":
        result: dict[str, Any] = {"tools": [_tool(name) for name in tools]}
    elif method in RESULTS:
        result = dict(RESULTS[method](params))
    else:
        return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no such method"}}
    if seen.stateless:
        if method.endswith("/list") or method == "resources/read":
            result |= CACHED
        result["resultType"] = "complete"
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


def _tool(name: str) -> Params:
    return {"name": name, "description": f"the {name} tool", "inputSchema": {"type": "object"}}


def _initialized(params: Params) -> Params:
    version = params.get("protocolVersion", SESSION_VERSION)
    return {
        "protocolVersion": version,
        "capabilities": CAPABILITIES,
        "serverInfo": {"name": "counting", "version": "1"},
    }


def _discovered(_: Params) -> Params:
    server = {"name": "counting", "version": "1"}
    return {"supportedVersions": [STATELESS_VERSION], "capabilities": CAPABILITIES, "serverInfo": server} | {
        "ttlMs": 0,
        "cacheScope": "public",
    }


def _called(params: Params) -> Params:
    said = json.dumps(params.get("arguments"), ensure_ascii=False)
    return {"content": [{"type": "text", "text": said}], "isError": False}


def _prompt(params: Params) -> Params:
    text = f"{params['name']}: {json.dumps(params.get('arguments'))}"
    return {"messages": [{"role": "user", "content": {"type": "text", "text": text}}]}


def _read(params: Params) -> Params:
    return {"contents": [{"uri": params["uri"], "mimeType": "text/plain", "text": f"contents of {params['uri']}"}]}


RESULTS: Mapping[str, Callable[[Params], Params]] = {
    "initialize": _initialized,
    "server/discover": _discovered,
    "ping": lambda _: {},
    "logging/setLevel": lambda _: {},
    "tools/call": _called,
    "prompts/list": lambda _: {"prompts": [{"name": name} for name in PROMPTS]},
    "prompts/get": _prompt,
    "resources/list": lambda _: {"resources": [{"uri": uri, "name": uri[-5:]} for uri in RESOURCES]},
    "resources/templates/list": lambda _: {
        "resourceTemplates": [{"uriTemplate": template, "name": template[-6:]} for template in TEMPLATES]
    },
    "resources/read": _read,
    "resources/subscribe": lambda _: {},
    "resources/unsubscribe": lambda _: {},
    "completion/complete": lambda params: {"completion": {"values": [params["argument"]["value"] + "!"], "total": 1}},
}


def acknowledgement(seen: Seen) -> dict[str, Any]:
    """Return the first event of a `subscriptions/listen`: everything that was asked for is honoured."""
    message = seen.message
    params = {"notifications": message["params"]["notifications"], "_meta": {SUBSCRIPTION: message["id"]}}
    return {"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": params}


async def _plainly(seen: Seen, talk: Talk) -> bool:
    """Answer what is no request with a result, and say whether it was such."""
    if seen.method == "DELETE":
        await talk.whole(b"")
    elif seen.method == "GET" or seen.rpc == "subscriptions/listen":
        # It stays open and says nothing until the other side leaves.
        await talk.stream()
        if seen.method == "GET":
            await talk.chunk(b": listening\n\n")
        else:
            await talk.event(acknowledgement(seen))
        await talk.until_left()
    elif result_for(seen) is None:
        await talk.whole(b"", status=202)
    else:
        return False
    return True


def _opened(answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    opens = answer.get("result", {}).get("protocolVersion") is not None
    return [("Mcp-Session-Id", f"upstream-{next(SESSIONS)}")] if opens else []


async def polite(seen: Seen, talk: Talk) -> None:
    """Answer as a well-behaved server does, in plain JSON; `initialize` opens a session and DELETE ends it."""
    if not await _plainly(seen, talk):
        answer = result_for(seen) or {}
        await talk.json(answer, headers=_opened(answer))


async def polite_events(seen: Seen, talk: Talk) -> None:
    """Answer as a well-behaved server does, each answer an event stream."""
    if not await _plainly(seen, talk):
        answer = result_for(seen) or {}
        await talk.stream(headers=_opened(answer))
        await talk.event(answer)
        await talk.end()
