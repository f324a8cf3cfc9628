"""The control app as a whole, its metadata, and tokens for agents and services that act for themselves."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from authlib.oauth2 import rfc8414, rfc9207
from authlib.oauth2.rfc8414 import get_well_known_url
from authlib.oidc.discovery import OpenIDProviderMetadata
from tests.kit.control import BOSS, LOCAL, OFFICE, START, URL, VERIFIER, ControlSide, office
from tests.kit.issuer import Key, compact, new_key, read

from ostiary.control import Epoch
from ostiary.fields import ALGORITHMS
from ostiary.oauth.app import THREADS
from ostiary.oauth.routes import table
from ostiary.store import clients, registry
from ostiary.store.clients import StoredClient

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BOT = new_key("EdDSA", "bot-1")
PLATFORM = new_key("RS256", "platform-1")
CLUSTER = "https://cluster.example"
WORKLOADS = OFFICE.replace(
    "servers:\n",
    """\
  bot: {owner: dave, ceiling: {servers: [notes], classes: [read]}, credentials: [{private_key_jwt: {jwks: {file: bot.json}}}]}
  twin: {owner: dave, ceiling: {servers: [notes, wiki], classes: [read, query]}, credentials: [{private_key_jwt: {jwks: {file: bot.json}}}]}
services:
  batch: {owner: dave, credentials: [{federated: {preset: kubernetes, issuer: "https://cluster.example", jwks: {file: platform.json}, subject: "system:serviceaccount:prod:batch"}}]}
servers:
""",  # noqa: E501
    1,
)

WITHOUT = """\
gateway: {listen: 127.0.0.1:8811, url: "http://127.0.0.1:8811"}
people: {dave: {}}
servers:
  notes: {url: "http://127.0.0.1:9901/mcp", owner: dave, pins: off}
"""


@pytest.fixture
def side(tmp_path: Path) -> Iterator[ControlSide]:
    (tmp_path / "bot.json").write_text(json.dumps({"keys": [BOT.jwk]}))
    (tmp_path / "platform.json").write_text(json.dumps({"keys": [PLATFORM.jwk]}))
    with office(tmp_path, WORKLOADS) as made:
        yield made


# The app --------------------------------------------------------------------------------------------------------------


def test_every_entry_of_the_table_is_answered(side: ControlSide) -> None:
    answered = {}
    for route in table(side.config):
        ask = {"GET": side.get, "OPTIONS": side.options}.get(route.method)
        answer = side.post(route.path, "") if ask is None else ask(route.path)
        answered[route.endpoint] = answer.status_code
        assert answer.text != "not found\n", route
        assert answer.status_code not in (405, 500), route
        assert (answer.headers.get("access-control-allow-origin") == "*") == (route.origin == "any"), route
    assert answered["metadata"] == 200
    assert answered["preflight"] == 204


@pytest.mark.parametrize("path", ["/", "/oauth", "/oauth/token/", "/oauth/nothing", "/mcp/notes", "/healthz"])
def test_nothing_else_is_there(side: ControlSide, path: str) -> None:
    assert side.get(path).status_code == 404
    assert side.post(path, "").status_code == 404


def test_what_the_configuration_no_longer_has_is_gone_at_once(side: ControlSide) -> None:
    assert side.get("/oauth/account").status_code == 200
    side.change(WITHOUT)
    assert side.get("/oauth/account").status_code == 404
    assert side.get("/.well-known/oauth-authorization-server").status_code == 404


def test_a_preflight_lets_browsers_send_what_mcp_clients_do(side: ControlSide) -> None:
    answer = side.options("/oauth/token")
    assert answer.headers["access-control-allow-headers"] == "Authorization, Content-Type, MCP-Protocol-Version"
    assert "POST" in answer.headers["access-control-allow-methods"]


@pytest.mark.parametrize(
    ("body", "kind", "status", "error"),
    [
        ("", None, 415, "invalid_request"),
        ("{}", "application/json", 415, "invalid_request"),
        ("", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=%ff", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=a%00b", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=\xe9", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=x&grant_type=x", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=x&client_id=ide&client_id=ide", "application/x-www-form-urlencoded", 400, "invalid_request"),
        ("grant_type=password&client_id=ide", "application/x-www-form-urlencoded", 400, "unsupported_grant_type"),
        ("grant_type=implicit", "application/x-www-form-urlencoded; charset=utf-8", 400, "unsupported_grant_type"),
        ("&".join(f"a{n}=1" for n in range(60)), "application/x-www-form-urlencoded", 400, "invalid_request"),
    ],
)
def test_a_token_request_is_a_form_that_means_one_thing(
    side: ControlSide, body: str, kind: str | None, status: int, error: str
) -> None:
    answer = side.post("/oauth/token", body, **{"Content-Type": kind or "text/plain"})
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store"


def test_a_body_has_an_end(side: ControlSide) -> None:
    assert side.post("/oauth/token", "a=" + "x" * 65536).status_code == 413
    assert side.post("/oauth/token", "a=" + "x" * 65534).status_code == 400


def test_what_cannot_be_recorded_is_not_given(side: ControlSide) -> None:
    alice, bob = side.staff("alice"), side.staff("bob")
    code = side.code("ide", alice)
    shown = side.get(side.authorize_path("ide"), cookies=bob)
    side.disk_is_full = True
    assert side.exchange("ide", code).status_code == 503
    assert side.allow(shown, bob).status_code == 503
    side.disk_is_full = False
    assert side.get(side.authorize_path("ide"), cookies=bob).status_code == 200
    assert side.exchange("ide", code).status_code == 200


# Metadata -------------------------------------------------------------------------------------------------------------


def test_the_metadata_holds_to_the_rfcs_and_names_the_issuer_byte_for_byte(side: ControlSide) -> None:
    said = side.get(get_well_known_url(URL)).json()
    rfc8414.AuthorizationServerMetadata(said).validate(metadata_classes=[rfc9207.AuthorizationServerMetadata])
    strict = OpenIDProviderMetadata(said)
    strict.validate_id_token_signing_alg_values_supported()
    strict.validate_subject_types_supported()
    assert said == {
        "issuer": URL,
        "authorization_endpoint": f"{URL}/oauth/authorize",
        "token_endpoint": f"{URL}/oauth/token",
        "registration_endpoint": f"{URL}/oauth/register",
        "revocation_endpoint": f"{URL}/oauth/revoke",
        "introspection_endpoint": f"{URL}/oauth/introspect",
        "jwks_uri": f"{URL}/.well-known/jwks.json",
        "scopes_supported": ["mcp:read", "mcp:query", "mcp:update", "mcp:admin"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": [
            "authorization_code",
            "refresh_token",
            "client_credentials",
            "urn:ietf:params:oauth:grant-type:jwt-bearer",
        ],
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": [
            "none",
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
    }


def test_the_metadata_is_the_same_wherever_it_is_looked_for(side: ControlSide) -> None:
    paths = [route.path for route in table(side.config) if route.endpoint == "metadata" and route.method == "GET"]
    assert "/.well-known/openid-configuration/mcp/notes" in paths
    assert "/mcp/wiki/.well-known/oauth-authorization-server" in paths
    assert len({side.get(path).text for path in paths}) == 1


# Agents and services --------------------------------------------------------------------------------------------------

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def signed(key: Key, **claims: Any) -> str:
    return compact({"alg": key.alg, "kid": key.kid, "typ": "JWT"}, {"iat": START, "exp": START + 60, **claims}, key)


def credentials(side: ControlSide, name: str, **more: str) -> Any:
    jti = f"{name}-{len(side.records())}-{len(more)}"
    assertion = signed(BOT, iss=name, sub=name, aud=URL, jti=jti)
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION, "client_assertion": assertion}
    return side.post("/oauth/token", {**form, **more})


@pytest.mark.parametrize("name", ["bot", "agent:local:bot"])
def test_an_agent_gets_a_token_for_its_one_server(side: ControlSide, name: str) -> None:
    answer = credentials(side, name)
    assert answer.status_code == 200, answer.text
    assert sorted(answer.json()) == ["access_token", "expires_in", "scope", "token_type"]
    _, claims = read(answer.json()["access_token"])
    assert claims.pop("jti")
    assert claims == {
        "iss": URL,
        "aud": f"{URL}/mcp/notes",
        "sub": "agent:local:bot",
        "client_id": "agent:local:bot",
        "scope": "mcp:read",
        "iat": START,
        "exp": START + 600,
    }
    [record] = side.records("token_issued")
    assert record["principal"] == {"type": "agent", "id": "agent:local:bot", "owner": "dave"}


@pytest.mark.parametrize(
    ("name", "asked", "scope", "error"),
    [
        ("twin", {}, None, "invalid_target"),
        ("twin", {"resource": f"{URL}/mcp/wiki"}, "mcp:read mcp:query", None),
        ("twin", {"resource": f"{URL}/mcp/wiki", "scope": "mcp:query mcp:update"}, "mcp:query", None),
        ("twin", {"resource": f"{URL}/mcp/wiki", "scope": "mcp:admin"}, None, "invalid_scope"),
        ("twin", {"resource": f"{URL}/mcp/wiki", "scope": "mcp:read mcp:all"}, None, "invalid_scope"),
        ("twin", {"resource": f"{URL}/mcp/wiki", "scope": "MCP:read"}, None, "invalid_scope"),
        ("twin", {"resource": f"{URL}/mcp/wiki", "scope": "mcp:read foo openid"}, "mcp:read", None),
        ("bot", {"scope": "mcp:read mcp:query"}, "mcp:read", None),
        ("bot", {"resource": f"{URL}/mcp/wiki"}, None, "invalid_target"),
        ("bot", {"resource": f"{URL}/mcp/nowhere"}, None, "invalid_target"),
    ],
)
def test_an_agent_gets_no_more_than_its_ceiling(
    side: ControlSide, name: str, asked: dict[str, str], scope: str | None, error: str | None
) -> None:
    answer = credentials(side, name, **asked).json()
    assert (answer.get("scope"), answer.get("error")) == (scope, error)
    [record] = side.records("token_issued" if error is None else "token_refused")
    assert record["principal"]["id"] == f"agent:local:{name}"


def test_a_suspended_agent_gets_nothing(side: ControlSide) -> None:
    with side.store.changing() as connection:
        registry.suspend_agent(connection, "agent:local:bot", "seen enough", now=START)
    assert credentials(side, "bot").json()["error"] == "unauthorized_client"


def test_a_token_after_a_revocation_is_later_than_it(side: ControlSide) -> None:
    side.revoke([Epoch(kind="agent", value="agent:local:bot", epoch=START)], BOSS, why="enough")
    _, claims = read(credentials(side, "bot").json()["access_token"])
    assert claims["iat"] == START + 1


def test_an_oauth_client_acts_for_nobody_but_a_person(side: ControlSide) -> None:
    form = {"grant_type": "client_credentials", "client_id": "site", "client_secret": side.secret}
    assert side.post("/oauth/token", form).json()["error"] == "unauthorized_client"


def test_an_agent_has_no_code_to_show(side: ControlSide) -> None:
    assertion = signed(BOT, iss="bot", sub="bot", aud=URL, jti="one")
    form = {"client_assertion_type": ASSERTION, "client_assertion": assertion}
    answer = side.post("/oauth/token", {"grant_type": "authorization_code", "code": "x", **form})
    assert answer.json()["error"] == "unauthorized_client"


def test_a_workload_shows_the_token_of_its_platform(side: ControlSide) -> None:
    subject = "system:serviceaccount:prod:batch"
    assertion = signed(PLATFORM, iss=CLUSTER, sub=subject, aud=URL)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    answer = side.post("/oauth/token", {**form, "resource": f"{URL}/mcp/vault", "scope": "mcp:read"})
    assert answer.status_code == 200, answer.text
    _, claims = read(answer.json()["access_token"])
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("service:local:batch", f"{URL}/mcp/vault", "mcp:read")
    [record] = side.records("token_issued")
    assert record["detail"]["platform"]["subject"] == subject
    other = signed(PLATFORM, iss=CLUSTER, sub=subject + "x", aud=URL)
    assert side.post("/oauth/token", {**form, "assertion": other}).json()["error"] == "invalid_grant"


def test_the_token_of_a_job_is_used_up_by_what_it_gets_and_not_by_a_refusal(side: ControlSide) -> None:
    job, subject = "https://token.actions.githubusercontent.com", "repo:acme/app:ref:refs/heads/main"
    side.change(
        side.text.replace(
            "services:\n",
            "services:\n"
            "  job: {owner: dave, credentials: [{federated: {preset: github-actions, jwks: {file: platform.json},"
            f' subject: "{subject}"}}}}]}}\n',
        )
    )
    assertion = signed(PLATFORM, iss=job, sub=subject, aud=URL, jti="one")
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    asked = [{}, {"resource": f"{URL}/mcp/wiki", "scope": "mcp:none"}, *[{"resource": f"{URL}/mcp/wiki"}] * 2]
    answers = [side.post("/oauth/token", {**form, **more}).json() for more in asked]
    assert [each.get("error") for each in answers] == ["invalid_target", "invalid_scope", None, "invalid_grant"]
    proof = {"client_assertion_type": ASSERTION, "client_assertion": signed(PLATFORM, iss=job, sub=subject, aud=URL)}
    told = side.post("/oauth/introspect", {"grant_type": "client_credentials", "token": "x", **proof})
    assert told.json()["error"] == "invalid_client"


@pytest.mark.parametrize("header", ["Basic YmF0Y2g6eA==", "Bearer x", "x"])
def test_a_workload_comes_without_another_proof(side: ControlSide, header: str) -> None:
    assertion = signed(PLATFORM, iss=CLUSTER, sub="system:serviceaccount:prod:batch", aud=URL)
    form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    form |= {"resource": f"{URL}/mcp/vault"}
    refused = side.post("/oauth/token", form, Authorization=header)
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert "www-authenticate" in refused.headers
    assert side.post("/oauth/token", form).status_code == 200


@pytest.mark.parametrize(
    ("resources", "error"),
    [(["notes"], None), (["notes", "notes"], None), (["notes", "wiki"], "invalid_target")],
)
def test_a_token_is_for_one_server_however_often_it_is_named(
    side: ControlSide, resources: list[str], error: str | None
) -> None:
    pairs = [("resource", f"{URL}/mcp/{name}") for name in resources]
    form = {"grant_type": "authorization_code", "client_id": "ide", "redirect_uri": LOCAL, "code_verifier": VERIFIER}
    form["code"] = side.code("ide", side.staff("alice"))
    answer = side.post("/oauth/token", urlencode([*form.items(), *pairs]))
    assert answer.json().get("error") == error
    assert side.exchange("ide", form["code"]).status_code == (400 if error is None else 200)


def test_an_agent_revokes_and_asks_about_its_own_token(side: ControlSide) -> None:
    access = credentials(side, "bot").json()["access_token"]

    def proof(jti: str) -> dict[str, str]:
        assertion = signed(BOT, iss="bot", sub="bot", aud=URL, jti=jti)
        return {"client_assertion_type": ASSERTION, "client_assertion": assertion, "token": access}

    assert side.post("/oauth/introspect", proof("a")).json()["active"] is True
    assert side.post("/oauth/revoke", proof("b")).status_code == 200
    assert side.post("/oauth/introspect", proof("c")).json() == {"active": False}


# Clients whose sites are slow -----------------------------------------------------------------------------------------


def test_a_client_whose_site_hangs_holds_up_nobody_else(tmp_path: Path) -> None:
    text = OFFICE.replace("dynamic_registration: on", "dynamic_registration: on, danger_loopback_clients: on")
    slow, many = "https://slow.example/client.json", 2 * THREADS
    with office(tmp_path, text) as side, socket.create_server(("127.0.0.1", 0)) as site:
        code = side.code("ide", side.staff("alice"))
        said = {"client_name": "slow", "redirect_uris": ["https://slow.example/back"]}
        said |= {"token_endpoint_auth_method": "private_key_jwt"}
        said |= {"jwks_uri": f"https://127.0.0.1:{site.getsockname()[1]}/keys"}
        row = StoredClient(
            id=slow, kind="document", name="slow", metadata=said, created_at=START, expires_at=START + 86400
        )
        with side.store.changing() as connection:
            clients.put(connection, row)

        def ask(number: int) -> int:
            proof = signed(BOT, iss=slow, sub=slow, aud=URL, jti=f"{number}")
            form = {"grant_type": "authorization_code", "code": "x", "client_assertion_type": ASSERTION}
            return side.post("/oauth/token", {**form, "client_assertion": proof}).status_code

        with ThreadPoolExecutor(many) as pool:
            first = pool.submit(ask, 0)
            with site.accept()[0]:  # it has been asked for its keys, and does not answer
                others = [pool.submit(ask, number) for number in range(1, many)]
                assert side.get("/.well-known/oauth-authorization-server").status_code == 200
                assert side.exchange("ide", code).status_code == 200
                assert {each.result() for each in others} == {401}
                assert not first.done()
            assert first.result() == 401
