"""Where client ID metadata documents live: an https server on loopback, with an authority of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.serialization import Encoding

from ..pki import Authority
from ..webserver import WebServer, answer

if TYPE_CHECKING:
    from pathlib import Path


class Documents:
    """`ca_file` is for whoever is to believe it. `heads` of `server` tell who came for a document."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        authority = Authority()
        self.ca_file = folder / "documents-ca.pem"
        self.ca_file.write_bytes(authority.cert.public_bytes(Encoding.PEM))
        self.server = WebServer(authority.pair(), folder)

    def __enter__(self) -> Self:
        self.server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__()

    def publish(self, name: str, *redirects: str, **more: Any) -> str:
        """Publish the document of a client, and return its URL, which is its client id."""
        path = f"/{name}/client.json"
        url = self.server.url(path)
        document = {
            "client_id": url,
            "client_name": name.capitalize(),
            "redirect_uris": list(redirects),
            "token_endpoint_auth_method": "none",
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            **more,
        }
        self.server.scripts[path] = answer(
            json.dumps(document), Content_Type="application/json", Cache_Control="max-age=60"
        )
        return url
