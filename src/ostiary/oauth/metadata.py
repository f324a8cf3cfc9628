"""What clients read first: the metadata of the authorization server (RFC 8414, OpenID Connect Discovery 1.0).

One document for all addresses at which it is looked for. It says only what is true of the configuration in force, but
for two members: SDKs take no document without an authorization endpoint, nor one found through OpenID Connect
without what it says of ID tokens, which are not issued here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ostiary.fields import ALGORITHMS, CLASSES

if TYPE_CHECKING:
    from ostiary.config import Config

JWT_BEARER: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
METHODS: Final = ("none", "client_secret_basic", "client_secret_post", "private_key_jwt")


def metadata(config: Config) -> dict[str, Any]:
    """Return the document under `config`. `issuer` is `gateway.url`, byte for byte."""
    url = config.gateway.url
    confidential = [method for method in METHODS if method != "none"]
    document: dict[str, Any] = {
        "issuer": url,
        "authorization_endpoint": f"{url}/oauth/authorize",
        "token_endpoint": f"{url}/oauth/token",
        "revocation_endpoint": f"{url}/oauth/revoke",
        "introspection_endpoint": f"{url}/oauth/introspect",
        "jwks_uri": f"{url}/.well-known/jwks.json",
        "scopes_supported": [f"mcp:{name}" for name in CLASSES],
        "response_types_supported": ["code"] if config.providers else [],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(grant_types(config)),
        "code_challenge_methods_supported": ["S256"],
        "token_endpoint_auth_methods_supported": list(METHODS),
        "token_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "revocation_endpoint_auth_methods_supported": list(METHODS),
        "revocation_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": list(ALGORITHMS),
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": bool(config.providers),
        "subject_types_supported": ["public"],
        # None are issued. Strict readers take no document without RS256 (OpenID Connect Discovery 1.0 section 3).
        "id_token_signing_alg_values_supported": ["RS256", "EdDSA"],
    }
    if config.providers and config.oauth.dynamic_registration:
        document["registration_endpoint"] = f"{url}/oauth/register"
    return document


def grant_types(config: Config) -> tuple[str, ...]:
    """Return the grants by which anybody can get a token under `config`."""
    credentials = [each for agent in config.agents.values() for each in agent.credentials]
    credentials += [each for service in config.services.values() for each in service.credentials]
    found: list[str] = []
    if config.providers:
        found += ["authorization_code", "refresh_token"]
    if any(credential.private_key_jwt for credential in credentials):
        found.append("client_credentials")
    if any(credential.federated for credential in credentials):
        found.append(JWT_BEARER)
    return tuple(found)
