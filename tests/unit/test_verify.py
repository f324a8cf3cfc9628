"""What a server behind the gateway accepts: a live token of that gateway, for itself, for this call, once."""

from __future__ import annotations

import asyncio
import hashlib
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from tests.kit.issuer import compact, new_key

from ostiary.jcs import canonical
from ostiary.verify import Caller, Verifier, VerifyError

NOW = 1_790_000_000
ISSUER = "http://gw.test:8811"
AUDIENCE = "http://notes.test:9000/mcp"
KEY = new_key("EdDSA", "gw-1")
EC = new_key("ES256", "gw-2")
FOREIGN = new_key("EdDSA", "gw-x")


def digest(arguments: dict[str, Any]) -> str:
    return urlsafe_b64encode(hashlib.sha256(canonical(arguments)).digest()).rstrip(b"=").decode()


def verifier(**changes: Any) -> Verifier:
    jwks = {"keys": [KEY.jwk, EC.jwk]}
    settings = {"issuer": ISSUER, "audience": AUDIENCE, "jwks": jwks, "clock": lambda: float(NOW)}
    return Verifier(**{**settings, **changes})


def token(header: dict[str, Any] | None = None, key: Any = KEY, /, **changes: Any) -> str:
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "agent:local:bot",
        "client_id": "agent:local:bot",
        "jti": "decision-1",
        "server": "notes",
        "tool": "echo",
        "args_sha256": digest({"text": "x"}),
        "iat": NOW,
        "exp": NOW + 60,
    }
    whole = {name: value for name, value in {**claims, **changes}.items() if value is not ...}
    given = {"alg": "EdDSA", "kid": "gw-1", "typ": "ostiary+jwt", **(header or {})}
    return compact({name: value for name, value in given.items() if value is not ...}, whole, key)


def accept(text: str, **changes: Any) -> Caller:
    return asyncio.run(verifier(**changes).verify(text))


@pytest.mark.parametrize(("alg", "key"), [("EdDSA", KEY), ("ES256", EC)])
def test_a_sound_token_says_who_calls(alg: str, key: Any) -> None:
    caller = accept(token({"alg": alg, "kid": key.kid}, key))
    assert (caller.subject, caller.client_id, caller.decision) == ("agent:local:bot", "agent:local:bot", "decision-1")
    assert (caller.server, caller.tool, caller.expires_at) == ("notes", "echo", NOW + 60)


WRONG: dict[str, str] = {
    "expired": token(iat=NOW - 66, exp=NOW - 6),
    "from the future": token(iat=NOW + 6, exp=NOW + 66),
    "too long": token(exp=NOW + 121),
    "never lived": token(exp=NOW),
    "no times": token(exp=...),
    "times as text": token(exp=str(NOW + 60)),
    "boolean times": token(iat=True),
    "another issuer": token(iss="http://gw.test:8811/"),
    "no issuer": token(iss=...),
    "another audience": token(aud="http://other.test/mcp"),
    "several audiences": token(aud=[AUDIENCE, "http://other.test/mcp"]),
    "no audience": token(aud=...),
    "no subject": token(sub=...),
    "empty subject": token(sub=""),
    "no id": token(jti=...),
    "tool of another type": token(tool=["echo"]),
    "an access token": token({"typ": "at+jwt"}),
    "no type": token({"typ": ...}),
    "a checkpoint": token({"typ": "ostiary-checkpoint+jwt"}),
    "no key id": token({"kid": ...}),
    "unknown key": token({"kid": "gw-x"}, FOREIGN),
    "another's signature": token({}, FOREIGN),
    "no signature": token({"alg": "none"}, None),
    "empty signature": token({}, None),
    "symmetric with the public key": token({"alg": "HS256"}, KEY.pem),
    "key of another kind": token({"alg": "ES256"}, EC),
    "critical extension": token({"crit": ["exp"], "exp": 1}),
    "a key of its own": token({"jwk": FOREIGN.jwk, "kid": "gw-x"}, FOREIGN),
    "duplicate claim": compact({"alg": "EdDSA", "kid": "gw-1", "typ": "ostiary+jwt"}, b'{"iss":"a","iss":"b"}', KEY),
    "no object": compact({"alg": "EdDSA", "kid": "gw-1", "typ": "ostiary+jwt"}, b"[]", KEY),
    "rubbish": "a.b.c",
    "two parts": token().rpartition(".")[0],
    "empty": "",
    "not ASCII": "é.é.é",
}


@pytest.mark.parametrize("name", WRONG)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(VerifyError):
        accept(WRONG[name])


def test_a_changed_payload_is_refused() -> None:
    head, _, signature = token().split(".")
    _, payload, _ = token(sub="human:corp:root").split(".")
    with pytest.raises(VerifyError, match="signature"):
        accept(f"{head}.{payload}.{signature}")


def test_a_token_counts_once_and_is_forgotten_when_it_has_expired() -> None:
    now = [float(NOW)]
    one = verifier(clock=lambda: now[0])

    async def scene() -> None:
        await one.verify(token())
        with pytest.raises(VerifyError, match="used before"):
            await one.verify(token())
        await one.verify(token(), once=False)
        now[0] = NOW + 66.0
        await one.verify(token(iat=NOW + 66, exp=NOW + 126, jti="decision-2"))
        with pytest.raises(VerifyError, match="expired"):
            await one.verify(token())

    asyncio.run(scene())
    assert len(one._seen) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "ok"),
    [
        ("echo", {"text": "x"}, True),
        ("echo", {"text": "y"}, False),
        ("echo", {}, False),
        ("add", {"text": "x"}, False),
        (None, None, False),
        ("echo", {"text": 2**60}, False),
    ],
)
def test_a_token_is_for_one_tool_and_one_set_of_arguments(tool: str | None, arguments: Any, ok: bool) -> None:
    caller = accept(token())
    if ok:
        caller.check_call(tool, arguments)
    else:
        with pytest.raises(VerifyError):
            caller.check_call(tool, arguments)


def test_equal_arguments_in_another_spelling_are_the_same() -> None:
    accept(token(args_sha256=digest({"a": 1, "b": [1000]}))).check_call("echo", {"b": [1e3], "a": 1.0})


def test_a_token_for_a_message_that_is_no_call_opens_no_tool() -> None:
    caller = accept(token(tool=..., args_sha256=...))
    caller.check_call(None, None)
    with pytest.raises(VerifyError):
        caller.check_call("echo", {})


@pytest.mark.parametrize("jwks", [{}, {"keys": {}}, [], None, {"keys": 1}])
def test_a_key_set_that_is_none_is_refused_at_once(jwks: Any) -> None:
    if jwks is None:
        with pytest.raises(ValueError):
            Verifier(issuer=ISSUER, audience=AUDIENCE, jwks_url="file:///etc/passwd")
        return
    with pytest.raises(ValueError):
        Verifier(issuer=ISSUER, audience=AUDIENCE, jwks=jwks)


@pytest.mark.parametrize("change", [{"use": "enc"}, {"alg": "ES256"}, {"kty": "oct"}, {"crv": "X25519"}, {"kid": 7}])
def test_a_key_for_something_else_is_not_used(change: dict[str, Any]) -> None:
    with pytest.raises(VerifyError, match="not published"):
        accept(token(), jwks={"keys": [{**KEY.jwk, **change}]})
