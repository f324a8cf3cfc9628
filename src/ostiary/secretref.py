"""Reads what `env:NAME` and `file:PATH` refer to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostiary.config import Config


def read_secret(reference: str, base: Path) -> str | None:
    """Return the secret behind a reference, a path being relative to the folder `base`; `None` if there is none."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name) or None
    try:
        return (base / name).read_text("utf-8").rstrip("\r\n") or None
    except (OSError, UnicodeDecodeError):
        return None


def unset_client_secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Yield each provider whose client secret is not here, or is empty, with the reference to it."""
    for name, provider in config.providers.items():
        if provider.client_secret is not None and read_secret(provider.client_secret, config.folder) is None:
            yield name, provider.client_secret


def unset_secrets(config: Config) -> Iterator[str]:
    """Yield what must be told at a start: secrets that are not where the gateway runs, though its file is in order."""
    for name, reference in unset_client_secrets(config):
        yield f"identity.providers.{name}: {reference} cannot be read, so nobody can sign in there"
