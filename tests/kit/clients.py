"""The official SDK clients, unmodified: Python in this process, TypeScript under node."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from .gateway import free_port
from .wire import CutError, Wire, http, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

SCRIPT = Path(__file__).parent.parent / "node" / "client.mjs"
ROOT = Path(__file__).parent.parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a program using an SDK was told of one visit: the tools it saw, and each call's answer."""

    era: str
    tools: list[str]
    answers: list[dict[str, Any]] = field(default_factory=list)


@contextlib.asynccontextmanager
async def python_client(url: str, token: str | None, *, era: str) -> AsyncIterator[Client]:
    """Connect the Python SDK's client with a bearer token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    mode = "legacy" if era == "session" else "auto"
    async with (
        httpx2.AsyncClient(headers=headers, timeout=20.0) as client,
        Client(streamable_http_client(url, http_client=client), mode=mode, cache=None) as session,
    ):
        yield session


def visit_python(url: str, token: str | None, calls: Sequence[tuple[str, Mapping[str, Any]]], *, era: str) -> Told:
    """List, then make each call, and return what the program was told."""

    async def visit() -> Told:
        answers: list[dict[str, Any]] = []
        async with python_client(url, token, era=era) as client:
            tools = [tool.name for tool in (await client.list_tools()).tools]
            spoken = "stateless" if client.session.protocol_version == "2026-07-28" else "session"
            for name, arguments in calls:
                try:
                    result = await client.call_tool(name, dict(arguments))
                except MCPError as refused:
                    answers.append({"code": refused.code, "message": refused.message, "data": refused.data})
                else:
                    answers.append({"text": result.content[0].text, "error": result.is_error})  # type: ignore[union-attr]
        return Told(era=spoken, tools=tools, answers=answers)

    return asyncio.run(visit())


def visit_typescript(
    node: str, url: str, token: str | None, calls: Sequence[tuple[str, Mapping[str, Any]]], *, era: str
) -> Told:
    """Do the same visit with the TypeScript SDK's client, under node."""
    task = {
        "url": url,
        "token": token,
        "era": era,
        "calls": [{"name": name, "arguments": args} for name, args in calls],
    }
    done = subprocess.run(
        [node, str(SCRIPT)], input=json.dumps(task), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"the TypeScript client failed:\n{done.stdout}{done.stderr}")
    told = json.loads(done.stdout)
    return Told(era=told["era"], tools=told["tools"], answers=told["answers"])


class SdkServer:
    """`tests.kit.sdk_server` as a child process; `guard` holds `jwks`, `issuer` and `audience` for `ostiary.verify`."""

    def __init__(self, port: int | None = None, **guard: str) -> None:
        self.port = port or free_port()
        self.words = [word for name, value in guard.items() for word in (f"--{name}", value)]

    @property
    def url(self) -> str:
        """The MCP endpoint."""
        return f"http://127.0.0.1:{self.port}/mcp"

    def command(self) -> list[str]:
        """Return how it is started."""
        return [sys.executable, "-m", "tests.kit.sdk_server", str(self.port), *self.words]

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            self.command(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        try:
            wait_until(self._ready, deadline_s=30.0, what="the SDK server")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    def _ready(self) -> bool:
        assert self.process.poll() is None, "the SDK server ended"
        try:
            self.seen()
        except (OSError, CutError):
            return False
        return True

    def seen(self) -> list[dict[str, Any]]:
        """Return every MCP request that reached the server."""
        with Wire(("127.0.0.1", self.port)) as wire:
            reply = wire.ask(http("GET", "/seen", [("Host", f"127.0.0.1:{self.port}"), ("Connection", "close")]))
        found: list[dict[str, Any]] = json.loads(reply.body)
        return found

    def calls(self, tool: str | None = None) -> list[dict[str, Any]]:
        """Return the JSON-RPC messages of the tool calls that reached it."""
        bodies = [json.loads(each["body"]) for each in self.seen() if each["body"]]
        return [
            body for body in bodies if body.get("method") == "tools/call" and tool in {None, body["params"]["name"]}
        ]
