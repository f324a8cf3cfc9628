"""Who is calling, what they are told when we do not know them, and what the upstream learns of them."""

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from typing import Any

import jwt
import pytest
from tests.kit.clients import SdkServer
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer, read
from tests.kit.upstream import Seen
from tests.kit.wire import SESSION_VERSION, Wire, call_headers, http, message, tool_call, wait_until


def metadata_url(house: House) -> str:
    return f"{house.gateway.url}/.well-known/oauth-protected-resource/mcp/notes"


def challenge(text: str | None) -> dict[str, str]:
    """Read a Bearer challenge: its parameters, each a quoted string."""
    assert text is not None
    assert text.startswith("Bearer ")
    found = {}
    for part in text.removeprefix("Bearer ").split(", "):
        name, _, value = part.partition("=")
        found[name] = value.strip('"')
    return found


def test_without_a_token_the_answer_says_where_to_get_one(house: House, era: str) -> None:
    before = house.upstream.bytes
    reply = house.gateway.call("echo", {"text": "x"}, None, era=era)
    assert reply.status == 401
    assert challenge(reply.header("www-authenticate"))["resource_metadata"] == metadata_url(house)
    assert house.upstream.bytes == before


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("expired", {"exp": 1_700_000_000, "iat": 1_699_999_000}),
        ("for someone else", {"aud": "another"}),
        ("of an unknown issuer", {"iss": "https://evil.test"}),
        ("without a subject", {"sub": ...}),
    ],
)
def test_a_bad_token_is_a_401_with_invalid_token(house: House, era: str, why: str, changes: dict[str, Any]) -> None:
    before = house.upstream.bytes
    reply = house.gateway.call("echo", {"text": "x"}, house.issuer.token(**changes), era=era)
    told = challenge(reply.header("www-authenticate"))
    assert (reply.status, told["error"]) == (401, "invalid_token")
    assert told["resource_metadata"] == metadata_url(house)
    assert house.upstream.bytes == before


def test_the_metadata_document_names_the_resource_and_its_issuers(house: House) -> None:
    """RFC 9728 section 3; `authorization_servers` lists the external issuers of that server."""
    reply = house.gateway.get("/.well-known/oauth-protected-resource/mcp/notes")
    document = reply.json()
    assert (reply.status, reply.header("content-type")) == (200, "application/json")
    assert document["resource"] == f"{house.gateway.url}/mcp/notes"
    assert document["authorization_servers"] == ["https://idp.test"]
    assert document["bearer_methods_supported"] == ["header"]
    assert house.gateway.get("/.well-known/oauth-protected-resource/mcp/nothing").status == 404


def test_a_token_without_the_scope_is_told_exactly_which_it_needs(house: House, era: str) -> None:
    token = house.reading_bot
    before = house.upstream.count
    assert house.gateway.call("echo", {"text": "x"}, token, era=era).status == 200
    assert house.upstream.count == before + 1
    reply = house.gateway.call("add", {"a": 1, "b": 2}, token, era=era)
    told = challenge(reply.header("www-authenticate"))
    assert (reply.status, told["error"], told["scope"]) == (403, "insufficient_scope", "mcp:query")
    assert told["resource_metadata"] == metadata_url(house)
    assert house.upstream.count == before + 1
    record = house.gateway.next_record(0, "deny")
    assert any(each["reason"] == "scope" for each in record)


def test_a_refusal_that_more_scope_would_not_change_is_no_challenge(house: House, era: str) -> None:
    token = house.reading_bot
    reply = house.gateway.call("read_file", {"path": "/etc/passwd"}, token, era=era)
    assert (reply.status, reply.error["code"]) == (200, 4030)
    reply = house.gateway.call("delete_file", {"path": "/x"}, token, era=era)
    assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, "ceiling")


def test_issued_tokens_are_short_and_say_what_they_are_for(house: House) -> None:
    words = ["--config", str(house.gateway.file), "--agent", "release-bot", "--server", "notes"]
    told = house.gateway.run_json("tokens", "issue", *words, "--ttl", "10m")
    header, claims = read(told["access_token"])
    assert (header["typ"], claims["iss"], claims["aud"]) == (
        "at+jwt",
        house.gateway.url,
        f"{house.gateway.url}/mcp/notes",
    )
    assert claims["sub"] == "agent:local:release-bot"
    assert told["expires_in"] == claims["exp"] - claims["iat"] == 600
    assert set(told["scope"].split()) == set(claims["scope"].split()) == {"mcp:read", "mcp:query", "mcp:update"}
    assert house.gateway.run("tokens", "issue", *words, "--ttl", "61m", check=False).returncode != 0


@pytest.mark.parametrize(
    "words",
    [
        ["--agent", "nobody", "--server", "notes"],
        ["--agent", "release-bot", "--server", "nothing"],
        ["--agent", "release-bot", "--server", "notes", "--scope", "mcp:admin"],
        ["--agent", "alice", "--server", "notes"],
    ],
)
def test_a_token_wider_than_the_ceiling_or_for_a_person_is_not_issued(house: House, words: list[str]) -> None:
    done = house.gateway.run("tokens", "issue", "--config", str(house.gateway.file), *words, "--json", check=False)
    assert done.returncode in {1, 2}
    assert "access_token" not in done.stdout


def test_each_issued_token_is_a_record(house: House) -> None:
    since = len(house.gateway.records())
    _, claims = read(house.gateway.issue())
    (record,) = house.gateway.next_record(since, "control")
    assert claims["jti"] in json.dumps(record)


def canonical(arguments: object) -> bytes:
    """RFC 8785 for the ASCII strings and integers used here."""
    return json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def upstream_claims(house: House, seen: Seen) -> tuple[dict[str, Any], dict[str, Any]]:
    """Check the JWT that travelled, against the published keys, and return header and claims."""
    jwks = house.gateway.get("/.well-known/jwks.json").json()
    token = (seen.header("authorization") or "").removeprefix("Bearer ")
    header = jwt.get_unverified_header(token)
    (key,) = [jwt.PyJWK(each, each.get("alg", "EdDSA")) for each in jwks["keys"] if each["kid"] == header["kid"]]
    claims = jwt.decode(
        token, key, algorithms=["EdDSA", "ES256"], audience=house.upstream.url, issuer=house.gateway.url
    )
    return header, claims


def test_the_upstream_gets_a_token_of_its_own_for_this_very_call(house: House, era: str) -> None:
    arguments = {"text": "hellö", "b": 1, "a": [True, None, {"y": "2", "x": "1"}]}
    before = house.upstream.count
    house.gateway.call("echo", arguments, house.alice, era=era)
    (seen,) = house.upstream.calls(before)
    header, claims = upstream_claims(house, seen)
    digest = base64.urlsafe_b64encode(hashlib.sha256(canonical(arguments)).digest()).rstrip(b"=").decode()
    assert header["typ"] == "ostiary+jwt"
    assert claims["sub"] == "human:corp:alice@example.com"
    assert (claims["server"], claims["tool"], claims["args_sha256"]) == ("notes", "echo", digest)
    assert claims["client_id"] == "desktop"
    assert 0 < claims["exp"] - claims["iat"] <= 60
    assert claims["iat"] <= time.time() + 1
    intent = house.gateway.record_of(claims["jti"], "intent")
    assert (intent["tool"], intent["principal"]["id"]) == ("echo", "human:corp:alice@example.com")


def test_calls_of_one_principal_share_who_but_not_the_token(house: House, era: str) -> None:
    before = house.upstream.count
    for _ in range(2):
        house.gateway.call("echo", {"text": "x"}, house.bot, era=era)
    first, second = (upstream_claims(house, seen)[1] for seen in house.upstream.calls(before))
    assert first["jti"] != second["jti"]
    assert [first[name] for name in ("iss", "sub", "client_id")] == [
        second[name] for name in ("iss", "sub", "client_id")
    ]
    assert first["sub"] == "agent:local:release-bot"


def test_the_callers_bearer_is_nowhere_but_with_the_caller(house: House, era: str) -> None:
    """The canary of requirement R27: upstream heads and bodies, log, records."""
    token = house.issuer.token(jti=f"canary-{era}")
    signature = token.rsplit(".", 1)[1]
    since = house.upstream.count
    house.gateway.call("echo", {"text": "x"}, token, era=era, headers=[("X-Copy", token), ("Cookie", f"t={token}")])
    house.gateway.call("delete_file", {"path": "/x"}, token, era=era)
    bad = house.issuer.token({"kid": "unknown"}, jti=f"canary-{era}")
    house.gateway.call("echo", {"text": "x"}, bad, era=era)
    house.gateway.next_record(0, "deny")
    traffic = b"".join(seen.head + seen.body for seen in house.upstream.seen[since:])
    assert traffic
    written = b"".join(file.read_bytes() for file in house.gateway.segments.folder.iterdir())
    for place in (traffic, house.gateway.log().encode(), written):
        assert signature.encode() not in place
        assert bad.rsplit(".", 1)[1].encode() not in place


def test_identity_fields_of_the_caller_do_not_travel(house: House, era: str) -> None:
    """Attacks D01 to D07, and the family of forwarded fields."""
    names = [
        "X-Forwarded-User",
        "X-Auth-Email",
        "X_Forwarded_User",
        "x-forwarded_user",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "X-Forwarded-Uri",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-Forwarded-Client-Cert",
        "mcp-init-host",
        "router-key",
        "Proxy-Authorization",
        "Cookie",
        "X-Ostiary-Principal",
        "Origin",
    ]
    origin = f"http://{house.gateway.host}"
    fields = [(name, origin if name == "Origin" else "human:corp:root") for name in names]
    before = house.upstream.count
    reply = house.gateway.call("echo", {"text": "x"}, house.alice, era=era, headers=fields)
    assert reply.status == 200
    (seen,) = house.upstream.calls(before)
    assert b"human:corp:root" not in seen.head
    assert seen.header("origin") is None
    (record,) = [each for each in house.gateway.records() if each["id"] == upstream_claims(house, seen)[1]["jti"]][:1]
    assert record["request"]["ip"] == "127.0.0.1"


def test_only_known_fields_reach_the_upstream(house: House, era: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    before = house.upstream.count
    house.gateway.call(
        "echo", {"text": "x"}, house.alice, era=era, headers=[("traceparent", trace), ("X-Anything", "1")]
    )
    (seen,) = house.upstream.calls(before)
    allowed = {"host", "authorization", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
    allowed |= {"traceparent", "tracestate", "baggage", "mcp-protocol-version", "connection"}
    allowed |= {"mcp-method", "mcp-name"} if era == "stateless" else {"mcp-session-id"}
    assert {name for name, _ in seen.headers} <= allowed
    assert seen.header("traceparent") == trace
    assert seen.header("content-type") == "application/json"
    assert seen.header("mcp-protocol-version") == ("2026-07-28" if era == "stateless" else SESSION_VERSION)


def test_a_call_around_the_gateway_is_refused_by_a_guarded_server(house: House, issuer: Issuer) -> None:
    """Attack C10: `ostiary.verify` in front of an SDK server wants a live token of the gateway, for that server."""
    guard = {"issuer": house.gateway.url, "jwks": f"{house.gateway.url}/.well-known/jwks.json"}
    before = house.upstream.count
    house.gateway.call("echo", {"text": "x"}, house.alice)
    (seen,) = house.upstream.calls(before)
    for_another_server = (seen.header("authorization") or "").removeprefix("Bearer ")
    port = free_port()
    with SdkServer(port, audience=f"http://127.0.0.1:{port}/mcp", **guard) as server:
        body = tool_call("echo", {"text": "x"}, era="stateless")
        for token in (None, house.alice, issuer.token(), for_another_server):
            with Wire(("127.0.0.1", port)) as wire:
                fields = call_headers(f"127.0.0.1:{port}", token, body, era="stateless")
                reply = wire.ask(http("POST", "/mcp", [*fields, ("Connection", "close")], json.dumps(body).encode()))
            assert reply.status == 401
        assert server.process.poll() is None


@pytest.fixture(scope="module")
def two_issuers(tmp_path_factory: pytest.TempPathFactory, house: House) -> Iterator[tuple[Gateway, Issuer, Issuer]]:
    folder = tmp_path_factory.mktemp("two")
    corp = house.issuer
    ci = Issuer(name="ci", issuer="https://ci.test", alg="ES256", audience="ci-gw", type="service", kids=["ci-1"])
    corp.write(folder / "jwks.json")
    ci.write(folder / "ci.json")
    config = settings({"notes": house.upstream.url}, corp, listen=free_port(), admin=free_port())
    config["identity"]["issuers"]["ci"] = {
        "issuer": ci.issuer,
        "jwks": {"file": "ci.json"},
        "algorithms": ["ES256"],
        "audience": "ci-gw",
        "servers": ["notes"],
        "type": "service",
        "direct": True,
        "scopes": {"tools.read": ["read"], "tools.all": ["read", "query"]},
    }
    config["services"] = {"pipeline": {"owner": "alice", "issuer": "ci", "subject": "repo/main"}}
    config["policy"].append({"name": "pipeline", "allow": {"and": [{"service": "pipeline"}]}})
    with Gateway(folder, config) as gateway:
        yield gateway, corp, ci


def test_issuers_are_pinned_each_for_itself(two_issuers: tuple[Gateway, Issuer, Issuer]) -> None:
    gateway, corp, ci = two_issuers
    service = {"sub": "repo/main", "groups": ...}
    sound = ci.token(**service, scope="tools.all")
    assert gateway.call("add", {"a": 1, "b": 2}, sound).status == 200
    assert gateway.call("add", {"a": 1, "b": 2}, ci.token(**service, scope="tools.read")).status == 403
    assert gateway.call("echo", {"text": "x"}, ci.token(**service, scope="tools.read")).status == 200
    assert gateway.call("echo", {"text": "x"}, ci.token(**service)).status == 403, "with a map, no scope grants none"
    # E07: one issuer's key under the other's name; E13: a claim does not change the type
    assert gateway.call("echo", {"text": "x"}, corp.token(iss=ci.issuer, aud="ci-gw")).status == 401
    assert gateway.call("echo", {"text": "x"}, ci.token(iss=corp.issuer, aud="mcp-gw")).status == 401
    lifted = ci.token(sub="repo/other", scope="tools.all", groups=["dev"], actor_type="human", type="human")
    assert gateway.call("echo", {"text": "x"}, lifted).error["code"] == 4030


def test_a_new_key_of_an_issuer_is_taken_from_its_file(two_issuers: tuple[Gateway, Issuer, Issuer]) -> None:

    gateway, _, ci = two_issuers
    service = {"sub": "repo/main", "groups": ..., "scope": "tools.all"}
    old = ci.token(**service)
    ci.kids.append("ci-2")
    new = ci.token(**service)
    assert gateway.call("echo", {"text": "x"}, new).status == 401
    ci.write(gateway.folder / "ci.json")
    wait_until(lambda: gateway.call("echo", {"text": "x"}, new).status == 200, deadline_s=5, what="the new key")
    assert gateway.call("echo", {"text": "x"}, old).status == 200
    ci.kids.remove("ci-1")
    ci.write(gateway.folder / "ci.json")
    wait_until(lambda: gateway.call("echo", {"text": "x"}, old).status == 401, deadline_s=5, what="the key's end")


def test_our_own_keys_rotate_with_overlap(two_issuers: tuple[Gateway, Issuer, Issuer]) -> None:
    gateway, _, _ = two_issuers
    old = gateway.issue()
    before = {key["kid"] for key in gateway.get("/.well-known/jwks.json").json()["keys"]}
    gateway.run("keys", "rotate", "--config", str(gateway.file))
    after = {key["kid"] for key in gateway.get("/.well-known/jwks.json").json()["keys"]}
    assert before < after
    assert gateway.call("echo", {"text": "x"}, old).status == 200
    new = gateway.issue()
    assert read(new)[0]["kid"] in after - before
    assert gateway.call("echo", {"text": "x"}, new).status == 200


@pytest.fixture(scope="module")
def with_agents(tmp_path_factory: pytest.TempPathFactory, house: House) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("agents")
    house.issuer.write(folder / "jwks.json")
    config = settings({"notes": house.upstream.url}, house.issuer, listen=free_port(), admin=free_port())
    config["identity"]["issuers"]["corp"]["direct"] = ["desktop"]
    ceiling = {"servers": ["notes"], "classes": ["read"]}
    config["agents"] |= {
        "ide": {"owner": "alice", "purpose": "write code", "clients": {"corp": ["ide-1"]}, "ceiling": ceiling},
        "idle": {"owner": "alice", "purpose": "nothing", "clients": {"corp": ["idle-1"]}},
        "gone": {
            "owner": "alice",
            "purpose": "was here",
            "clients": {"corp": ["gone-1"]},
            "ceiling": ceiling,
            "expires": "2026-01-01T00:00:00Z",
        },
    }
    config["policy"].append(
        {
            "name": "in-person",
            "allow": {"and": [{"groups": {"has": "dev"}}, {"actor_type": "human"}, {"action": "admin"}]},
        }
    )
    with Gateway(folder, config) as gateway:
        yield gateway


def test_a_person_through_an_agent_is_held_to_the_agents_ceiling(with_agents: Gateway, house: House) -> None:
    gateway = with_agents
    in_person, via_ide = house.issuer.token(), house.issuer.token(client_id="ide-1")
    told = {
        (who, tool): gateway.call(tool, {"path": "/x"}, token).error.get("data", {}).get("reason", "allowed")
        for who, token in (("in person", in_person), ("via ide", via_ide))
        for tool in ("echo", "add", "delete_file")
    }
    assert told == {
        ("in person", "echo"): "allowed",
        ("in person", "add"): "allowed",
        ("in person", "delete_file"): "allowed",
        ("via ide", "echo"): "allowed",
        ("via ide", "add"): "ceiling",
        ("via ide", "delete_file"): "no_rule",
    }
    names = {
        who: [
            tool["name"]
            for tool in gateway.post(message("tools/list", {}, era="stateless"), token).json()["result"]["tools"]
        ]
        for who, token in (("in person", in_person), ("via ide", via_ide))
    }
    assert names == {
        "in person": ["echo", "read_file", "add", "delete_file", "hidden"],
        "via ide": ["echo", "read_file"],
    }


def test_records_and_upstream_know_subject_and_actor(with_agents: Gateway, house: House) -> None:
    before = house.upstream.count
    with_agents.call("echo", {"text": "x"}, house.issuer.token(client_id="ide-1"))
    (seen,) = house.upstream.calls(before)
    _, claims = read((seen.header("authorization") or "").removeprefix("Bearer "))
    record = with_agents.record_of(claims["jti"], "intent")
    assert claims["sub"] == record["principal"]["id"] == "human:corp:alice@example.com"
    assert claims["act"]["sub"] == record["agent"] == "agent:local:ide"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"client_id": "nobody-knows"}, "agent_unknown"),
        ({"client_id": "desktop", "act": {"sub": "somebody"}}, "agent_unknown"),
        ({"client_id": "idle-1"}, "ceiling"),
        ({"client_id": "gone-1"}, "agent_suspended"),
    ],
)
def test_an_agent_that_is_not_registered_or_has_no_ceiling_may_nothing(
    with_agents: Gateway, house: House, claims: dict[str, Any], reason: str
) -> None:
    before = house.upstream.bytes
    reply = with_agents.call("echo", {"text": "x"}, house.issuer.token(**claims))
    assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, reason)
    assert house.upstream.bytes == before
