"""Scopes as clients write them: which action classes they name, and what of the rest is an error."""

from __future__ import annotations

from typing import Final

from ostiary.fields import CLASSES
from ostiary.oauth.web import OAuthError

#: How the scopes of ours begin.
PREFIX: Final = "mcp:"
#: What libraries ask for out of habit (OpenID Connect Core 1.0 sections 5.4 and 11). It means nothing here.
OPENID: Final = frozenset(("address", "email", "offline_access", "openid", "phone", "profile"))


def classes_of(scope: str | None, *, strict: bool = False) -> tuple[str, ...]:
    """Return the classes that `scope` names, in the order of `CLASSES`.

    Raises `OAuthError` (`invalid_scope`) for what begins as ours do, in any case of letters, and is none: whoever asks
    for it would go on with less than it believes to have. With `strict`, for all that is neither ours nor of `OPENID`.
    """
    asked = (scope or "").split()
    known = {PREFIX + name: name for name in CLASSES}
    for word in asked:
        if word not in known and (word.lower().startswith(PREFIX) or (strict and word not in OPENID)):
            raise OAuthError("invalid_scope", f"there is no scope {word[:100]}")
    return tuple(name for text, name in known.items() if text in asked)
