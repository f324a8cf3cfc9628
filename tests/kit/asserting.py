"""Assertions of clients and tokens of platforms, plain or as an attack wants them, and a place to show them.

`tests/attacks/README.md` has the form of `oauth/assertions.json`, which this reads.
"""

from __future__ import annotations

import json
import re
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ostiary.config import Config, load
from ostiary.identity.remotekeys import RemoteKeys
from ostiary.oauth.assertion import ASSERTION_TYPE, authenticate_client, federated_principal
from tests.kit.configs import EXAMPLE, write
from tests.kit.issuer import Key, b64, compact, new_key, unb64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from ostiary.control import Control
    from ostiary.oauth.assertion import Authenticated, Workload
    from ostiary.store import Store

NOW = 1_800_000_000
URL = "http://127.0.0.1:8811"
APP = "https://app.example/c.json"

KEYS = {
    "own": new_key("EdDSA", "ci-1"),
    "rsa": new_key("RS256", "ci-rsa"),
    "pss": new_key("PS256", "ci-pss"),
    "ec": new_key("ES256", "ci-ec"),
    "other": new_key("EdDSA", "other-1"),
    "platform": new_key("RS256", "platform-1"),
    "cluster": new_key("ES256", "cluster-1"),
    "app": new_key("ES256", "app-1"),
}
FILES = {"ci": ("own", "rsa", "pss", "ec"), "other": ("other",), "platform": ("platform",), "cluster": ("cluster",)}
AGENTS = f"""\
agents:
  release-bot: {{owner: alice}}
  ci-bot: {{owner: alice, credentials: [{{private_key_jwt: {{jwks: {{file: ci.json}}}}}}]}}
  other-bot: {{owner: alice, credentials: [{{private_key_jwt: {{jwks: {{file: other.json}}}}}}]}}
  deployer:
    owner: alice
    credentials: [{{federated: {{preset: github-actions,
                                 issuer: "https://platform.example", jwks: {{file: platform.json}},
                                 subject: "repo:acme/app:ref:refs/heads/main", audience: "{URL}"}}}}]
services:
  reporter:
    owner: alice
    credentials: [{{federated: {{preset: kubernetes, issuer: "https://cluster.example", jwks: {{file: cluster.json}},
                                 subject: "system:serviceaccount:prod:reporter", audience: ostiary}}}}]
servers:
"""
CONFIG = EXAMPLE.replace(re.findall(r"agents:\n.*\nservers:\n", EXAMPLE)[0], AGENTS)


@dataclass
class Desk:
    """As much of the control side as proving who one is needs."""

    config: Config
    store: Store
    time: int = NOW
    remote_keys: RemoteKeys = field(init=False)

    def __post_init__(self) -> None:
        self.remote_keys = RemoteKeys(self.store, self.now)

    def now(self) -> int:
        """Return `time`, which tests set."""
        return self.time


@dataclass(frozen=True)
class Client:
    """An OAuth client, as its registration says."""

    id: str
    auth: Any
    secret: str | None = None
    jwks: Mapping[str, Any] | None = None
    jwks_uri: str | None = None

    def has_secret(self, secret: str) -> bool:
        """Whether `secret` is its own."""
        return self.secret == secret


CLIENTS = {
    "web": Client("web", "secret", secret="right"),
    "public": Client("public", "none"),
    APP: Client(APP, "private_key_jwt", jwks={"keys": [KEYS["app"].jwk]}),
}


def write_config(folder: Path, text: str) -> Config:
    """Write `text` with the key sets that it names, and read it."""
    for name, keys in FILES.items():
        (folder / f"{name}.json").write_text(json.dumps({"keys": [KEYS[key].jwk for key in keys]}))
    return load(write(folder, text))


# The plain assertion of each who: (header, claims, key).
PLAIN: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "client": ({"alg": "EdDSA", "kid": "ci-1"}, {"iss": "ci-bot", "sub": "ci-bot", "aud": "$URL"}, "own"),
    "app": ({"alg": "ES256", "kid": "app-1"}, {"iss": APP, "sub": APP, "aud": "$URL"}, "app"),
    "workload": (
        {"alg": "RS256", "kid": "platform-1"},
        {"iss": "https://platform.example", "sub": "repo:acme/app:ref:refs/heads/main", "aud": "$URL"}
        | {"repository": "acme/app", "workflow": "release", "run_id": "77", "secret": "no fact"},
        "platform",
    ),
    "pod": (
        {"alg": "ES256", "kid": "cluster-1"},
        {"iss": "https://cluster.example", "sub": "system:serviceaccount:prod:reporter", "aud": ["ostiary"]}
        | {"kubernetes.io": {"namespace": "prod", "pod": {"name": "reporter-1\u0007", "uid": "u"}}},
        "cluster",
    ),
}
PLAIN["as-client"] = PLAIN["workload"]


def _put(value: Any) -> Any:
    """Return `value` with what its placeholders stand for."""
    if isinstance(value, dict):
        return {name: _put(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_put(each) for each in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if moment := re.fullmatch(r"\$NOW([+-]\d+)?", value):
        return NOW + int(moment[1] or 0)
    whole = {"$NULL": None, "$TEXT": str(NOW + 60), "$STRANGER": new_key("EdDSA", "stranger").jwk}
    return whole[value] if value in whole else value.replace("$URL_UPPER", URL.upper()).replace("$URL", URL)


def _changed(sound: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _put(value) for name, value in {**sound, **changes}.items() if value is not None}


def _with_text(members: Mapping[str, Any], extra: str | None) -> bytes:
    text = json.dumps(members, separators=(",", ":"))
    return (text if extra is None else f"{text[:-1]},{extra}}}").encode()


def _signer(spec: Mapping[str, Any], who: str, header: Mapping[str, Any]) -> Key | bytes | None:
    key = KEYS[PLAIN[who][2]]
    chosen = spec.get("key")
    if chosen is None:
        return key
    if chosen == "stranger":
        return new_key(key.alg, "stranger")
    return {"none": None, "hmac-of-public-pem": key.pem}.get(chosen) if chosen not in KEYS else KEYS[chosen]


MANGLES: dict[str, Callable[[str], str]] = {
    "five-parts": lambda token: f"{token}.AAAA.AAAA",
    "padding": lambda token: token.replace(".", "=.", 1),
    "whitespace": lambda token: f"{token}\n",
    "url-unsafe": lambda token: token[:-2] + "+/",
    "trailing-dot": lambda token: f"{token}.",
    "loose-bits": lambda token: token + "A" * ((1 - len(token.rpartition(".")[2])) % 4),
    "payload": lambda token: token.replace(token.split(".")[1], b64(unb64(token.split(".")[1])[:-1] + b',"x":1}')),
}


def token(spec: Mapping[str, Any], who: str) -> str:
    """Return the plain assertion of `who`, but for what `spec` says."""
    if "raw" in spec:
        return str(spec["raw"])
    header, claims, _ = PLAIN[who]
    times = {"iat": "$NOW", "exp": "$NOW+60", "jti": uuid.uuid4().hex}
    header = _changed({"typ": "JWT"} | header, spec.get("header", {}))
    body = _with_text(_changed(times | claims, spec.get("claims", {})), spec.get("claims_extra"))
    body = spec["claims_text"].encode() if "claims_text" in spec else body
    made = compact(_with_text(header, spec.get("header_extra")), body, _signer(spec, who, header))
    return MANGLES[spec["mangle"]](made) if "mangle" in spec else made


def send(desk: Desk, who: str, spec: Mapping[str, Any]) -> Authenticated | Workload:
    """Show what `spec` says: at the token endpoint as a client, or as the assertion of a grant."""
    text = token(spec.get("token", {}), who)
    if who in {"workload", "pod"}:
        found = federated_principal(text, cast("Control", desk), client_id=spec.get("form", {}).get("client_id"))
        _grant(desk, found)
        return found
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": text}
    changes = spec.get("form", {})
    if who == "app" and "claims" not in spec.get("token", {}):
        changes = {"client_id": APP} | changes
    form = {name: value for name, value in (form | changes).items() if value is not None}
    return authenticate(desk, form, tuple(spec["basic"]) if "basic" in spec else None)


def authenticate(
    desk: Desk, form: Mapping[str, str], basic: tuple[str, str] | None = None, endpoint: str = f"{URL}/oauth/token"
) -> Authenticated:
    """Ask who the client is."""
    found = authenticate_client(form, basic, cast("Control", desk), endpoint=endpoint, find=CLIENTS.get)
    _grant(desk, found)
    return found


def _grant(desk: Desk, found: Authenticated | Workload) -> None:
    """Use up what is good once, as whoever grants something does."""
    if found.once is not None:
        with desk.store.changing() as connection:
            found.once.use_up(connection, now=desk.now())
