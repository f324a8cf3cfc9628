"""What the provider serves: the endpoints of OpenID Connect, and the test's controls."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import secrets
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.kit.issuer import b64, compact, new_key
from tests.kit.provider import CLIENT_ID, SECRET

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.requests import Request

COOKIE = "idp"
WELL_KNOWN = "/.well-known/openid-configuration"


def behaving() -> dict[str, Any]:
    """How the provider behaves until the test says otherwise."""
    return {
        "auto": None,
        "down": False,
        "hangs": False,
        "id_token": {},
        "userinfo": {},
        "answer": {},
        "callback": {},
        "discovery": {},
        "signing": "RS256",
        "rotate": True,
        "refresh": True,
        "id_token_on_refresh": True,
        "only_userinfo": [],
        "redirect_uris": None,
        "secret": SECRET,
        "statuses": {},
    }


@dataclass(slots=True)
class State:
    """Everything that the provider knows."""

    origin: str
    issuer: str
    document: dict[str, Any]
    behaviour: dict[str, Any] = field(default_factory=behaving)
    preset: dict[str, Any] | None = None
    users: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, Any]] = field(default_factory=dict)
    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    spent: set[str] = field(default_factory=set)
    seen: list[dict[str, Any]] = field(default_factory=list)
    generation: int = 1
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def kid(self) -> str:
        """The id of the key that signs."""
        return f"provider-{self.generation}"

    def discovery(self) -> dict[str, Any]:
        """The document as it is served."""
        return changed(self.document, self.behaviour["discovery"])


def own_document(origin: str) -> dict[str, Any]:
    """Return the discovery document of a plain provider."""
    return {
        "issuer": origin,
        "authorization_endpoint": f"{origin}/authorize",
        "token_endpoint": f"{origin}/token",
        "userinfo_endpoint": f"{origin}/userinfo",
        "jwks_uri": f"{origin}/jwks",
        "end_session_endpoint": f"{origin}/logout",
        "scopes_supported": ["openid", "email", "profile", "offline_access"],
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
    }


def changed(sound: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `sound` with members put in place; one that is set to None is left out."""
    return {name: value for name, value in {**sound, **changes}.items() if value is not None}


def make_app(origin: str) -> Starlette:
    """Return the provider as an application."""
    state = State(origin, origin, own_document(origin))
    state.answering.set()

    async def serve(request: Request) -> Response:
        path = request.url.path
        form = dict(urllib.parse.parse_qsl((await request.body()).decode())) if request.method == "POST" else {}
        authorization = request.headers.get("authorization")
        query = dict(request.query_params)
        state.seen.append({"path": path, "query": query, "form": form, "authorization": authorization})
        await state.answering.wait()
        if state.behaviour["down"]:
            return Response("down", status_code=503)
        if path in state.behaviour["statuses"]:
            return Response("not so", status_code=state.behaviour["statuses"][path])
        if path == urllib.parse.urlsplit(state.issuer).path + WELL_KNOWN:
            return JSONResponse(state.discovery())
        endpoints: dict[str, Callable[[], Response]] = {
            "authorization_endpoint": lambda: authorize(state, request, form),
            "token_endpoint": lambda: token(state, form, authorization),
            "userinfo_endpoint": lambda: userinfo(state, authorization),
            "jwks_uri": lambda: JSONResponse({"keys": [new_key("RS256", state.kid).jwk]}),
            "end_session_endpoint": lambda: end_session(query),
        }
        for name, answer in endpoints.items():
            url = state.discovery().get(name)
            if url is not None and urllib.parse.urlsplit(url).path == path:
                return answer()
        return Response("not here", status_code=404)

    async def control(request: Request) -> Response:
        act, body = request.path_params["act"], await request.json()
        return JSONResponse(CONTROLS[act](state, body))

    return Starlette(
        routes=[
            Route("/test/{act}", control, methods=["POST"]),
            Route("/{path:path}", serve, methods=["GET", "POST"]),
        ]
    )


# Endpoints ------------------------------------------------------------------------------------------------------------


def authorize(state: State, request: Request, form: Mapping[str, str]) -> Response:
    """Sign somebody in, and send the browser back with a code."""
    asked = dict(request.query_params)
    wanted = {"response_type": "code", "client_id": CLIENT_ID, "code_challenge_method": "S256"}
    wrong = [name for name, value in wanted.items() if asked.get(name) != value]
    wrong += [name for name in ("redirect_uri", "state", "nonce", "code_challenge") if not asked.get(name)]
    if "openid" not in asked.get("scope", "").split():
        wrong.append("scope")
    if state.behaviour["redirect_uris"] and asked.get("redirect_uri") not in state.behaviour["redirect_uris"]:
        wrong.append("redirect_uri")
    if wrong:
        return Response(f"wrong: {', '.join(wrong)}", status_code=400)
    sub = form.get("username") or asked.get("login_hint") or state.behaviour["auto"] or request.cookies.get(COOKIE)
    if sub is None:
        return HTMLResponse(LOGIN.format(query=html.escape(request.url.query)))
    back: dict[str, Any] = {"state": asked["state"]}
    if state.discovery().get("authorization_response_iss_parameter_supported"):
        back["iss"] = state.issuer
    if sub not in state.users:
        back["error"] = "access_denied"
    else:
        back["code"] = secrets.token_urlsafe(16)
        state.codes[back["code"]] = {**asked, "sub": sub, "auth_time": int(time.time())}
    location = asked["redirect_uri"] + "?" + urllib.parse.urlencode(changed(back, state.behaviour["callback"]))
    answer = RedirectResponse(location, status_code=302)
    if form.get("username"):
        answer.set_cookie(COOKIE, sub, httponly=True, samesite="lax")
    return answer


LOGIN = """<!doctype html><html lang="en"><title>Test provider</title><h1>Sign in</h1>
<form method="post" action="?{query}"><label>User <input name="username" autofocus></label>
<button>Sign in</button></form></html>"""


def token(state: State, form: Mapping[str, str], authorization: str | None) -> Response:
    """Answer the token endpoint (RFC 6749 section 4.1.3 and 6)."""
    if not _is_client(state, form, authorization):
        return _error("invalid_client", 401)
    if form.get("grant_type") == "authorization_code":
        asked = state.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if asked is None or asked["redirect_uri"] != form.get("redirect_uri") or asked["code_challenge"] != b64(digest):
            return _error("invalid_grant")
        return _tokens(state, asked, first=True)
    if form.get("grant_type") == "refresh_token":
        text = form.get("refresh_token", "")
        asked = state.tokens.get(text)
        if asked is None or asked.get("kind") != "refresh" or asked["sub"] not in state.users or text in state.spent:
            return _error("invalid_grant")
        if state.behaviour["rotate"]:
            state.spent.add(text)
        return _tokens(state, asked, first=False)
    return _error("unsupported_grant_type")


def _is_client(state: State, form: Mapping[str, str], authorization: str | None) -> bool:
    secret, client = form.get("client_secret"), form.get("client_id")
    if authorization is not None:
        kind, _, text = authorization.partition(" ")
        name, _, given = base64.b64decode(text).decode().partition(":")
        client, secret = urllib.parse.unquote_plus(name), urllib.parse.unquote_plus(given)
        if kind != "Basic" or "client_secret" in form:
            return False
    methods = state.discovery().get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    method = "client_secret_basic" if authorization else "client_secret_post" if secret else "none"
    if state.behaviour["secret"] is None:
        return client == CLIENT_ID and secret is None
    return client == CLIENT_ID and secret == state.behaviour["secret"] and method in methods


def _tokens(state: State, asked: Mapping[str, Any], *, first: bool) -> Response:
    access = secrets.token_urlsafe(16)
    state.tokens[access] = {"kind": "access", "sub": asked["sub"]}
    answer: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": 300}
    if state.behaviour["refresh"] and (first or state.behaviour["rotate"]):
        answer["refresh_token"] = secrets.token_urlsafe(16)
        kept = {"kind": "refresh", "sub": asked["sub"], "auth_time": asked["auth_time"]}
        state.tokens[answer["refresh_token"]] = kept
    if first or state.behaviour["id_token_on_refresh"]:
        answer["id_token"] = _id_token(state, asked, access)
    return JSONResponse(changed(answer, state.behaviour["answer"]), headers={"Cache-Control": "no-store"})


def _id_token(state: State, asked: Mapping[str, Any], access: str) -> str:
    now = int(time.time())
    hidden = state.behaviour["only_userinfo"]
    said = {name: value for name, value in state.users[asked["sub"]].items() if name not in hidden}
    issuer = state.issuer
    claims = {
        **said,
        "iss": issuer,
        "sub": asked["sub"],
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 300,
        "auth_time": asked["auth_time"],
        "nonce": asked.get("nonce"),
        "at_hash": b64(hashlib.sha256(access.encode()).digest()[:16]),
    }
    if state.preset is not None:
        claims |= _as_preset(state, said)
    payload = changed(claims, state.behaviour["id_token"])
    signing = state.behaviour["signing"]
    header = {"alg": signing if signing in {"none", "HS256"} else "RS256", "kid": state.kid, "typ": "JWT"}
    if signing == "none":
        return compact(header, payload, None)
    if signing == "HS256":
        return compact(header, payload, SECRET.encode())
    return compact(header, payload, new_key("RS256", "stranger" if signing == "stranger" else state.kid))


def _as_preset(state: State, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return what this kind of provider puts elsewhere than others: the issuer of one tenant, no `at_hash`."""
    assert state.preset is not None
    issuer = state.document["issuer"].replace("{tenantid}", str(said.get("tid")))
    kept = state.preset["id_token"]
    left_out = {name: None for name in ("at_hash", "auth_time") if name not in kept}
    return {"iss": issuer, **left_out}


def userinfo(state: State, authorization: str | None) -> Response:
    """Say what is known of a person to whoever has her access token."""
    known = state.tokens.get((authorization or "").removeprefix("Bearer "))
    if known is None or known["kind"] != "access" or known["sub"] not in state.users:
        return Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})
    said = state.users[known["sub"]]
    if state.preset is not None:
        said = state.preset["userinfo"]
    return JSONResponse(changed({**said, "sub": known["sub"]}, state.behaviour["userinfo"]))


def end_session(query: Mapping[str, str]) -> Response:
    """Forget the browser, and send it back where the client says."""
    back = query.get("post_logout_redirect_uri")
    answer = Response("signed out") if back is None else RedirectResponse(back, status_code=302)
    answer.delete_cookie(COOKIE)
    return answer


def _error(code: str, status: int = 400) -> Response:
    return JSONResponse({"error": code, "error_description": "as the test wants it"}, status_code=status)


# The test's controls --------------------------------------------------------------------------------------------------


def _user(state: State, body: dict[str, Any]) -> dict[str, Any]:
    state.users[body["sub"]] = body["claims"]
    return {}


def _disable(state: State, body: dict[str, Any]) -> dict[str, Any]:
    state.users.pop(body["sub"], None)
    return {}


def _set(state: State, body: dict[str, Any]) -> dict[str, Any]:
    unknown = set(body) - set(state.behaviour)
    if unknown:
        raise ValueError(f"no such behaviour: {unknown}")
    state.behaviour.update(body)
    state.answering.clear() if state.behaviour["hangs"] else state.answering.set()
    return {}


def _rotate(state: State, _: dict[str, Any]) -> dict[str, Any]:
    state.generation += 1
    return {}


def _reset(state: State, _: dict[str, Any]) -> dict[str, Any]:
    state.behaviour, state.preset, state.seen = behaving(), None, []
    state.answering.set()
    state.issuer, state.document = state.origin, own_document(state.origin)
    return {}


def _replay(state: State, preset: dict[str, Any]) -> dict[str, Any]:
    """Take on the documents of a preset, with our own address in place of every host."""
    _reset(state, {})
    state.preset = preset
    moved = {name: _moved(value, state.origin) for name, value in preset["discovery"].items()}
    state.document = {**moved, "id_token_signing_alg_values_supported": ["RS256"]}
    state.issuer = _moved(preset["issuer"], state.origin)
    token_claims = dict(preset["id_token"])
    sub = token_claims["sub"]
    protocol = ("iss", "sub", "aud", "iat", "nbf", "exp", "nonce", "at_hash", "auth_time")
    state.users[sub] = {name: value for name, value in token_claims.items() if name not in protocol}
    state.behaviour["auto"] = sub
    state.behaviour["rotate"] = preset["rotates"]
    return {"issuer": state.issuer, "sub": sub}


def _moved(value: Any, origin: str) -> Any:
    if not isinstance(value, str) or not value.startswith("https://"):
        return value
    # urlsplit would take the braces of an issuer template for something else
    _, slash, path = value.removeprefix("https://").partition("/")
    return f"{origin}{slash}{path}"


def _seen(state: State, _: dict[str, Any]) -> dict[str, Any]:
    return {"seen": json.loads(json.dumps(state.seen))}


CONTROLS = {
    "user": _user,
    "disable": _disable,
    "set": _set,
    "rotate": _rotate,
    "reset": _reset,
    "replay": _replay,
    "seen": _seen,
}
