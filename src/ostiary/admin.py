"""The operators' door: health and metrics on a loopback port, and acts on a Unix socket.

The port only tells; whoever reaches it learns nothing secret and changes nothing. The socket lies in a folder that
only the gateway's user may enter, and each request on it is recorded under the user id that the kernel vouches for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any, Final, Literal

import uvicorn
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from ostiary import keys, strictjson
from ostiary.adminroutes import registry_routes
from ostiary.adminsocket import ListenError, peer_uid
from ostiary.errors import OperationError, OstiaryError
from ostiary.oauth.token import DEFAULT_TTL_S, TokenRequest
from ostiary.registrar import Operator

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ostiary.runtime import Runtime

MAX_BODY_BYTES: Final = 64 * 1024


# Health and metrics --------------------------------------------------------------------------------------------------


def health_app(runtime: Runtime) -> ASGIApp:
    """Return the app of `admin.listen`."""

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        return JSONResponse(_readiness(runtime), status_code=503 if runtime.draining else 200)

    async def metrics(_: Request) -> Response:
        text = await asyncio.to_thread(render_metrics, runtime)
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return _HostCheck(Starlette(routes=routes))


def _readiness(runtime: Runtime) -> dict[str, Any]:
    return {
        "ready": not runtime.draining,
        "snapshot": runtime.digest,
        "generation": runtime.generation,
        "lockdown": runtime.locked_down,
        "config": {"ok": not runtime.last_reload.problems, "problems": list(runtime.last_reload.problems)},
        "registry": {"ok": not runtime.problems, "problems": list(runtime.problems)},
    }


class _HostCheck:
    """Takes only an IP address or `localhost` as Host: a name would let a web page reach in by DNS rebinding."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or not _is_address(hosts[0]):
                await PlainTextResponse("wrong host\n", status_code=421)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _is_address(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def render_metrics(runtime: Runtime) -> str:
    """Return everything worth watching in Prometheus' text format. There is no token, name or argument in it."""
    lines: list[str] = []

    def metric(name: str, kind: str, meaning: str, samples: dict[str, float]) -> None:
        lines.extend([f"# HELP {name} {meaning}", f"# TYPE {name} {kind}"])
        lines.extend(f"{name}{labels} {value:.15g}" for labels, value in samples.items())

    for name, count in sorted(runtime.gateway.stats().items()):
        metric(f"ostiary_{name}_total", "counter", f"Count of {name.replace('_', ' ')} since the start.", {"": count})
    reloads = {f'{{result="{result}"}}': float(count) for result, count in runtime.reloads.items()}
    metric("ostiary_config_reloads_total", "counter", "Looks at changed files, by how they ended.", reloads)
    metric("ostiary_config_ok", "gauge", "1 if what the files say is in force.", {"": not runtime.last_reload.problems})
    metric("ostiary_config_read_seconds", "gauge", "When they were last read.", {"": runtime.last_reload.at})
    metric("ostiary_lockdown", "gauge", "1 while every call is refused.", {"": runtime.locked_down})
    metric("ostiary_control_faults_total", "counter", "Faults of our own that were survived.", {"": runtime.faults})
    metric("ostiary_snapshot_generation", "gauge", "Changes of the snapshot.", {"": runtime.generation})
    metric("ostiary_snapshot_info", "gauge", "The snapshot in force.", {f'{{digest="{runtime.digest}"}}': 1})
    created = next(key.created_at for key in runtime.all_keys() if key.retired_at is None)
    metric("ostiary_signing_key_created_seconds", "gauge", "When the signing key was made.", {"": created})
    metric("ostiary_start_time_seconds", "gauge", "When this process started.", {"": runtime.started_at})
    return "\n".join(lines) + "\n"


# Acts ----------------------------------------------------------------------------------------------------------------


class TokenBody(BaseModel):
    """The body of `POST /tokens`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["agent", "service"]
    name: str
    server: str
    scope: list[str] | None = None
    ttl_s: int = DEFAULT_TTL_S


class LockdownBody(BaseModel):
    """The body of `POST /lockdown` and `POST /lift`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    reason: str | None = None


def acts_app(runtime: Runtime) -> ASGIApp:
    """Return the app of the admin socket."""

    async def issue(request: Request) -> Response:
        body = TokenBody.model_validate_json(await _body(request))
        asked = TokenRequest(type=body.type, name=body.name, server=body.server, scope=body.scope, ttl_s=body.ttl_s)
        token = await asyncio.to_thread(runtime.issue_token, asked, _operator(request))
        return JSONResponse(token.as_json())

    async def list_keys(_: Request) -> Response:
        return JSONResponse({"keys": keys.describe(await asyncio.to_thread(runtime.all_keys))})

    async def rotate(request: Request) -> Response:
        key = await asyncio.to_thread(runtime.rotate_keys, _operator(request))
        return JSONResponse({"kid": key.kid})

    async def lock_down(request: Request) -> Response:
        body = LockdownBody.model_validate_json(await _body(request))
        await asyncio.to_thread(runtime.lock_down, body.reason, _operator(request))
        return JSONResponse({"lockdown": True})

    async def lift(request: Request) -> Response:
        body = LockdownBody.model_validate_json(await _body(request))
        await asyncio.to_thread(runtime.lift, body.reason, _operator(request))
        return JSONResponse({"lockdown": False})

    async def status(_: Request) -> Response:
        return JSONResponse({**_readiness(runtime), "listen": runtime.gateway.address, "pid": os.getpid()})

    return Starlette(
        routes=[
            Route("/tokens", _answering(issue), methods=["POST"]),
            Route("/keys", _answering(list_keys), methods=["GET"]),
            Route("/keys/rotate", _answering(rotate), methods=["POST"]),
            Route("/lockdown", _answering(lock_down), methods=["POST"]),
            Route("/lift", _answering(lift), methods=["POST"]),
            Route("/status", _answering(status), methods=["GET"]),
            *registry_routes(runtime, answering=_answering, body_of=_body, operator=_operator),
        ]
    )


def _answering(act: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Turn errors into answers: 400 for a body that is wrong, 409 for what cannot be done."""

    async def answer(request: Request) -> Response:
        try:
            return await act(request)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            return JSONResponse({"error": f"{where}: {first['msg']}", "hint": ""}, status_code=400)
        except strictjson.StrictJsonError as error:
            return JSONResponse(
                {"error": f"the body is not JSON as it is taken here: {error}", "hint": ""}, status_code=400
            )
        except OperationError as error:
            return JSONResponse({"error": error.message, "hint": error.hint}, status_code=409)
        except OstiaryError as error:
            return JSONResponse({"error": str(error), "hint": ""}, status_code=409)

    return answer


async def _body(request: Request) -> bytes:
    """Return the body, JSON in which nothing stands twice. Raises `StrictJsonError` or `OperationError`."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise OperationError("the request is too large")
    strictjson.parse(body)
    return body


def _operator(request: Request) -> Operator:
    return Operator.of_uid(request.scope["state"]["peer_uid"])


class _PeerProtocol(H11Protocol):
    """HTTP/1.1 that tells the app who is at the other end, and talks to nobody but our own user and root."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid not in (0, os.getuid()):
            transport.abort()
            return
        self.app_state = {**self.app_state, "peer_uid": uid}


# Sockets and servers -------------------------------------------------------------------------------------------------


def bind_tcp(listen: str) -> socket.socket:
    """Bind `admin.listen`. Raises `ListenError`."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ListenError(
            f"admin.listen {listen} cannot be had: {error.strerror}", hint="another process may hold the address"
        ) from error


class Server(uvicorn.Server):
    """uvicorn under our own signal handling: it stops when `should_exit` is set, and only then."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to the main task."""
        yield


def make_server(app: ASGIApp, *, unix: bool) -> Server:
    """Return a server for one of the two apps."""
    return Server(
        uvicorn.Config(
            app,
            http=_PeerProtocol if unix else "h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
            timeout_keep_alive=5,
            limit_concurrency=64,
        )
    )
