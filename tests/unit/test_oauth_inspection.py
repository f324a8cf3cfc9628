"""Revocation and introspection by clients, and clients without refresh tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.control import BOSS, LOCAL, START, URL, ControlSide, basic
from tests.kit.issuer import read

from ostiary import jose
from ostiary.control import Epoch
from ostiary.store import Lockdown, accounts, registry

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_client_revokes_its_refresh_token_and_all_of_its_family(side: ControlSide, said: dict[str, Any]) -> None:
    answer = side.post("/oauth/revoke", {"client_id": "ide", "token": said["refresh_token"]})
    assert (answer.status_code, answer.text) == (200, "")
    assert side.refresh("ide", said["refresh_token"]).json()["error"] == "invalid_grant"
    assert [epoch.kind for epoch in side.epochs] == ["family"]


def test_a_client_revokes_its_access_token_alone(side: ControlSide, said: dict[str, Any]) -> None:
    assert side.post("/oauth/revoke", {"client_id": "ide", "token": said["access_token"]}).status_code == 200
    [epoch] = side.epochs
    assert (epoch.kind, epoch.value) == ("token", read(said["access_token"])[1]["jti"])
    assert side.refresh("ide", said["refresh_token"]).status_code == 200


@pytest.mark.parametrize("which", ["access_token", "refresh_token"])
def test_nobody_revokes_the_tokens_of_another(side: ControlSide, said: dict[str, Any], which: str) -> None:
    answer = side.post("/oauth/revoke", {"client_id": "desk-client", "token": said[which]})
    assert (answer.status_code, side.epochs) == (200, [])
    assert side.refresh("ide", said["refresh_token"]).status_code == 200


@pytest.mark.parametrize("token", ["made-up", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "x" * 20_000])
def test_revoking_what_is_no_token_is_fine(side: ControlSide, token: str) -> None:
    assert side.post("/oauth/revoke", {"client_id": "ide", "token": token}).status_code == 200
    assert side.epochs == []


def introspect(side: ControlSide, token: str) -> dict[str, Any]:
    answer = side.post("/oauth/introspect", {"token": token}, Authorization=basic("site", side.secret))
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_client_with_a_secret_may_ask_what_a_token_is_good_for(side: ControlSide, said: dict[str, Any]) -> None:
    claims = read(said["access_token"])[1]
    told = introspect(side, said["access_token"])
    kept = ("scope", "client_id", "sub", "aud", "exp", "iat", "iss", "jti", "act")
    assert told == {"active": True, "token_type": "Bearer", **{name: claims[name] for name in kept}}


def test_a_token_that_counts_no_more_is_told_as_nothing_else(side: ControlSide, said: dict[str, Any]) -> None:
    good = said["access_token"]
    header, payload, signature = good.split(".")
    for token in ("made-up", f"{header}.{payload}.{signature[::-1]}", said["refresh_token"]):
        assert introspect(side, token) == {"active": False}
    side.revoke([Epoch(kind="client", value="ide", epoch=START)], BOSS, why="enough")
    assert introspect(side, good) == {"active": False}


def test_an_expired_token_is_not_active(side: ControlSide, said: dict[str, Any]) -> None:
    side.now_is += 599
    assert introspect(side, said["access_token"])["active"]
    side.now_is += 1
    assert introspect(side, said["access_token"]) == {"active": False}


def test_who_registered_itself_with_a_secret_is_told_of_its_own_tokens_alone(
    side: ControlSide, said: dict[str, Any]
) -> None:
    own = side.register({"redirect_uris": [LOCAL]}).json()
    alice, proof = side.staff("alice"), {"Authorization": basic(own["client_id"], own["client_secret"])}
    code = side.code(own["client_id"], alice)
    mine = side.exchange(own["client_id"], code, client_secret=own["client_secret"]).json()

    def told(token: str) -> Any:
        return side.post("/oauth/introspect", {"token": token}, **proof).json()

    assert told(mine["access_token"])["jti"] == read(mine["access_token"])[1]["jti"]
    assert told(mine["refresh_token"]) == {
        "active": True,
        "client_id": own["client_id"],
        "sub": "human:sso:alice",
        "scope": "mcp:read mcp:query",
        "exp": START + 8 * 3600,
    }
    assert [told(said[which]) for which in ("access_token", "refresh_token")] == [{"active": False}] * 2
    side.refresh(own["client_id"], mine["refresh_token"], client_secret=own["client_secret"])
    assert told(mine["refresh_token"]) == {"active": False}, "it was used"


def test_whoever_has_no_secret_is_told_nothing(side: ControlSide, said: dict[str, Any]) -> None:
    answer = side.post("/oauth/introspect", {"client_id": "ide", "token": said["access_token"]})
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


def expired(side: ControlSide) -> None:
    side.now_is += 8 * 3600


def revoked(side: ControlSide) -> None:
    side.revoke([Epoch(kind="client", value="site", epoch=START)], BOSS, why="enough")


def locked_down(side: ControlSide) -> None:
    side.store.lock_down(Lockdown(at=START, by="boss", reason=None))


def left(side: ControlSide) -> None:
    accounts.end(side.store, "human:sso:alice", now=START, why="left")


def forgotten(side: ControlSide) -> None:
    with side.store.changing() as connection:
        connection.exec_driver_sql("DELETE FROM consents")


@pytest.mark.parametrize("change", [None, expired, revoked, locked_down, left, forgotten])
def test_a_refresh_token_is_active_as_long_as_it_could_be_used(
    side: ControlSide, change: Callable[[ControlSide], None] | None
) -> None:
    code = side.code("site", side.staff("alice"))
    token = side.exchange("site", code, client_secret=side.secret).json()["refresh_token"]
    assert introspect(side, token)["active"]
    if change is not None:
        change(side)
        assert introspect(side, token) == {"active": False}
    assert (side.refresh("site", token, client_secret=side.secret).status_code == 200) == (change is None)


@pytest.mark.parametrize(
    "claims",
    [
        *({name: None} for name in ("iss", "sub", "aud", "client_id", "scope", "jti", "exp", "iat", "act")),
        *({name: 1} for name in ("sub", "aud", "client_id", "scope", "jti")),
        *({name: "1"} for name in ("exp", "iat")),
        {"exp": True},
        {"aud": [f"{URL}/mcp/notes"]},
        {"act": {}},
        {"act": "agent:client:ide"},
    ],
)
def test_a_token_of_our_own_key_that_lacks_something_is_not_active(
    side: ControlSide, said: dict[str, Any], claims: dict[str, Any]
) -> None:
    key = side.signing_key()
    assert key.seed is not None
    whole = read(said["access_token"])[1]

    def signed(changed: dict[str, Any]) -> str:
        kept = {name: value for name, value in changed.items() if value is not None}
        return jose.sign({"typ": "at+jwt", "kid": key.kid}, json.dumps(kept).encode(), key.seed or b"")

    assert introspect(side, signed(whole))["active"]
    token = signed({**whole, **claims})
    assert introspect(side, token) == {"active": False}
    assert side.post("/oauth/revoke", {"client_id": "ide", "token": token}).status_code == 200
    assert side.epochs == []


@pytest.mark.parametrize(
    ("document", "given"),
    [
        ({}, True),
        ({"grant_types": []}, True),
        ({"grant_types": ["authorization_code", "refresh_token"]}, True),
        ({"grant_types": ["authorization_code"]}, False),
    ],
)
def test_who_registered_without_refresh_tokens_has_none(
    side: ControlSide, document: dict[str, Any], given: bool
) -> None:
    public = {"redirect_uris": [LOCAL], "token_endpoint_auth_method": "none"}
    client = side.register({**public, **document}).json()["client_id"]
    said = side.tokens(client, side.staff("alice"))
    assert ("refresh_token" in said) == given
    refused = side.refresh(client, said.get("refresh_token", "made-up"))
    assert refused.json().get("error") == (None if given else "unauthorized_client")


def test_a_code_without_refresh_tokens_is_good_once_too(side: ControlSide) -> None:
    public = {"redirect_uris": [LOCAL], "token_endpoint_auth_method": "none", "grant_types": ["authorization_code"]}
    client = side.register(public).json()["client_id"]
    code = side.code(client, side.staff("alice"))
    assert [side.exchange(client, code).status_code for _ in range(2)] == [200, 400]
    assert [epoch.kind for epoch in side.epochs] == ["family"]


def suspended(side: ControlSide) -> None:
    with side.store.changing() as connection:
        registry.suspend_agent(connection, "agent:local:desk", "seen enough", now=START)


def disabled(side: ControlSide) -> None:
    with side.store.changing() as connection:
        registry.disable_person(connection, "human:sso:alice", "left", now=START)


def server_gone(side: ControlSide) -> None:
    side.change(side.text.replace("  notes: {", "  memos: {").replace("[notes", "[memos"))


def agent_gone(side: ControlSide) -> None:
    side.change(side.text.replace("  desk: {", "  table: {"))


@pytest.mark.parametrize(
    ("client", "change", "active"),
    [
        ("ide", suspended, True),
        ("desk-client", suspended, False),
        ("ide", disabled, False),
        ("ide", server_gone, False),
        ("desk-client", agent_gone, False),
    ],
)
def test_a_token_of_those_who_may_not_act_is_not_active(
    side: ControlSide, client: str, change: Callable[[ControlSide], None], active: bool
) -> None:
    token = side.tokens(client, side.staff("alice"), scope="mcp:read")["access_token"]
    assert introspect(side, token)["active"]
    change(side)
    assert introspect(side, token)["active"] == active
