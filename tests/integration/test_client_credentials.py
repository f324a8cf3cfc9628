"""Agents and services without a person, by the official SDK: from the first 401 to a call, with keys of their own."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mcp import Client
from mcp.client.auth import OAuthFlowError, OAuthTokenError
from mcp.client.auth.extensions.client_credentials import PrivateKeyJWTOAuthProvider, SignedJWTParameters
from mcp.client.streamable_http import streamable_http_client
from tests.kit.clients import SdkServer
from tests.kit.flows.python import inner_error
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.issuer import Issuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
    from tests.kit.issuer import Issuer


def _number(value: int) -> str:
    return base64.urlsafe_b64encode(value.to_bytes(32, "big")).rstrip(b"=").decode()


KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def jwks() -> str:
    point = KEY.public_key().public_numbers()
    jwk = {"kty": "EC", "crv": "P-256", "x": _number(point.x), "y": _number(point.y), "kid": "ci", "alg": "ES256"}
    return json.dumps({"keys": [jwk]})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("credentials")
    issuer.write(folder / "jwks.json")
    (folder / "ci.jwks.json").write_text(jwks())
    with SdkServer() as server:
        config = settings({"notes": server.url}, issuer, listen=free_port(), admin=free_port())
        by_key = [{"private_key_jwt": {"jwks": {"file": "ci.jwks.json"}}}]
        ceiling = {"servers": ["notes"], "classes": ["read"]}
        config["agents"] = {"ci-bot": {"owner": "alice", "ceiling": ceiling, "credentials": by_key}}
        config["services"] = {"reporter": {"owner": "alice", "credentials": by_key}}
        reads = {"action": {"in": ["read", "query"]}}
        config["policy"] = [
            {"name": "bot", "allow": {"and": [{"agent": "ci-bot"}, reads]}},
            {"name": "service", "allow": {"and": [{"service": "reporter"}, reads]}},
        ]
        with Gateway(folder, config) as running:
            yield running


class Memory:
    """What a client keeps of its tokens."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return None

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        del client_info


def call(gateway: Gateway, name: str, key: Any, tool: str, arguments: dict[str, Any]) -> str:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    signed = SignedJWTParameters(issuer=name, subject=name, signing_algorithm="ES256", signing_key=pem)
    url = f"{gateway.url}/mcp/notes"
    auth = PrivateKeyJWTOAuthProvider(
        url, Memory(), client_id=name, assertion_provider=signed.create_assertion_provider(), issuer=gateway.url
    )

    async def run() -> str:
        async with (
            httpx2.AsyncClient(auth=auth, timeout=20) as http,
            Client(streamable_http_client(url, http_client=http)) as client,
        ):
            result = await client.call_tool(tool, arguments)
            return str(result.content[0].text)  # type: ignore[union-attr]

    return anyio.run(run)


@pytest.mark.parametrize(
    ("name", "principal"),
    [
        ("ci-bot", "agent:local:ci-bot"),
        ("agent:local:ci-bot", "agent:local:ci-bot"),
        ("reporter", "service:local:reporter"),
        ("service:local:reporter", "service:local:reporter"),
    ],
)
def test_a_machine_calls_with_a_key_of_its_own(gateway: Gateway, name: str, principal: str) -> None:
    since = len(gateway.records())
    assert "it works" in call(gateway, name, KEY, "echo", {"text": "it works"})
    issued = next(each for each in gateway.records()[since:] if each.get("event") == "token_issued")
    assert issued["principal"]["id"] == principal
    intents = [each for each in gateway.records()[since:] if each["kind"] == "intent" and each["tool"] == "echo"]
    assert [each["principal"]["id"] for each in intents] == [principal]


def test_another_key_gets_no_token(gateway: Gateway) -> None:
    with pytest.raises(BaseException) as raised:
        call(gateway, "ci-bot", OTHER, "echo", {"text": "x"})
    assert isinstance(inner_error(raised.value), OAuthTokenError | OAuthFlowError)
