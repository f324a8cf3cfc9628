"""The registry's part of the admin socket: people, agents, services, clients, credentials, revocation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ostiary.registry.acts import ACTS, LISTINGS, perform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from ostiary.control import Control
    from ostiary.registrar import Operator

    Endpoint = Callable[[Request], Awaitable[Response]]


def registry_routes(
    control: Control,
    *,
    answering: Callable[[Endpoint], Endpoint],
    body_of: Callable[[Request], Awaitable[bytes]],
    operator: Callable[[Request], Operator],
) -> list[Route]:
    """Return the routes. `answering` turns errors into answers; `body_of` and `operator` read a request."""

    def listing(path: str) -> Route:
        async def answer(_: Request) -> Response:
            return JSONResponse(await asyncio.to_thread(LISTINGS[path], control))

        return Route(path, answering(answer), methods=["GET"])

    def act(path: str) -> Route:
        async def answer(request: Request) -> Response:
            body = await body_of(request)
            return JSONResponse(await asyncio.to_thread(perform, control, path, body, operator(request)))

        return Route(path, answering(answer), methods=["POST"])

    return [*(listing(path) for path in LISTINGS), *(act(path) for path in ACTS)]
