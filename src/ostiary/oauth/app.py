"""The control app: everything that the data plane hands over, served by one table (`ostiary.oauth.routes`).

It listens on a Unix socket that only the data plane reaches. What the table of the configuration in force does not
have is not there, whatever the data plane may still believe. Handlers are plain functions on threads, so that one that
waits for somebody else's server holds up few: pages, which ask clients' sites and providers, have threads apart from
those for tokens, and what needs neither store nor network has none.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route as StarletteRoute

from ostiary.errors import OperationError
from ostiary.identity.signin import LegFailedError, SignInError
from ostiary.oauth import account, authorize, inspection, tokenendpoint
from ostiary.oauth.clients import Clients
from ostiary.oauth.metadata import metadata
from ostiary.oauth.pages import page
from ostiary.oauth.registration import Registration
from ostiary.oauth.routes import table
from ostiary.oauth.web import MAX_BODY_BYTES, Asked, OAuthError, read_cookies, refusal, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

    from ostiary.control import Control
    from ostiary.oauth.routes import Route

    Handler = Callable[[Asked], Response]

log = structlog.get_logger()

#: How many threads there are for tokens, and as many again for everything else.
THREADS: Final = 16
#: Answered at once, without a thread.
AT_ONCE: Final = frozenset({"metadata", "preflight", "style"})
FOR_TOKENS: Final = frozenset({"token", "revoke", "introspect"})
#: What the data plane says of the caller; it drops what the caller says of that.
CLIENT_HEADER: Final = "x-ostiary-client"
CORS: Final = {"Access-Control-Allow-Origin": "*"}
PREFLIGHT: Final = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, MCP-Protocol-Version",
    "Access-Control-Max-Age": "86400",
}


def control_app(control: Control) -> Starlette:
    """Return the app. It reads the configuration of `control` anew for each request."""
    handlers = _handlers(control)
    tokens = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="ostiary-tokens")
    pages = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="ostiary-pages")

    async def serve(request: Request) -> Response:
        found: dict[tuple[str, str], Route] = {(each.method, each.path): each for each in table(control.config)}
        route = found.get((request.method, request.url.path))
        if route is None:
            return PlainTextResponse("not found\n", status_code=404)
        asked = await _asked(request)
        if asked is None:
            return PlainTextResponse("too large\n", status_code=413)
        handler = handlers[route.endpoint]
        if route.endpoint in AT_ONCE:
            return _answer(route, handler, asked)
        pool = tokens if route.endpoint in FOR_TOKENS else pages
        return await asyncio.get_running_loop().run_in_executor(pool, _answer, route, handler, asked)

    return Starlette(routes=[StarletteRoute("/{path:path}", serve, methods=["GET", "POST", "OPTIONS"])])


def _handlers(control: Control) -> Mapping[str, Handler]:
    """Return what answers each endpoint of the table."""
    clients, registration = Clients(), Registration()
    return {
        "metadata": lambda _: JSONResponse(metadata(control.config), headers={"Cache-Control": "public, max-age=300"}),
        "preflight": lambda _: Response(status_code=204, headers=PREFLIGHT),
        "token": lambda asked: tokenendpoint.token(control, clients, asked),
        "revoke": lambda asked: inspection.revoke(control, clients, asked),
        "introspect": lambda asked: inspection.introspect(control, clients, asked),
        "register": lambda asked: registration.register(control, asked),
        "authorize": lambda asked: authorize.ask(control, clients, asked),
        "decide": lambda asked: authorize.decide(control, clients, asked),
        **{name: partial(_for_people, control, clients, endpoint) for name, endpoint in account.ENDPOINTS.items()},
    }


def _for_people(control: Control, clients: Clients, endpoint: account.Endpoint, asked: Asked) -> Response:
    try:
        return endpoint(control, asked.query, asked.cookies, asked.body, asked.client)
    except LegFailedError as failed:
        return authorize.sign_in_failed(control, clients, failed, asked)


async def _asked(request: Request) -> Asked | None:
    """Return what was asked, or `None` if it is too much."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            return None
    return Asked(
        method=request.method,
        path=request.url.path,
        query=request.url.query,
        headers=dict(request.headers),
        cookies=read_cookies(request.headers.getlist("cookie")),
        body=bytes(body),
        client=request.headers.get(CLIENT_HEADER, ""),
    )


def _answer(route: Route, handler: Handler, asked: Asked) -> Response:
    """Run a handler. Refusals become pages for people and JSON for programs, and so do faults of our own."""
    try:
        response = handler(asked)
    except OAuthError as error:
        response = _refuse(route, error, asked)
    except SignInError as error:
        response = refused(page("error", status=error.status, message=error.message), "sign_in")
    except OperationError:
        # The record or the store cannot be written: nothing was given.
        log.exception("the control side cannot do what it is asked", endpoint=route.endpoint)
        fault = OAuthError("temporarily_unavailable", "This cannot be done just now. Try again later.", status=503)
        response = _refuse(route, fault, asked)
    if route.origin == "any":
        response.headers.update(CORS)
    return response


def _refuse(route: Route, error: OAuthError, asked: Asked) -> Response:
    if route.origin == "any":
        return refused(refusal(error, basic="authorization" in asked.headers), error.error)
    status = 400 if error.status == 401 else error.status
    return refused(page("error", status=status, message=error.description), error.error)
