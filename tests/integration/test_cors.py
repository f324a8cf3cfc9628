"""What pages of other origins may send and read: documents are for all, endpoints for those that are admitted."""

from collections.abc import Iterator

import pytest
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.house import House
from tests.kit.issuer import Issuer
from tests.kit.upstream import Upstream
from tests.kit.wire import Reply, http, tool_call

APP, EVIL = "https://app.test", "https://evil.test"
PRM = "/.well-known/oauth-protected-resource/mcp/notes"
ROOT_PRM = "/.well-known/oauth-protected-resource"
JWKS = "/.well-known/jwks.json"
ASKS = ("Access-Control-Request-Method", "POST")


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[House]:
    """A gateway with one server, whose pages of `APP` may ask."""
    folder = tmp_path_factory.mktemp("alone")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["gateway"]["allowed_origins"] = [APP]
        with Gateway(folder, config) as gateway:
            yield House(gateway, upstream, issuer)


def ask(gateway: Gateway, method: str, path: str, *fields: tuple[str, str]) -> Reply:
    with gateway.wire() as wire:
        return wire.ask(http(method, path, [("Host", gateway.host), *fields]))


def cors(reply: Reply, *names: str) -> tuple[str | None, ...]:
    return tuple(reply.header(f"access-control-{name}") for name in names)


@pytest.mark.parametrize("path", [PRM, ROOT_PRM, JWKS])
@pytest.mark.parametrize("origin", [EVIL, APP, "null"])
def test_a_public_document_is_for_every_page(alone: House, path: str, origin: str) -> None:
    reply = ask(alone.gateway, "GET", path, ("Origin", origin))
    assert (reply.status, *cors(reply, "allow-origin", "allow-credentials")) == (200, "*", None)
    asked = [("Origin", origin), ("Access-Control-Request-Method", "GET")]
    reply = ask(alone.gateway, "OPTIONS", path, *asked, ("Access-Control-Request-Headers", "mcp-protocol-version"))
    assert (reply.status, reply.body) == (204, b"")
    assert cors(reply, "allow-origin", "allow-methods", "allow-headers") == ("*", "GET, HEAD", "Authorization, *")


@pytest.mark.parametrize("path", [PRM, JWKS, "/mcp/notes"])
def test_options_that_are_no_preflight_are_not_taken(alone: House, path: str) -> None:
    for fields in ([], [("Origin", APP)], [ASKS]):
        assert ask(alone.gateway, "OPTIONS", path, *fields).status == 405, fields


def test_a_page_that_is_admitted_may_call_and_read_what_a_client_needs(alone: House, era: str) -> None:
    reply = ask(alone.gateway, "OPTIONS", "/mcp/notes", ("Origin", APP), ASKS)
    told = (reply.status, reply.header("vary"), *cors(reply, "allow-origin", "allow-methods", "allow-headers"))
    assert told == (204, "Origin", APP, "GET, POST, DELETE", "Authorization, *")
    for token, status in ((None, 401), (alone.alice, 200)):
        raw = alone.gateway.layout(tool_call("echo", {"text": "x"}, era=era), token, era=era)
        with alone.gateway.wire() as wire:
            reply = wire.ask(raw.replace(b"Content-Type:", f"Origin: {APP}\r\nContent-Type:".encode()))
        assert (reply.status, *cors(reply, "allow-origin")) == (status, APP)
        assert cors(reply, "expose-headers", "allow-credentials") == ("Mcp-Session-Id, WWW-Authenticate", None)


@pytest.mark.parametrize("origin", [EVIL, "null", "http://app.test", "https://app.test:444", "https://app.test.evil"])
def test_any_other_page_may_neither_ask_nor_read(alone: House, origin: str) -> None:
    before = alone.upstream.bytes
    for method, path in (("OPTIONS", "/mcp/notes"), ("GET", "/mcp/notes"), ("OPTIONS", "/mcp/nothing")):
        reply = ask(alone.gateway, method, path, ("Origin", origin), ASKS)
        assert (reply.status, *cors(reply, "allow-origin", "allow-headers")) == (403, None, None), path
    assert alone.upstream.bytes == before


def test_who_is_no_page_is_told_nothing_of_it(alone: House, era: str) -> None:
    reply = alone.gateway.call("echo", {"text": "x"}, alone.alice, era=era)
    assert (reply.status, reply.header("vary"), *cors(reply, "allow-origin", "expose-headers")) == (
        200,
        None,
        None,
        None,
    )


def test_the_root_speaks_for_the_only_server(alone: House, open_house: House) -> None:
    """RFC 9728 section 3.1. With several servers it could not say whose metadata that is."""
    assert alone.gateway.get(ROOT_PRM).json() == alone.gateway.get(PRM).json()
    assert open_house.gateway.get(ROOT_PRM).status == 404
    for path in (f"{ROOT_PRM}/", f"{ROOT_PRM}/mcp", f"{ROOT_PRM}/mcp/", f"{ROOT_PRM}x"):
        assert alone.gateway.get(path).status == 404, path
