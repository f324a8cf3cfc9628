"""`ostiary.verify` in front of real servers, over real sockets: the guard, the fetching of keys, the SDK's verifier."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import time
import uuid
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route
from tests.kit.issuer import Key, compact, new_key

from ostiary.jcs import canonical
from ostiary.verify import Guard, Verifier, VerifyError, current_caller, mcp_token_verifier

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request
    from starlette.responses import Response

ISSUER = "http://gateway.test"


def sign(key: Key, audience: str, tool: str | None = None, arguments: dict[str, Any] | None = None) -> str:
    now = int(time.time())
    claims = {
        "iss": ISSUER,
        "aud": audience,
        "sub": "agent:local:bot",
        "client_id": "agent:local:bot",
        "jti": str(uuid.uuid4()),
        "server": "notes",
        "iat": now,
        "exp": now + 60,
    }
    if tool is not None:
        digest = hashlib.sha256(canonical(arguments or {})).digest()
        claims |= {"tool": tool, "args_sha256": urlsafe_b64encode(digest).rstrip(b"=").decode()}
    return compact({"alg": key.alg, "kid": key.kid, "typ": "ostiary+jwt"}, claims, key)


@contextlib.asynccontextmanager
async def serving(app: Any) -> AsyncIterator[str]:
    """Serve an ASGI app on a free port of 127.0.0.1 and give its base URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_level="error", ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class Keys:
    """A JWKS endpoint whose keys and mood can be changed."""

    def __init__(self, *keys: Key) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.answer: Callable[[], Response] | None = None

    @property
    def app(self) -> Starlette:
        async def jwks(_: Request) -> Response:
            self.asked += 1
            return self.answer() if self.answer else JSONResponse({"keys": [key.jwk for key in self.keys]})

        return Starlette(routes=[Route("/.well-known/jwks.json", jwks)])


def run(scene: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await scene()

    asyncio.run(bounded())


OLD, NEW = new_key("EdDSA", "gw-old"), new_key("EdDSA", "gw-new")


def test_keys_are_fetched_once_and_again_for_a_key_that_is_new() -> None:
    async def scene() -> None:
        keys = Keys(OLD)
        async with serving(keys.app) as url:
            verifier = Verifier(issuer=ISSUER, audience="a", jwks_url=f"{url}/.well-known/jwks.json")
            assert keys.asked == 0
            for _ in range(3):
                await verifier.verify(sign(OLD, "a"))
            assert keys.asked == 1
            # Anybody can send an unknown key id: it does not make us ask each time.
            for _ in range(5):
                with pytest.raises(VerifyError, match="not published"):
                    await verifier.verify(sign(NEW, "a"))
            assert keys.asked == 1
            verifier._keys._tried_at -= 11  # type: ignore[attr-defined]  # the time after which it may ask again
            keys.keys.append(NEW)
            await asyncio.gather(*(verifier.verify(sign(NEW, "a")) for _ in range(5)))
            assert keys.asked == 2
            await verifier.verify(sign(OLD, "a"))

    run(scene)


@pytest.mark.parametrize("mood", ["error", "rubbish", "huge", "redirect", "no set"])
def test_a_key_server_that_gives_no_keys_opens_nothing(mood: str) -> None:
    async def scene() -> None:
        keys, decoy = Keys(OLD), Keys(OLD)
        async with serving(keys.app) as url, serving(decoy.app) as other:
            keys.answer = {
                "error": lambda: PlainTextResponse("no", status_code=500),
                "rubbish": lambda: PlainTextResponse("{"),
                "huge": lambda: PlainTextResponse(json.dumps({"keys": [OLD.jwk], "x": "x" * 300_000})),
                "redirect": lambda: RedirectResponse(f"{other}/.well-known/jwks.json"),
                "no set": lambda: JSONResponse([OLD.jwk]),
            }[mood]
            verifier = Verifier(issuer=ISSUER, audience="a", jwks_url=f"{url}/.well-known/jwks.json")
            with pytest.raises(VerifyError):
                await verifier.verify(sign(OLD, "a"))
            assert decoy.asked == 0

    run(scene)


def test_keys_that_were_had_serve_on_when_the_gateway_is_away() -> None:
    async def scene() -> None:
        keys = Keys(OLD)
        async with serving(keys.app) as url:
            verifier = Verifier(issuer=ISSUER, audience="a", jwks_url=f"{url}/.well-known/jwks.json")
            await verifier.verify(sign(OLD, "a"))
        source: Any = verifier._keys
        source._fetched_at -= 301
        source._tried_at -= 301
        await verifier.verify(sign(OLD, "a"))
        source._fetched_at -= 3600
        with pytest.raises(VerifyError, match="cannot be had"):
            await verifier.verify(sign(OLD, "a"))

    run(scene)


def notes() -> MCPServer[Any]:
    server: MCPServer[Any] = MCPServer("notes", log_level="ERROR")

    @server.tool()
    def echo(text: str) -> str:
        """Say it again, and who said it."""
        caller = current_caller()
        return f"{text} {caller.subject if caller else ''}".strip()

    return server


def call(tool: str, arguments: dict[str, Any]) -> bytes:
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
    params = {"name": tool, "arguments": arguments, "_meta": meta}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def heads(token: str | None, tool: str = "echo") -> dict[str, str]:
    fields = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
    }
    return fields if token is None else {**fields, "Authorization": f"Bearer {token}"}


AUDIENCE = "http://notes.test/mcp"
SOUND = {"text": "x"}

REFUSED: dict[str, tuple[str | None, bytes]] = {
    "no token": (None, call("echo", SOUND)),
    "other arguments": (sign(OLD, AUDIENCE, "echo", {"text": "y"}), call("echo", SOUND)),
    "another tool": (sign(OLD, AUDIENCE, "add", SOUND), call("echo", SOUND)),
    "a token for a list": (sign(OLD, AUDIENCE), call("echo", SOUND)),
    "a call's token for a list": (
        sign(OLD, AUDIENCE, "echo", SOUND),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
    ),
    "another server's token": (sign(OLD, "http://other.test/mcp", "echo", SOUND), call("echo", SOUND)),
    "another gateway's key": (sign(NEW, AUDIENCE, "echo", SOUND), call("echo", SOUND)),
    "a duplicate key": (sign(OLD, AUDIENCE, "echo", SOUND), call("echo", SOUND).replace(b'"id": 1', b'"id":1,"id":2')),
    "a batch": (sign(OLD, AUDIENCE, "echo", SOUND), b"[" + call("echo", SOUND) + b"]"),
    "no JSON": (sign(OLD, AUDIENCE, "echo", SOUND), b"{"),
    "deep JSON": (sign(OLD, AUDIENCE), b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "arguments that are no object": (
        sign(OLD, AUDIENCE, "echo", {}),
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":[]}}',
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_the_guard_refuses_what_the_gateway_did_not_decide(name: str) -> None:
    async def scene() -> None:
        token, body = REFUSED[name]
        reached: list[str] = []

        async def app(scope: Any, _receive: Any, _send: Any) -> None:
            reached.append(scope["type"])

        guard = Guard(app, Verifier(issuer=ISSUER, audience=AUDIENCE, jwks={"keys": [OLD.jwk]}))
        async with serving(guard) as url, httpx2.AsyncClient(trust_env=False) as http:
            answer = await http.post(f"{url}/mcp", content=body, headers=heads(token))
        assert (answer.status_code, "http" in reached) == (401, False)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert token is None or token not in answer.text

    run(scene)


def test_a_body_that_is_too_large_is_refused_before_it_is_read() -> None:
    async def scene() -> None:
        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            raise AssertionError("reached")

        verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, jwks={"keys": [OLD.jwk]})
        async with (
            serving(Guard(app, verifier, max_body_bytes=1000)) as url,
            httpx2.AsyncClient(trust_env=False) as http,
        ):
            headers = heads(sign(OLD, AUDIENCE, "echo", SOUND))
            answer = await http.post(f"{url}/mcp", content=b" " * 2000, headers=headers)
        assert answer.status_code == 413

    run(scene)


def test_a_forwarded_call_gets_through_once_and_knows_its_caller() -> None:
    async def scene() -> None:
        mcp_app = notes().streamable_http_app()
        guard = Guard(mcp_app, Verifier(issuer=ISSUER, audience=AUDIENCE, jwks={"keys": [OLD.jwk]}))
        async with serving(guard) as url, httpx2.AsyncClient(trust_env=False) as http:
            headers = heads(sign(OLD, AUDIENCE, "echo", SOUND))
            first = await http.post(f"{url}/mcp", content=call("echo", SOUND), headers=headers)
            second = await http.post(f"{url}/mcp", content=call("echo", SOUND), headers=headers)
        assert first.json()["result"]["content"][0]["text"] == "x agent:local:bot"
        assert (second.status_code, second.text) == (401, "the token has been used before\n")

    run(scene)


class Minting(httpx2.Auth):
    """Does what the gateway does: a token of its own for each message."""

    requires_request_body = True

    def __init__(self, audience: str) -> None:
        self.audience = audience

    def auth_flow(self, request: httpx2.Request) -> Any:
        message = json.loads(request.content) if request.content else {}
        params = message.get("params", {}) if message.get("method") == "tools/call" else {}
        token = sign(OLD, self.audience, params.get("name"), params.get("arguments"))
        request.headers["Authorization"] = f"Bearer {token}"
        yield request


@pytest.mark.parametrize("mode", ["auto", "legacy"])
@pytest.mark.parametrize("guarded", [True, False])
def test_the_sdk_takes_the_verifier_alone_and_behind_the_guard(mode: Any, guarded: bool) -> None:
    async def scene() -> None:
        verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, jwks={"keys": [OLD.jwk]})
        auth = AuthSettings(issuer_url=ISSUER, resource_server_url=AUDIENCE, validate_token_resource=True)  # type: ignore[arg-type]
        server: MCPServer[Any] = MCPServer(
            "notes", token_verifier=mcp_token_verifier(verifier), auth=auth, log_level="ERROR"
        )

        @server.tool()
        def echo(text: str) -> str:
            """Say it again."""
            return text

        mcp_app = server.streamable_http_app()
        app: Any = Guard(mcp_app, verifier) if guarded else mcp_app
        async with serving(app) as url, httpx2.AsyncClient(trust_env=False) as plain:
            async with (
                httpx2.AsyncClient(auth=Minting(AUDIENCE), trust_env=False) as http,
                Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
            ):
                result = await client.call_tool("echo", {"text": "x"})
                assert getattr(result.content[0], "text", None) == "x"
                assert [tool.name for tool in (await client.list_tools()).tools] == ["echo"]
            used = sign(OLD, AUDIENCE, "echo", SOUND)
            again = [
                (await plain.post(f"{url}/mcp", content=call("echo", SOUND), headers=heads(used))).status_code
                for _ in range(2)
            ]
            none = await plain.post(f"{url}/mcp", content=call("echo", SOUND), headers=heads(None))
        assert again == [200, 401]
        assert none.status_code == 401

    run(scene)


def test_websockets_do_not_pass_the_guard() -> None:
    async def scene() -> None:
        sent: list[dict[str, Any]] = []

        async def app(_scope: Any, _receive: Any, _send: Any) -> None:
            raise AssertionError("reached")

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "websocket.connect"}

        verifier = Verifier(issuer=ISSUER, audience=AUDIENCE, jwks={"keys": [OLD.jwk]})
        await Guard(app, verifier)({"type": "websocket", "headers": []}, receive, send)
        assert sent == [{"type": "websocket.close", "code": 1008}]

    run(scene)
