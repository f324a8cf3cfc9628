"""POST /oauth/revoke (RFC 7009) and POST /oauth/introspect (RFC 7662), for tokens that were issued here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from joserfc import jws
from joserfc.errors import JoseError
from starlette.responses import Response

from ostiary import jose, keys, strictjson
from ostiary.control import Epoch
from ostiary.oauth.grants import end_family, live_refresh
from ostiary.oauth.scopes import PREFIX
from ostiary.oauth.token import CLIENT_AGENT
from ostiary.oauth.tokenendpoint import is_vouched_for, who
from ostiary.oauth.web import NO_STORE, OAuthError, answer, read_form
from ostiary.registry.effective import keys_of_token, suspension
from ostiary.registry.liveness import People
from ostiary.store import epochs, grants

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ostiary.control import Control
    from ostiary.oauth.clients import Client, Clients
    from ostiary.oauth.web import Asked

REVOKE_PATH: Final = "/oauth/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"
MAX_TOKEN: Final = 16 * 1024
_TOLD: Final = ("scope", "client_id", "sub", "aud", "exp", "iat", "iss", "jti", "act")
_TEXTS: Final = ("iss", "sub", "aud", "client_id", "scope", "jti")
_TIMES: Final = ("exp", "iat")
Claims = dict[str, Any]


def revoke(control: Control, clients: Clients, asked: Asked) -> Response:
    """Revoke a token of the client that asks; the answer does not tell whether there was one. Raises `OAuthError`."""
    form = read_form(asked)
    caller, _ = who(control, clients, asked, form, REVOKE_PATH)
    _revoke(control, caller.client_id, form.require("token"))
    return Response(status_code=200, headers=NO_STORE)


def introspect(control: Control, clients: Clients, asked: Asked) -> Response:
    """Tell clients that prove who they are whether a token counts: their own tokens.

    Those that an operator let in are told of the access tokens of others too, as servers need it; anybody can have a
    client of the other kinds. Raises `OAuthError`.
    """
    form = read_form(asked)
    caller, client = who(control, clients, asked, form, INTROSPECT_PATH)
    if caller.method == "none":
        raise OAuthError("invalid_client", "this needs a client that proves who it is", status=401)
    text = form.require("token")
    claims = live_claims(control, text)
    if claims is not None and (claims["client_id"] == caller.client_id or is_vouched_for(caller, client)):
        told: Claims = {name: claims[name] for name in _TOLD if name in claims}
        return answer({"active": True, "token_type": "Bearer", **told})
    return answer({"active": False} if client is None else _told_of_refresh(control, client, text))


def _told_of_refresh(control: Control, client: Client, text: str) -> Claims:
    """Return what `client` is told of a refresh token; nothing, where it is not its own."""
    found = live_refresh(control, client, text)
    if found is None:
        return {"active": False}
    family, expires_at = found
    scope = " ".join(PREFIX + name for name in family.scope)
    return {"active": True, "client_id": family.client, "sub": family.account, "scope": scope, "exp": expires_at}


def _revoke(control: Control, client_id: str, text: str) -> None:
    token = {"client_id": client_id, "issuer": "local"}
    with control.store.reading() as connection:
        found = grants.grant(connection, "refresh", text)
        family = None if found is None else grants.family(connection, found.family)
    if family is not None:
        if family.client == client_id:
            why = "the client revoked its refresh token"
            with control.store.changing() as connection:
                epoch = end_family(control, connection, family, why=why)
            principal = {"type": "human", "id": family.account}
            fields = {"principal": principal, "agent": family.agent, "token": {**token, "jti": None, "scope": []}}
            control.revoke([epoch], None, why=why, **fields)
        return
    claims = own_claims(control, text)
    if claims is None or claims["client_id"] != client_id or claims["exp"] <= control.now():
        return
    why = "the client revoked its access token"
    epoch = Epoch(kind="token", value=claims["jti"], epoch=max(control.now(), claims["iat"]), reason=why)
    principal = {"type": claims["sub"].partition(":")[0], "id": claims["sub"]}
    token |= {"jti": claims["jti"], "scope": claims["scope"].split()}
    control.revoke([epoch], None, why=why, principal=principal, token=token)


def own_claims(control: Control, text: str) -> Claims | None:
    """Return the claims of an access token that was signed here and lacks none, whether or not it still counts."""
    if len(text) > MAX_TOKEN:
        return None
    known = {key["kid"]: key for key in keys.published(control.store, now=control.now())}
    try:
        header = jws.extract_compact(text.encode(), registry=jose.REGISTRY).headers()
        key = jose.import_public(known.get(header.get("kid", ""), {}))
        if key is None or header.get("typ") != "at+jwt":
            return None
        payload = jws.deserialize_compact(text, key, registry=jose.REGISTRY).payload
        claims = strictjson.parse(payload)
    except (JoseError, ValueError):
        return None
    ours = isinstance(claims, dict) and claims.get("iss") == control.config.gateway.url
    return claims if ours and _is_whole(claims) else None


def _is_whole(claims: Claims) -> bool:
    """Whether a token says all that ours say: the key may have signed others, and what they lack is not guessed."""
    acts = claims.get("act", {})
    names = [claims.get(name) for name in _TEXTS]
    if str(claims.get("sub")).startswith("human:"):
        names.append(acts.get("sub") if isinstance(acts, dict) else None)
    times = [claims.get(name) for name in _TIMES]
    return (
        isinstance(acts, dict)
        and all(isinstance(name, str) for name in names)
        and all(isinstance(time, int) and not isinstance(time, bool) for time in times)
    )


def live_claims(control: Control, text: str) -> Claims | None:
    """Return the claims of an access token that counts now."""
    claims = own_claims(control, text)
    if claims is None or claims["exp"] <= control.now() or control.store.lockdown() is not None:
        return None
    act = claims.get("act", {})
    human = claims["sub"].startswith("human:")
    known = keys_of_token(
        control.config,
        subject=claims["sub"],
        client=claims["client_id"],
        agent=act.get("sub") if human else (claims["sub"] if claims["sub"].startswith("agent:") else None),
        family=claims.get("fam"),
        third_party=act.get("third_party"),
    )
    with control.store.reading() as connection:
        floor = epochs.floor(connection, [*known, ("token", claims["jti"])])
        counts = claims["iat"] > floor and _stands(control, connection, claims)
    return claims if counts else None


def _stands(control: Control, connection: sa.Connection, claims: Claims) -> bool:
    """Whether those for whom a token was issued may act now, and its server is still there."""
    config, now, subject = control.config, control.now(), claims["sub"]
    actor = claims["act"]["sub"] if subject.startswith("human:") else subject
    key = next((each for each in config.agents if config.agent_id(each) == actor), None)
    services = {config.service_id(each) for each in config.services}
    if key is None and actor not in services and not actor.startswith(CLIENT_AGENT):
        return False
    if claims["aud"].removeprefix(f"{config.gateway.url}/mcp/") not in config.servers:
        return False
    if subject.startswith("human:"):
        people = People.read(config, connection, only=[subject])
        if not people.standing(subject, now=now).live:
            return False
    return key is None or suspension(config, connection, key, now=now) is None
