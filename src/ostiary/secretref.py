"""Reads what `env:NAME` and `file:PATH` refer to."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def read_secret(reference: str, base: Path) -> str | None:
    """Return the secret behind a reference, a path being relative to the folder `base`; `None` if there is none."""
    kind, _, name = reference.partition(":")
    if kind == "env":
        return os.environ.get(name) or None
    try:
        return (base / name).read_text("utf-8").rstrip("\r\n") or None
    except (OSError, UnicodeDecodeError):
        return None
