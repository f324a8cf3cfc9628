"""What the data plane does when it is told that something was revoked, or is told nothing at all."""

import contextlib
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kit.caller import Caller
from tests.kit.gateway import free_port, settings
from tests.kit.house import ALL_OF_MCP
from tests.kit.issuer import Issuer, read
from tests.kit.plane import Plane
from tests.kit.streams import KINDS, under_way
from tests.kit.upstream import Push, Seen, Talk, Upstream
from tests.kit.wire import Reply, wait_until

ECHO = {"text": "x"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


def configured(upstream: Upstream, issuer: Issuer, folder: Path) -> dict[str, Any]:
    issuer.write(folder / "jwks.json")
    config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
    config["policy"] += ALL_OF_MCP
    config["agents"]["claude"] = {
        "owner": "alice",
        "purpose": "writes",
        "ceiling": {"servers": ["notes"], "classes": ["read"]},
    }
    return config


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream, issuer: Issuer) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    with Plane(folder, configured(upstream, issuer, folder)) as plane:
        yield plane


def allowed(reply: Reply) -> bool:
    return reply.status == 200 and "result" in reply.json()


def test_a_person_is_served_through_her_client_and_known_upstream_as_both(plane: Plane, upstream: Upstream) -> None:
    before = upstream.count
    assert allowed(plane.call("echo", ECHO, plane.token("ann")))
    (seen,) = upstream.calls(before)
    _, claims = read((seen.header("authorization") or "").removeprefix("Bearer "))
    assert (claims["sub"], claims["client_id"], claims["act"]) == ("human:sso:ann", "cid", {"sub": "agent:client:cid"})
    reply = plane.call("rename", ECHO, plane.token("ann"))
    assert reply.error["data"]["reason"] == "no_rule"


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"act": ...}, 401, "token_invalid"),
        ({"client_id": "other"}, 200, "agent_unknown"),
        ({"act": {"sub": "human:sso:ann"}}, 200, "agent_unknown"),
        ({"scope": "openid"}, 200, "ceiling"),
        ({"client_id": "claude-client"}, 200, "agent_unknown"),
        ({"client_id": "claude-client", "act": {"sub": "agent:client:claude-client"}}, 200, "agent_unknown"),
    ],
)
def test_a_token_that_names_another_actor_opens_nothing(
    plane: Plane, upstream: Upstream, changes: dict[str, Any], status: int, reason: str
) -> None:
    before, since = upstream.count, len(plane.records())
    assert plane.call("echo", ECHO, plane.token("ann", **changes)).status == status
    assert plane.next_record(since, "deny")[0]["reason"] == reason
    assert upstream.calls(before) == []


#: What revokes a token of `person`, whose client is `client`; and what is like it and does not.
ENDS: dict[str, Callable[[str, str, dict[str, Any]], tuple[str, str]]] = {
    "token": lambda _p, _c, claims: ("token", claims["jti"]),
    "family": lambda _p, _c, claims: ("family", claims["fam"]),
    "client": lambda _p, client, _: ("client", client),
    "agent": lambda _p, client, _: ("agent", f"agent:client:{client}"),
    "subject": lambda person, _c, _: ("subject", f"human:sso:{person}"),
    "owner": lambda person, _c, _: ("owner", f"human:sso:{person}"),
    "third party": lambda _p, client, _: ("third_party", f"{client}.test"),
}


@pytest.mark.parametrize("what", list(ENDS))
def test_the_next_request_is_refused(plane: Plane, upstream: Upstream, what: str) -> None:
    person, client = f"p-{what}", f"c-{what.replace(' ', '-')}"
    now = int(time.time())
    token, later = (plane.token(person, client, iat=iat) for iat in (now - 10, now - 9))
    other = plane.token("somebody", "another")
    assert all(allowed(plane.call("echo", ECHO, each)) for each in (token, later, other))
    kind, value = ENDS[what](person, client, read(token)[1])
    plane.revoke(kind, f"{value}-not", now)
    plane.revoke("token" if kind != "token" else "family", value, now)
    plane.revoke(kind, value, now - 11)
    assert allowed(plane.call("echo", ECHO, token))
    before, since = upstream.count, len(plane.records())
    plane.revoke(kind, value, now - 10)
    reply = plane.call("echo", ECHO, token)
    challenge = reply.header("www-authenticate") or ""
    assert (reply.status, reply.body) == (401, b"The token has been revoked.\n")
    assert 'Bearer error="invalid_token", resource_metadata="' in challenge
    record = plane.next_record(since, "deny")[0]
    assert (record["reason"], record["principal"]["id"], record["agent"]) == (
        "revoked",
        f"human:sso:{person}",
        f"agent:client:{client}",
    )
    assert upstream.calls(before) == []
    # What was issued a second later is another authorization, and what belongs to others is theirs.
    assert allowed(plane.call("echo", ECHO, other))
    assert allowed(plane.call("echo", ECHO, later))


def test_a_registered_agent_ends_with_its_owner_by_either_name_and_with_nobody_elses(plane: Plane) -> None:
    now = int(time.time())
    claude = {"act": {"sub": "agent:local:claude"}}
    token = plane.token("carol", "claude-client", iat=now - 5, **claude)
    assert allowed(plane.call("echo", ECHO, token))
    plane.revoke("owner", "human:sso:carol", now)
    assert allowed(plane.call("echo", ECHO, token))
    plane.revoke("owner", "human:corp:alice@example.com", now - 5)
    assert plane.call("echo", ECHO, token).status == 401
    assert plane.call("echo", ECHO, plane.token("dave", "claude-client", iat=now - 5, **claude)).status == 401
    newer = plane.token("carol", "claude-client", iat=now - 4, **claude)
    assert allowed(plane.call("echo", ECHO, newer))
    plane.revoke("owner", "alice", now - 4)
    assert plane.call("echo", ECHO, newer).status == 401


def test_an_owner_in_person_is_not_touched(plane: Plane, issuer: Issuer) -> None:
    token = issuer.token(sub="erin@example.com")
    plane.revoke("owner", "human:corp:erin@example.com", int(time.time()) + 5)
    assert allowed(plane.call("echo", ECHO, token))
    plane.revoke("subject", "human:corp:erin@example.com", int(time.time()) + 5)
    assert plane.call("echo", ECHO, token).status == 401


def test_a_revocation_outlives_a_change_of_the_rules(plane: Plane) -> None:
    token = plane.token("frank")
    plane.revoke("subject", "human:sso:frank")
    plane.core.apply(plane.snapshot(), plane.secrets)
    assert plane.call("echo", ECHO, token).status == 401


@pytest.mark.parametrize("chatty", [False, True])
@pytest.mark.parametrize("kind", list(KINDS))
def test_an_open_stream_ends(plane: Plane, upstream: Upstream, kind: str, chatty: bool) -> None:
    person = f"{kind}-{chatty}"
    since, quiet = len(plane.records()), threading.Event()
    with (
        under_way(plane, upstream, plane.token("gina", iat=int(time.time()) - 5), kind) as other,
        under_way(plane, upstream, plane.token(person), kind) as line,
    ):
        upstream.forget_hang_ups()
        talker = threading.Thread(target=keep_talking, args=(line.push, quiet))
        if chatty:
            talker.start()
        plane.revoke("subject", f"human:sso:{person}")
        told = line.feed.rest()
        quiet.set()
        assert [(each["id"], each["error"]["code"], each["error"]["data"]["reason"]) for each in told] == (
            [] if kind == "session" else [("mine", 4030, "revoked")]
        )
        assert upstream.hang_ups.acquire(timeout=10)
        assert not upstream.hang_ups.acquire(blocking=False)
        (end,) = wait_until(lambda: ends(plane, since), what="the end of the stream")
        assert (end["principal"]["id"], end["mcp_method"]) == (f"human:sso:{person}", KINDS[kind][1])
        assert (end["outcome"], end["reason"]) == ("cancelled", "revoked")
        # The other's goes on.
        other.push.chunk(b": still here\n\n")
        other.push.end()
        assert [each for each in other.feed.rest() if each.get("error", {}).get("code") == 4030] == []
    if chatty:
        talker.join()


def keep_talking(push: Push, quiet: threading.Event) -> None:
    while not quiet.wait(0.001):
        push.chunk(b": still here\n\n" * 200)


def ends(plane: Plane, since: int) -> list[dict[str, Any]]:
    return [each for each in plane.records()[since:] if each["kind"] == "outcome" and each["outcome"] == "cancelled"]


@pytest.mark.parametrize("begun", [False, True])
def test_an_answer_that_is_waited_for_is_withheld(plane: Plane, upstream: Upstream, begun: bool) -> None:
    """Whether or not the server has begun to answer; the call may have run, and its record says so."""
    person = f"waits-{begun}"
    gate, told, since = upstream.gate(), list[Reply](), len(plane.records())

    async def script(_: Seen, talk: Talk) -> None:
        if begun:
            await talk.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        await gate.wait()

    token = plane.token(person)
    upstream.forget_hang_ups()
    with upstream.scripted(script):
        waiting = threading.Thread(target=lambda: told.append(plane.call("echo", ECHO, token)))
        waiting.start()
        assert gate.reached.wait(10)
        plane.revoke("subject", f"human:sso:{person}")
        waiting.join(10)
        assert upstream.hang_ups.acquire(timeout=10)
    (reply,) = told
    assert (reply.status, b"may have run" in reply.body) == (401, True)
    (end,) = wait_until(lambda: ends(plane, since), what="the end of the call")
    assert (end["outcome"], end["reason"], end["tool"]) == ("cancelled", "revoked", "echo")


@contextlib.contextmanager
def busy() -> Iterator[tuple[socket.socket, int]]:
    """Stand where a server is too busy to take connections; gives its socket, and how many wait there."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        server.settimeout(10)
        for waiting in range(16):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
            if not select.select([], [client], [], 0.3)[1]:
                client.close()
                yield server, waiting
                return
        raise AssertionError("connections without end wait here")


def test_a_call_that_is_revoked_while_its_server_is_being_reached_is_not_sent(
    tmp_path: Path, upstream: Upstream, issuer: Issuer
) -> None:
    """Attack L02: the intent is written by then, and it is closed as what was not sent."""
    config, told = configured(upstream, issuer, tmp_path), list[Reply]()
    with busy() as (server, others), contextlib.ExitStack() as stack:
        config["servers"]["notes"]["url"] = "http://{}:{}/mcp".format(*server.getsockname())
        with Plane(tmp_path, config) as plane:
            token = plane.token("ann")
            waiting = threading.Thread(target=lambda: told.append(plane.call("echo", ECHO, token)))
            waiting.start()
            (intent,) = plane.next_record(0, "intent")
            plane.revoke("subject", "human:sso:ann")
            connections = [stack.enter_context(server.accept()[0]) for _ in range(others + 1)]
            waiting.join(10)
            (outcome,) = plane.next_record(0, "outcome")
            assert (outcome["id"], outcome["outcome"]) == (intent["id"], "superseded")
            assert plane.next_record(0, "deny")[0]["reason"] == "revoked"
        assert [reply.status for reply in told] == [401]
        # The gateway has stopped, so whatever it sent would be here.
        assert [connection.recv(1) for connection in connections if readable(connection)] == [b""]


def readable(connection: socket.socket) -> bool:
    return bool(select.select([connection], [], [], 0)[0])


def test_what_was_revoked_before_the_start_is_refused_from_the_first_request_on(
    tmp_path: Path, upstream: Upstream, issuer: Issuer
) -> None:
    epochs = json.dumps([{"kind": "subject", "value": "human:sso:ann", "epoch": int(time.time()) + 1}])
    with Plane(tmp_path, configured(upstream, issuer, tmp_path), epochs=epochs) as plane:
        assert plane.call("echo", ECHO, plane.token("ann")).status == 401
        assert allowed(plane.call("echo", ECHO, plane.token("bob")))


@pytest.mark.parametrize(
    "epochs", ["", "{}", '[{"kind": "everything", "value": "x", "epoch": 1}]', '[{"kind": "token"}]']
)
def test_a_revocation_that_is_not_understood_is_an_error(plane: Plane, epochs: str) -> None:
    with pytest.raises(ValueError, match=r"^epochs: "):
        plane.core.revoke(epochs)


def test_nothing_is_served_while_the_store_is_silent(tmp_path: Path, upstream: Upstream, issuer: Issuer) -> None:
    with Plane(tmp_path, configured(upstream, issuer, tmp_path), patience=1.5) as plane:
        token = plane.token("ann")
        caller = Caller.arrive(plane, token, "session")
        with under_way(plane, upstream, token, "listen") as line:
            (told,) = line.feed.rest()
            assert (told["error"]["code"], told["error"]["data"]["reason"]) == (5030, "store")
        before, since = upstream.count, len(plane.records())
        reply = plane.call("echo", ECHO, token)
        assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (503, 5030, "store")
        assert (reply.json()["id"], reply.header("retry-after")) == (1, "5")
        assert caller.leave().status == 503
        assert upstream.seen[before:] == []
        assert {each["reason"] for each in plane.next_record(since, "deny", count=2)} == {"store"}
        assert plane.call("echo", ECHO, "nonsense").status == 401
        assert plane.get("/.well-known/jwks.json").status == 200
        with pytest.raises(ValueError, match="epochs"):
            plane.core.revoke("nonsense")
        assert plane.call("echo", ECHO, token).status == 503
        plane.core.revoke("[]")
        assert allowed(plane.call("echo", ECHO, token))


def test_who_was_there_is_told_once(plane: Plane, issuer: Issuer) -> None:
    plane.core.uses()
    since = int(time.time())
    plane.call("echo", ECHO, plane.token("hal", "hals-client"))
    plane.call("echo", ECHO, issuer.token(sub="ida@example.com"))
    # Whoever is refused was there; whoever was revoked, or is nobody, was not.
    plane.call("delete_file", ECHO, plane.token("jon", "jons-client"))
    plane.call("echo", ECHO, plane.token("kim", client_id="other"))
    plane.revoke("subject", "human:sso:lea")
    plane.call("echo", ECHO, plane.token("lea", "leas-client"))
    plane.core.apply(plane.snapshot(), plane.secrets)
    plane.call("echo", ECHO, plane.token("max", "hals-client"))
    uses = json.loads(plane.core.uses())
    assert sorted(uses) == [
        "agent:client:hals-client",
        "agent:client:jons-client",
        "human:corp:ida@example.com",
        "human:sso:hal",
        "human:sso:jon",
        "human:sso:max",
    ]
    assert all(since <= second <= time.time() for second in uses.values())
    assert json.loads(plane.core.uses()) == {}
