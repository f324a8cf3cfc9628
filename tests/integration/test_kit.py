"""The kit against itself: a counter that does not count would prove nothing."""

import json
import threading
from collections.abc import Iterator

import jwt
import pytest
from tests.kit.clients import SdkServer, visit_python, visit_typescript
from tests.kit.issuer import Issuer, compact, new_key, read
from tests.kit.shim import Shim
from tests.kit.upstream import Seen, Talk, Upstream, polite_events
from tests.kit.wire import Wire, call_headers, http, read_events, tool_call

CALLS = [("echo", {"text": "hello"}), ("add", {"a": 1, "b": 2})]


def test_the_upstream_keeps_the_very_bytes() -> None:
    with Upstream() as upstream, Wire(upstream.address) as wire:
        body = tool_call("echo", {"text": "é"}, era="stateless")
        sent = http("POST", "/mcp", call_headers("here", None, body, era="stateless"), json.dumps(body).encode())
        reply = wire.ask(sent)
        assert reply.json()["result"]["content"][0]["text"] == '{"text": "é"}'
        assert [seen.head + seen.body for seen in upstream.calls()] == [sent]
        assert upstream.bytes == len(sent)


def test_the_upstream_streams_event_by_event() -> None:
    with Upstream() as upstream, Wire(upstream.address) as wire:
        gate = upstream.gate()

        async def script(seen: Seen, talk: Talk) -> None:
            await talk.stream()
            await talk.event({"n": 1})
            await gate.wait()
            await talk.event({"n": 2})
            await talk.end()

        with upstream.scripted(script):
            wire.send(http("POST", "/mcp", [("Host", "here")], b"{}"))
            head = wire.read_head()
            pieces = wire.body(head)
            first = next(pieces)
            gate.open()
            rest = b"".join(pieces)
        assert [json.loads(event["data"])["n"] for event in read_events(first + rest)] == [1, 2]


def test_the_upstream_sees_its_client_hang_up() -> None:
    with Upstream() as upstream:
        gate = upstream.gate()

        async def script(seen: Seen, talk: Talk) -> None:
            await gate.wait()

        with upstream.scripted(script):
            with Wire(upstream.address) as wire:
                wire.send(http("POST", "/mcp", [("Host", "here")], b"{}"))
                assert gate.reached.wait(10)
            assert upstream.hang_ups.acquire(timeout=10)


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_tokens_of_the_issuer_hold_what_is_asked(alg: str) -> None:
    issuer = Issuer(alg=alg, kids=[f"kit-{alg}"])
    token = issuer.token(sub="bob", groups=...)
    checked = jwt.decode(token, jwt.PyJWK(issuer.jwks["keys"][0], alg), [alg], audience="mcp-gw")
    header, claims = read(token)
    assert checked == claims
    assert (header["kid"], claims["sub"], "groups" in claims) == (f"kit-{alg}", "bob", False)
    assert compact({"alg": "none"}, {}, None).endswith(".")
    assert new_key(alg, "kit-other") != issuer.key


@pytest.fixture(scope="module")
def bare() -> Iterator[SdkServer]:
    with SdkServer() as server:
        yield server


def test_python_client_against_the_bare_sdk_server(bare: SdkServer, era: str) -> None:
    told = visit_python(bare.url, None, CALLS, era=era)
    assert (told.era, told.answers) == (era, [{"text": "hello", "error": False}, {"text": "3", "error": False}])
    assert set(told.tools) >= {"echo", "add", "read_file", "delete_file"}


@pytest.mark.needs("node")
def test_typescript_client_against_the_bare_sdk_server(bare: SdkServer, era: str, node: str) -> None:
    told = visit_typescript(node, bare.url, None, CALLS, era=era)
    assert (told.era, told.answers) == (era, [{"text": "hello", "error": False}, {"text": "3", "error": False}])
    assert len(bare.calls("echo")) >= 1


@pytest.mark.parametrize("events", [False, True])
def test_python_client_against_the_counting_upstream(era: str, events: bool) -> None:
    with Upstream() as upstream:
        if events:
            upstream.script = polite_events
        told = visit_python(upstream.url, None, [("echo", {"text": "hello"})], era=era)
        assert (told.era, told.answers) == (era, [{"text": '{"text": "hello"}', "error": False}])
        assert len(upstream.calls()) == 1


def test_requests_on_many_connections_are_all_counted() -> None:
    with Upstream() as upstream:

        def visit() -> None:
            with Wire(upstream.address) as wire:
                for _ in range(20):
                    assert wire.ask(http("POST", "/mcp", [("Host", "x")], b'{"method":"ping","id":1}')).status == 200

        threads = [threading.Thread(target=visit) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert upstream.count == 160


def test_the_shim_adds_a_token_and_nothing_else() -> None:
    body = json.dumps(tool_call("echo", {"text": "x"}, era="stateless")).encode()
    plain = http("POST", "/mcp", [("Host", "evil.example.com"), ("Origin", "http://evil.example.com")], body)
    chunked = http("POST", "/mcp", [("Host", "here"), ("Transfer-Encoding", "chunked")], length=False)
    chunked += f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    with Upstream() as upstream, Shim(upstream.address, lambda: "t") as shim, Wire(("127.0.0.1", shim.port)) as wire:
        for sent in (plain, chunked):
            assert wire.ask(sent).status == 200
        added = b"Authorization: Bearer t\r\n\r\n"
        assert [seen.head for seen in upstream.seen] == [
            sent.partition(b"\r\n\r\n")[0] + b"\r\n" + added for sent in (plain, chunked)
        ]
        assert {seen.body for seen in upstream.seen} == {body}


def test_the_shim_closes_when_the_other_side_does() -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        await talk.stream()
        talk.hang_up()

    with Upstream() as upstream, Shim(upstream.address, lambda: "t") as shim, Wire(("127.0.0.1", shim.port)) as wire:
        upstream.script = script
        wire.send(http("POST", "/mcp", [("Host", "here")], b"{}"))
        assert wire.read_head().status == 200
        assert wire.closed()
