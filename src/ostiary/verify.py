"""For upstream servers: accept only calls that the gateway forwarded.

Three lines around any ASGI app:

    from ostiary.verify import Guard, Verifier
    verifier = Verifier(issuer="https://mcp.example.com", audience="http://notes.internal:9000/mcp")
    app = Guard(app, verifier)

Each forwarded call carries a JWT of its own (`typ: ostiary+jwt`, good for 60 s): who calls, which tool, and a digest
of the arguments. `issuer` is the gateway's `gateway.url`, `audience` this server's `url` in `ostiary.yaml`. Keys come
from `{issuer}/.well-known/jwks.json` unless `jwks_url` or `jwks` says otherwise; where the network in between is not
to be trusted, that has to be https, or `jwks` with the keys themselves.

A token is accepted once by one `Verifier`: several worker processes remember separately.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError

from ostiary import jose
from ostiary.errors import OstiaryError
from ostiary.jcs import canonical

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, MutableMapping

    from joserfc.jwk import ECKey, OKPKey
    from mcp.server.auth.provider import AccessToken, TokenVerifier

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

TYP: Final = "ostiary+jwt"
MAX_LIFE_S: Final = 120
MAX_JWKS_BYTES: Final = 256 * 1024
REFRESH_S: Final = 300
#: An unknown key id asks for the keys again, but no more often than this: anybody can send one.
REFETCH_S: Final = 10
#: Keys that could not be refreshed for this long are no longer believed.
STALE_S: Final = 3600

__all__ = ["Caller", "Guard", "Verifier", "VerifyError", "current_caller", "mcp_token_verifier"]

_caller: ContextVar[Caller | None] = ContextVar("ostiary_caller", default=None)


class VerifyError(OstiaryError):
    """The token does not prove a call through the gateway; the text says why and holds no part of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as the gateway vouches for it; `decision` is the id of the record there."""

    subject: str
    client_id: str | None
    decision: str
    server: str | None
    tool: str | None
    expires_at: int
    claims: Mapping[str, Any]

    def check_call(self, tool: str | None, arguments: Mapping[str, Any] | None) -> None:
        """Check that the token was made for this very call; `tool=None` is any message that is no tool call.

        Raises `VerifyError`.
        """
        if tool != self.tool:
            raise VerifyError("the token was made for another tool")
        if tool is None:
            return
        try:
            digest = hashlib.sha256(canonical(arguments or {})).digest()
        except ValueError as error:
            raise VerifyError(f"the arguments have no canonical form: {error}") from error
        expected = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if not hmac.compare_digest(expected, str(self.claims.get("args_sha256"))):
            raise VerifyError("the token was made for other arguments")


def current_caller() -> Caller | None:
    """Return who calls, inside a request that `Guard` let through."""
    return _caller.get()


class Verifier:
    """Checks the gateway's tokens for one audience. Safe to share between tasks of one event loop."""

    def __init__(
        self,
        *,
        issuer: str,
        audience: str,
        jwks: Mapping[str, Any] | None = None,
        jwks_url: str | None = None,
        timeout_s: float = 5.0,
        leeway_s: int = 5,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Take the keys from `jwks`, or fetch them from `jwks_url` when first needed.

        `leeway_s` is how far the two clocks may differ.
        """
        self.issuer = issuer
        self.audience = audience
        self._leeway_s = leeway_s
        self._clock = clock
        self._seen: dict[str, float] = {}
        self._keys: KeySource = (
            _PinnedKeys(jwks)
            if jwks is not None
            else _FetchedKeys(jwks_url or issuer.rstrip("/") + "/.well-known/jwks.json", timeout_s)
        )

    async def verify(self, token: str, *, once: bool = True) -> Caller:
        """Return who `token` speaks for. Raises `VerifyError`.

        `once` refuses a token that this verifier has accepted before.
        """
        try:
            signed = jws.extract_compact(token.encode("ascii"), registry=jose.REGISTRY)
            header = signed.headers()
        except (JoseError, ValueError) as error:
            raise VerifyError("the token is no signed JWT") from error
        kid = header.get("kid")
        if header.get("typ") != TYP or not isinstance(kid, str):
            raise VerifyError(f"the token is not of type {TYP}, or names no key")
        key = await self._keys.find(kid)
        try:
            if not jws.validate_compact(signed, key, registry=jose.REGISTRY):
                raise VerifyError("the signature is wrong")
            claims = json.loads(signed.payload or b"", object_pairs_hook=_unique)
        except (JoseError, ValueError) as error:
            raise VerifyError("the token is no signed JWT") from error
        caller = self._read(claims)
        if once:
            self._remember(caller)
        return caller

    def _read(self, claims: Any) -> Caller:
        if not isinstance(claims, dict):
            raise VerifyError("the token's claims are no object")
        if claims.get("iss") != self.issuer:
            raise VerifyError("the token comes from another issuer")
        # Exactly us: a token for several audiences could be used at each by each other.
        if claims.get("aud") not in (self.audience, [self.audience]):
            raise VerifyError("the token is for another server")
        self._check_times(claims.get("iat"), claims.get("exp"))
        for name in ("sub", "jti"):
            if not isinstance(claims.get(name), str) or not claims[name]:
                raise VerifyError(f"the token has no {name}")
        for name in ("client_id", "server", "tool"):
            if not isinstance(claims.get(name), str | None):
                raise VerifyError(f"the token's {name} is no text")
        return Caller(
            subject=claims["sub"],
            client_id=claims.get("client_id"),
            decision=claims["jti"],
            server=claims.get("server"),
            tool=claims.get("tool"),
            expires_at=claims["exp"],
            claims=claims,
        )

    def _check_times(self, issued: object, expires: object) -> None:
        now = self._clock()
        if type(issued) is not int or type(expires) is not int:
            raise VerifyError("the token has no times")
        if expires + self._leeway_s <= now:
            raise VerifyError("the token has expired")
        if issued - self._leeway_s > now or not 0 < expires - issued <= MAX_LIFE_S:
            raise VerifyError("the token's times make no sense")

    def _remember(self, caller: Caller) -> None:
        now = self._clock()
        # In the order of their coming, which is that of their expiry to within a token's life.
        while self._seen and next(iter(self._seen.values())) <= now:
            del self._seen[next(iter(self._seen))]
        if caller.decision in self._seen:
            raise VerifyError("the token has been used before")
        self._seen[caller.decision] = caller.expires_at + self._leeway_s


class KeySource:
    """Where public keys come from."""

    async def find(self, kid: str) -> OKPKey | ECKey:
        """Return the key called `kid`. Raises `VerifyError` if there is none."""
        raise NotImplementedError


class _PinnedKeys(KeySource):
    def __init__(self, jwks: Mapping[str, Any]) -> None:
        self._keys = _read_jwks(jwks)

    async def find(self, kid: str) -> OKPKey | ECKey:
        if kid not in self._keys:
            raise VerifyError("the token is signed with a key that is not published")
        return self._keys[kid]


class _FetchedKeys(KeySource):
    def __init__(self, url: str, timeout_s: float) -> None:
        if not url.startswith(("https://", "http://")):
            raise ValueError(f"jwks_url must be an http or https URL, not {url!r}")
        self._url = url
        self._timeout_s = timeout_s
        self._keys: dict[str, OKPKey | ECKey] = {}
        self._fetched_at = -float("inf")
        self._tried_at = -float("inf")
        self._lock = asyncio.Lock()

    async def find(self, kid: str) -> OKPKey | ECKey:
        if kid not in self._keys or time.monotonic() - self._fetched_at > REFRESH_S:
            await self._refresh(kid)
        if time.monotonic() - self._fetched_at > STALE_S:
            raise VerifyError(f"the gateway's keys cannot be had from {self._url}")
        if kid not in self._keys:
            raise VerifyError("the token is signed with a key that is not published")
        return self._keys[kid]

    async def _refresh(self, kid: str) -> None:
        async with self._lock:
            fresh = time.monotonic() - self._fetched_at <= REFRESH_S
            if (kid in self._keys and fresh) or time.monotonic() - self._tried_at < REFETCH_S:
                return
            self._tried_at = time.monotonic()
            try:
                jwks = await asyncio.to_thread(_fetch, self._url, self._timeout_s)
                self._keys = _read_jwks(jwks)
            except (OSError, ValueError):
                return  # what we have serves until it is stale; `find` says so then
            self._fetched_at = time.monotonic()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _fetch(url: str, timeout_s: float) -> Any:
    # No redirects and no proxy from the environment: whoever answers here decides whom we believe.
    opener = urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout_s) as response:
        body = response.read(MAX_JWKS_BYTES + 1)
    if len(body) > MAX_JWKS_BYTES:
        raise ValueError("the key set is too large")
    return json.loads(body)


def _read_jwks(jwks: Any) -> dict[str, OKPKey | ECKey]:
    keys: dict[str, OKPKey | ECKey] = {}
    if not isinstance(jwks, dict) or not isinstance(jwks.get("keys"), list):
        raise ValueError("not a JWK set")  # noqa: TRY004 - it is what was fetched that is wrong
    for jwk in jwks["keys"]:
        key = jose.import_public(jwk) if isinstance(jwk, dict) else None
        if key is not None and isinstance(jwk.get("kid"), str):
            keys[jwk["kid"]] = key
    return keys


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is written twice")
    return found


class Guard:
    """ASGI middleware: refuses with 401 what the gateway did not forward, and what is not the call it decided on."""

    def __init__(self, app: App, verifier: Verifier, *, max_body_bytes: int = 16 * 1024 * 1024) -> None:
        self._app = app
        self._verifier = verifier
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Let a proven call through with `scope["ostiary"]`, its `Caller`; refuse websockets."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            caller = await self._verifier.verify(_bearer(scope["headers"]))
            body = await self._body(receive)
            caller.check_call(*_called(body))
        except VerifyError as error:
            await _refuse(send, 401, str(error))
            return
        except _BodyTooLargeError:
            await _refuse(send, 413, "the body is too large")
            return
        replayed = False

        async def again() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": body, "more_body": False}

        token = _caller.set(caller)
        try:
            await self._app({**scope, "ostiary": caller}, again, send)
        finally:
            _caller.reset(token)

    async def _body(self, receive: Receive) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise VerifyError("the client went away")
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_body_bytes:
                raise _BodyTooLargeError
            if not message.get("more_body", False):
                return b"".join(parts)


class _BodyTooLargeError(Exception):
    pass


def _bearer(headers: list[tuple[bytes, bytes]]) -> str:
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or not values[0].lower().startswith(b"bearer "):
        raise VerifyError("no token: call through the gateway")
    try:
        return values[0][7:].strip().decode("ascii")
    except UnicodeDecodeError as error:
        raise VerifyError("the token is no signed JWT") from error


def _called(body: bytes) -> tuple[str | None, Mapping[str, Any] | None]:
    """Return tool and arguments of a tool call, and `(None, None)` for any other message."""
    if not body:
        return None, None
    try:
        message = json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise VerifyError("the message is no JSON that means one thing") from error
    if not isinstance(message, dict):
        raise VerifyError("the message is no single JSON-RPC message")
    if message.get("method") != "tools/call":
        return None, None
    params = message.get("params")
    if not isinstance(params, dict) or not isinstance(params.get("name"), str):
        raise VerifyError("the call names no tool")
    arguments = params.get("arguments", {})
    if not isinstance(arguments, dict):
        raise VerifyError("the call's arguments are no object")
    return params["name"], arguments


async def _refuse(send: Send, status: int, why: str) -> None:
    body = f"{why}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer error="invalid_token"'))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def mcp_token_verifier(verifier: Verifier) -> TokenVerifier:
    """Return `verifier` in the shape that the official Python SDK takes: `MCPServer(token_verifier=…, auth=…)`.

    The SDK then binds sessions to the caller. It checks the token, not the call: put `Guard` around the app as well
    to hold the tool and its arguments to the token; the two share the one use of it.
    """
    from mcp.server.auth.provider import AccessToken

    class Adapter:
        async def verify_token(self, token: str) -> AccessToken | None:
            guarded = current_caller()
            try:
                caller = await verifier.verify(token, once=guarded is None)
            except VerifyError:
                return None
            if guarded is not None and guarded.decision != caller.decision:
                return None
            return AccessToken(
                token=token,
                client_id=caller.client_id or caller.subject,
                scopes=[],
                expires_at=caller.expires_at,
                resource=verifier.audience,
                subject=caller.subject,
                claims=dict(caller.claims),
            )

    return Adapter()
