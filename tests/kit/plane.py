"""The data plane alone, in this process and without a control plane: what a test hands it is all that it knows."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from ostiary import _core
from ostiary.compile import compile as compile_snapshot
from ostiary.config import load

from .gateway import Gateway
from .issuer import b64, compact, new_key

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = new_key("EdDSA", "plane-1")


class Plane(Gateway):
    """A gateway whose control plane is the test: it signs the tokens and says what is revoked."""

    core: _core.Gateway

    def __init__(self, folder: Path, config: Mapping[str, Any], *, epochs: str = "[]", patience: float = 0.0) -> None:
        super().__init__(folder, config)
        self.epochs, self.patience = epochs, patience
        audit = folder / "var" / "audit"
        audit.mkdir(parents=True)
        self.journal = _core.Journal(str(audit), self.url, None)

    @property
    def secrets(self) -> str:
        """What is handed over beside a snapshot."""
        signing = {"kid": "call-1", "alg": "EdDSA", "seed": b64(bytes(32))}
        return json.dumps({"signing": signing, "jwks": {"keys": [KEY.jwk]}, "seal": b64(bytes(32)), "tls": None})

    def snapshot(self, *, lockdown: bool = False) -> _core.Snapshot:
        """Compile the file as it stands; `claude`, where it is declared, is our own client `claude-client`."""
        whole = json.loads(compile_snapshot(load(self.file), local_keys=[KEY.jwk], lockdown=lockdown))
        for agent in whole["agents"]:
            if agent["key"] == "claude":
                agent["clients"] = [["local", "claude-client"]]
        return _core.Snapshot(json.dumps(whole).encode())

    def start(self, *, deadline_s: float = 30.0) -> None:
        """Serve at once."""
        del deadline_s
        listen = f"{self.address[0]}:{self.address[1]}"
        self.core = _core.Gateway(
            listen, self.snapshot(), self.secrets, self.journal, epochs=self.epochs, patience=self.patience
        )

    def end(self, *, deadline_s: float = 0.0) -> int:
        """Stop, and close the record."""
        stopped = self.core.stop(deadline_s)
        self.journal.close()
        return 0 if stopped else 1

    def token(self, person: str, client: str = "cid", **changes: Any) -> str:
        """Return a token of our own by which `client` acts for `person`; a member set to `...` is left out."""
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": f"{self.url}/mcp/notes",
            "sub": f"human:sso:{person}",
            "client_id": client,
            "act": {"sub": f"agent:client:{client}", "third_party": f"{client}.test"},
            "scope": "mcp:read mcp:query",
            "groups": ["dev"],
            "iat": now,
            "exp": now + 600,
            "jti": str(uuid.uuid4()),
            "fam": f"family-of-{person}-and-{client}",
        }
        kept = {name: value for name, value in (claims | changes).items() if value is not ...}
        return compact({"alg": "EdDSA", "kid": KEY.kid, "typ": "at+jwt"}, kept, KEY)

    def revoke(self, kind: str, value: str, epoch: int | None = None) -> None:
        """Revoke what was issued until now, or until `epoch`."""
        self.core.revoke(json.dumps([{"kind": kind, "value": value, "epoch": epoch or int(time.time())}]))
