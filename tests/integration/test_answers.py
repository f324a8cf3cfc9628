"""What a refused caller sees: the table of section 6 of the design, row by row."""

from collections.abc import Iterator

import pytest
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Seen, Talk, Upstream
from tests.kit.wire import http, message, tool_call

#: What the endpoint of a server takes, and what a document does.
ALLOWED = {True: "GET, POST, DELETE", False: "GET, HEAD"}


def test_a_rules_no_is_a_clean_error_with_the_decision(house: House, era: str) -> None:
    reply = house.gateway.post(tool_call("delete_file", {"path": "/x"}, era=era, ident="mine"), house.alice, era=era)
    told = reply.json()
    assert (reply.status, told["jsonrpc"], told["id"]) == (200, "2.0", "mine")
    assert (told["error"]["code"], set(told["error"]["data"]) - {"remedy"}) == (4030, {"decision", "reason"})
    assert told["error"]["message"].endswith(".")
    assert "\n" not in told["error"]["message"]
    assert "dev-reads" not in reply.body.decode()


def test_a_rules_text_is_never_told(house: House, era: str) -> None:
    reply = house.gateway.call("read_file", {"path": "/etc/passwd"}, house.alice, era=era)
    assert reply.error["data"]["reason"] == "denied_by_rule"
    assert "no-etc" not in reply.body.decode()


@pytest.mark.parametrize(
    "method", ["tasks/get", "tasks/list", "sampling/createMessage", "elicitation/create", "roots/list", "tools/nope"]
)
def test_a_method_that_is_not_served_is_unknown(house: House, era: str, method: str) -> None:
    before = house.upstream.bytes
    reply = house.gateway.post(message(method, {}, era=era, ident="mine"), house.alice, era=era)
    assert (reply.status, reply.error["code"]) == ({"session": 200, "stateless": 404}[era], -32601)
    assert reply.json()["id"] == "mine"
    assert house.upstream.bytes == before


@pytest.mark.parametrize("method", ["notifications/tasks/status", "notifications/made_up", "notifications/message"])
def test_a_notification_that_is_not_served_is_dropped_or_refused(house: House, era: str, method: str) -> None:
    before = house.upstream.bytes
    since = len(house.gateway.records())
    reply = house.gateway.post(message(method, {}, era=era, ident=None), house.alice, era=era)
    assert reply.status == {"session": 202, "stateless": 403}[era]
    assert house.upstream.bytes == before
    assert house.gateway.next_record(since, "deny")


@pytest.mark.parametrize(
    ("target", "method", "status"),
    [
        ("/", "GET", 404),
        ("/mcp", "POST", 404),
        ("/mcp/unknown", "POST", 404),
        ("/mcp/notes/", "POST", 404),
        ("/mcp/notes/more", "POST", 404),
        ("/MCP/notes", "POST", 404),
        ("/mcp/notes", "OPTIONS", 405),
        ("/mcp/notes", "PUT", 405),
        ("/mcp/notes", "PATCH", 405),
        ("/mcp/notes", "TRACE", 405),
        ("/mcp/notes?token=x", "POST", 400),
        ("/.well-known/jwks.json", "POST", 405),
        ("/readyz", "GET", 404),
        ("/metrics", "GET", 404),
    ],
)
def test_routes_are_exact(house: House, target: str, method: str, status: int) -> None:
    before = house.upstream.bytes
    body = b"{}" if method in {"POST", "PUT", "PATCH"} else b""
    fields = [("Host", house.gateway.host), ("Content-Type", "application/json")]
    fields += [("Accept", "application/json, text/event-stream"), ("Authorization", f"Bearer {house.alice}")]
    with house.gateway.wire() as wire:
        reply = wire.ask(http(method, target, fields, body))
    assert reply.status == status
    assert reply.header("allow") == (ALLOWED[target.startswith("/mcp/")] if status == 405 else None)
    assert b"\n" not in reply.body.strip()
    assert house.upstream.bytes == before


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("evil.test", None, 421),
        ("127.0.0.1:1", None, 421),
        ("{host}", "http://evil.test", 403),
        ("{host}", "null", 403),
        ("{host}", "http://127.0.0.1:1", 403),
        ("{host}", "http://{host}", 200),
        ("{host}", "http://localhost:{port}", 200),
        ("localhost:{port}", None, 200),
    ],
)
def test_hosts_and_origins(house: House, era: str, host: str, origin: str | None, status: int) -> None:
    here = {"host": house.gateway.host, "port": house.gateway.address[1]}
    raw = house.gateway.layout(tool_call("echo", {"text": "x"}, era=era), house.alice, era=era)
    raw = raw.replace(f"Host: {house.gateway.host}".encode(), f"Host: {host.format(**here)}".encode())
    if origin is not None:
        raw = raw.replace(b"Content-Type:", f"Origin: {origin.format(**here)}\r\nContent-Type:".encode())
    before = house.upstream.count
    with house.gateway.wire() as wire:
        assert wire.ask(raw).status == status
    assert house.upstream.count == before + (status == 200)


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([("Content-Type", "text/plain")], 415),
        ([("Content-Type", "application/jsonx")], 415),
        ([("Content-Type", "application/json; charset=utf-16")], 415),
        ([("Content-Type", "APPLICATION/JSON; Charset=UTF-8")], 200),
        ([("Content-Type", "application/json"), ("Content-Encoding", "gzip")], 415),
    ],
)
def test_media_types(house: House, era: str, fields: list[tuple[str, str]], status: int) -> None:
    raw = house.gateway.layout(tool_call("echo", {"text": "x"}, era=era), house.alice, era=era)
    lines = "\r\n".join(f"{name}: {value}" for name, value in fields).encode()
    before = house.upstream.count
    with house.gateway.wire() as wire:
        assert wire.ask(raw.replace(b"Content-Type: application/json", lines)).status == status
    assert house.upstream.count == before + (status == 200)


def test_a_body_too_large_is_413(house: House, era: str) -> None:
    raw = house.gateway.layout(tool_call("echo", {"text": "x" * (17 << 20)}, era=era), house.alice, era=era)
    before = house.upstream.bytes
    with house.gateway.wire() as wire:
        wire.send(raw)
        assert wire.read().status == 413
    assert house.upstream.bytes == before


def test_too_many_or_too_large_header_fields_are_431(house: House) -> None:
    before = house.upstream.bytes
    for extra in ([("X-Big", "x" * (1 << 20))], [(f"X-{number}", "x") for number in range(10_000)]):
        raw = house.gateway.layout(tool_call("echo", {}, era="stateless"), house.alice, headers=extra)
        with house.gateway.wire() as wire:
            assert wire.ask(raw).status == 431
    assert house.upstream.bytes == before


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[tuple[Gateway, Upstream]]:
    """A gateway with one server that is down and one that has a second to answer."""
    folder = tmp_path_factory.mktemp("troubled")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        urls = {"down": f"http://127.0.0.1:{free_port()}/mcp", "slow": upstream.url}
        config = settings(urls, issuer, listen=free_port(), admin=free_port())
        config["servers"]["slow"]["timeout"] = "1s"
        with Gateway(folder, config) as gateway:
            yield gateway, upstream


def test_an_upstream_that_is_down_is_a_502(troubled: tuple[Gateway, Upstream], issuer: Issuer, era: str) -> None:
    gateway, _ = troubled
    reply = gateway.call("echo", {"text": "x"}, issuer.token(), era=era, server="down")
    assert (reply.status, reply.error["code"]) == (502, 5020)
    assert gateway.record_of(reply.error["data"]["decision"], "intent")
    assert gateway.record_of(reply.error["data"]["decision"], "outcome")["outcome"] == "upstream"


def test_a_slow_upstream_is_a_504(troubled: tuple[Gateway, Upstream], issuer: Issuer, era: str) -> None:
    gateway, upstream = troubled
    gate = upstream.gate()

    async def script(seen: Seen, talk: Talk) -> None:
        await gate.wait()

    with upstream.scripted(script):
        reply = gateway.call("echo", {"text": "x"}, issuer.token(), era=era, server="slow")
    assert (reply.status, reply.error["code"]) == (504, 5040)
    assert upstream.hang_ups.acquire(timeout=10)
    assert gateway.record_of(reply.error["data"]["decision"], "outcome")["outcome"] == "upstream"


NONSENSE = {
    "not http": b"hello\r\n\r\n",
    "not json": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello",
    "duplicate keys": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 38\r\n\r\n"
    b'{"jsonrpc":"2.0","id":"1","id":"2"}   ',
    "html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>",
    "a 500": b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\noops",
    "cut off": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{",
    "both lengths": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "an old gzip": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2"
    b"\r\n\r\n{}",
}


@pytest.mark.parametrize("case", list(NONSENSE))
def test_an_upstream_that_speaks_nonsense_is_a_502(house: House, era: str, case: str) -> None:
    before = house.upstream.count

    async def script(seen: Seen, talk: Talk) -> None:
        await talk.raw(NONSENSE[case])
        talk.hang_up()

    with house.upstream.scripted(script):
        reply = house.gateway.post(tool_call("echo", {}, era=era, ident="mine"), house.alice, era=era)
    assert (reply.status, reply.error.get("code"), reply.json()["id"]) == (502, 5020, "mine")
    assert b"hello" not in reply.body
    assert b"oops" not in reply.body
    assert house.upstream.count == before + 1, "a call that may have run is never sent again"


def test_an_error_of_the_upstream_reaches_the_caller_as_it_is(house: House, era: str) -> None:
    async def script(seen: Seen, talk: Talk) -> None:
        error = {"code": -32602, "message": "bad path", "data": {"path": "/x"}}
        await talk.json({"jsonrpc": "2.0", "id": seen.message["id"], "error": error})

    with house.upstream.scripted(script):
        reply = house.gateway.post(tool_call("echo", {}, era=era, ident=7), house.alice, era=era)
    assert (reply.status, reply.json()["id"]) == (200, 7)
    assert reply.error == {"code": -32602, "message": "bad path", "data": {"path": "/x"}}


def test_a_filtered_list_is_private_and_keeps_its_order(house: House, era: str) -> None:
    reply = house.gateway.post(message("tools/list", {}, era=era), house.alice, era=era)
    result = reply.json()["result"]
    assert [tool["name"] for tool in result["tools"]] == ["echo", "read_file", "add"]
    assert result.get("cacheScope") == ("private" if era == "stateless" else None)


def test_nothing_of_a_filtered_tool_is_left(house: House, era: str) -> None:
    reply = house.gateway.post(message("tools/list", {}, era=era), house.alice, era=era)
    assert b"hidden" not in reply.body
    assert b"delete_file" not in reply.body


def test_someone_for_whom_nothing_is_allowed_cannot_connect(house: House, era: str) -> None:
    """Requirement R06: a sound token that no rule speaks of."""
    stranger = house.issuer.token(sub="eve@example.com", groups=["sales"])
    before = house.upstream.bytes
    for body in (message("tools/list", {}, era=era), tool_call("echo", {}, era=era)):
        reply = house.gateway.post(body, stranger, era=era)
        assert (reply.status, reply.error["code"], reply.error["data"]["reason"]) == (200, 4030, "no_rule")
    assert house.upstream.bytes == before


def test_a_second_request_on_the_connection_is_decided_on_its_own(house: House, era: str) -> None:
    """Attack C11: pipelined behind a 401."""
    body = tool_call("echo", {"text": "x"}, era=era)
    before = house.upstream.count
    with house.gateway.wire() as wire:
        wire.send(
            house.gateway.layout(body, None, era=era)
            + house.gateway.layout(body, house.alice, era=era)
            + house.gateway.layout(tool_call("delete_file", {}, era=era), house.alice, era=era)
        )
        assert wire.read().status == 401
        assert wire.read().status == 200
        assert wire.read().error["code"] == 4030
    assert house.upstream.count == before + 1
