"""The options by which agents and services that are registered prove who they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

Jwks = Annotated[
    str | None,
    typer.Option(help="The public keys of what it signs about itself: a file, or an https URL.", metavar="FILE|URL"),
]
FederatedPreset = Annotated[
    str | None, typer.Option(help="The platform that it runs on: kubernetes, github-actions.", metavar="NAME")
]
FederatedSubject = Annotated[
    str | None, typer.Option(help="Its exact subject in the tokens of that platform.", metavar="SUBJECT")
]
FederatedIssuer = Annotated[
    str | None, typer.Option(help="The exact issuer of those tokens, where the preset does not know it.", metavar="URL")
]


def credentials_of(
    jwks: str | None, preset: str | None, subject: str | None, issuer: str | None
) -> list[dict[str, Any]]:
    """Return the credentials that were asked for, as they would stand in the file."""
    found: list[dict[str, Any]] = []
    if jwks is not None:
        remote = jwks.startswith(("https://", "http://"))
        # The gateway reads it again and again, from whatever folder it runs in.
        keys = {"url": jwks} if remote else {"file": str(Path(jwks).absolute())}
        found.append({"private_key_jwt": {"jwks": keys}})
    if subject is None:
        if preset is not None or issuer is not None:
            raise typer.BadParameter("a federated workload has an exact subject: --federated-subject")
        return found
    if preset is None and issuer is None:
        raise typer.BadParameter("say whose tokens: --federated-preset or --federated-issuer")
    federated = {"preset": preset, "issuer": issuer, "subject": subject}
    return [*found, {"federated": {key: value for key, value in federated.items() if value is not None}}]
