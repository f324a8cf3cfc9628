"""What the conformance suite has played in its client mode: the Python SDK's client, one act per scenario.

The suite names the scenario, its context and the revision in the environment of the command that it runs; `stage.py`
brings them here.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.types import (
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestParams,
    ElicitResult,
    ListRootsResult,
    TextContent,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    Act = Callable[[Client, Mapping[str, Any]], Awaitable[None]]

STUBS: dict[str, Any] = {"string": "x", "integer": 0, "number": 0, "boolean": False, "object": {}, "array": []}


async def sampled(_: Any, params: CreateMessageRequestParams) -> CreateMessageResult:
    """Answer as a model would."""
    return CreateMessageResult(role="assistant", content=TextContent(type="text", text="four"), model="stub")


async def no_roots(_: Any) -> ListRootsResult:
    """Have no roots."""
    return ListRootsResult(roots=[])


async def accepted(_: Any, params: ElicitRequestParams) -> ElicitResult:
    """Accept, with the defaults of the form; what has none is confirmed."""
    fields: Mapping[str, Any] = (
        params.requested_schema.get("properties", {}) if isinstance(params, ElicitRequestFormParams) else {}
    )
    given = {name: field["default"] for name, field in fields.items() if "default" in field}
    return ElicitResult(action="accept", content=given or dict.fromkeys(fields, True))


async def list_only(client: Client, _: Mapping[str, Any]) -> None:
    """List the tools."""
    await client.list_tools()


async def add(client: Client, _: Mapping[str, Any]) -> None:
    """List, then add five and three."""
    await client.list_tools()
    await client.call_tool("add_numbers", {"a": 5, "b": 3})


async def echo_schema(client: Client, _: Mapping[str, Any]) -> None:
    """Send the input schema of the tool in question back as it was read."""
    tools = (await client.list_tools()).tools
    schema = next(tool.input_schema for tool in tools if tool.name == "json_schema_2020_12_tool")
    await client.call_tool("json_schema_echo", {"schema": schema})


async def call_all(client: Client, _: Mapping[str, Any]) -> None:
    """Call every tool that the SDK lets through."""
    for tool in (await client.list_tools()).tools:
        properties = tool.input_schema.get("properties", {})
        needed = {name: STUBS.get(properties.get(name, {}).get("type"), "x") for name in tool.input_schema["required"]}
        with contextlib.suppress(MCPError):
            await client.call_tool(tool.name, needed)


async def call_as_told(client: Client, context: Mapping[str, Any]) -> None:
    """Make the calls that the suite asks for."""
    listed = {tool.name for tool in (await client.list_tools()).tools}
    for call in context.get("toolCalls", []):
        if call["name"] in listed:
            with contextlib.suppress(MCPError):
                await client.call_tool(call["name"], call.get("arguments") or {})


def calls(*names: str) -> Act:
    """List, then call these tools without arguments."""

    async def act(client: Client, _: Mapping[str, Any]) -> None:
        await client.list_tools()
        for name in names:
            await client.call_tool(name, {})

    return act


SCENARIOS: dict[str, Act] = {
    "initialize": list_only,
    "tools_call": add,
    "request-metadata": add,
    "http-standard-headers": add,
    "http-custom-headers": call_as_told,
    "http-invalid-tool-headers": call_all,
    "json-schema-ref-no-deref": list_only,
    "json-schema-2020-12-preservation": echo_schema,
    "sse-retry": calls("test_reconnection"),
    "elicitation-sep1034-client-defaults": calls("test_client_elicitation_defaults"),
    "sep-2322-client-request-state": calls(
        "test_mrtr_echo_state", "test_mrtr_unrelated", "test_mrtr_no_state", "test_mrtr_no_result_type"
    ),
}
SESSION_ONLY = {"json-schema-ref-no-deref"}
"""The suite says 2026-07-28 for these, but its mock server speaks the session era alone."""


async def visit(url: str, token: str | None, env: Mapping[str, str]) -> None:
    """Play the scenario that `env` names."""
    scenario = env["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(env.get("MCP_CONFORMANCE_CONTEXT") or "{}")
    stateless = env.get("MCP_CONFORMANCE_PROTOCOL_VERSION") == "2026-07-28" and scenario not in SESSION_ONLY
    everything: dict[str, Any] = {"elicitation_callback": accepted}
    if scenario == "request-metadata":
        everything |= {"sampling_callback": sampled, "list_roots_callback": no_roots}
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20.0) as http,
        Client(
            streamable_http_client(url, http_client=http), mode="auto" if stateless else "legacy", **everything
        ) as client,
    ):
        await SCENARIOS[scenario](client, context)
