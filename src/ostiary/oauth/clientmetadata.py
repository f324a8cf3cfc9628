"""What clients say of themselves, held to the same rules in a registration and in a document (RFC 7591 section 2)."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

from ostiary.errors import OstiaryError
from ostiary.oauth import redirects

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The grants by which a client acts for a person.
GRANTS: Final = ("authorization_code", "refresh_token")
_URIS: Final = ("client_uri", "jwks_uri", "logo_uri", "policy_uri", "tos_uri")


class MetadataError(OstiaryError):
    """What a client says cannot be taken. `error` is how a registration endpoint calls that (section 3.2.2)."""

    def __init__(self, message: str, *, error: str = "invalid_client_metadata") -> None:
        super().__init__(message)
        self.error = error


def redirect_uris(said: Mapping[str, Any], *, most: int) -> list[str]:
    """Return the addresses that are usable, where there is one and none is dangerous. Raises `MetadataError`."""
    uris = said.get("redirect_uris")
    if not isinstance(uris, list) or not 0 < len(uris) <= most:
        raise MetadataError(f"redirect_uris must list 1 to {most} addresses", error="invalid_redirect_uri")
    faults = [(number, redirects.fault(uri)) for number, uri in enumerate(uris, 1)]
    usable = [uri for uri, (_, why) in zip(uris, faults, strict=True) if why is None]
    for number, why in faults:
        uri = uris[number - 1]
        if why is not None and (not usable or not isinstance(uri, str) or redirects.is_dangerous(uri)):
            raise MetadataError(f"redirect address {number} {why}", error="invalid_redirect_uri")
    return list(dict.fromkeys(usable))


def grant_types(said: Mapping[str, Any]) -> list[str]:
    """Return those of the grants that are served here: clients name all that they know (section 3.2.1).

    Without a list there are refresh tokens too, though section 2 then means the code alone: many a client that leaves
    the member out keeps its user signed in by them. Only a list without them takes them away. Raises `MetadataError`.
    """
    given = _texts(said, "grant_types")
    if not given:
        return list(GRANTS)
    if GRANTS[0] not in given:
        raise MetadataError(f"grant_types is not taken here without {GRANTS[0]}")
    return [grant for grant in GRANTS if grant in given]


def check_response_types(said: Mapping[str, Any]) -> None:
    """Raise `MetadataError` for a list of response types without the one that is served."""
    given = _texts(said, "response_types")
    if given and "code" not in given:
        raise MetadataError("response_types is not taken here without code")


def check_uris(said: Mapping[str, Any]) -> None:
    """Raise `MetadataError` for a URI that holds what no URI does: blanks, and what a terminal or page acts on."""
    for name in _URIS:
        uri = said.get(name)
        if uri is not None and not isinstance(uri, str):
            raise MetadataError(f"{name} is no text")
        if any(c.isspace() or unicodedata.category(c)[0] == "C" for c in uri or ""):
            raise MetadataError(f"{name} holds characters that a URI may not hold")


def _texts(said: Mapping[str, Any], name: str) -> list[str] | None:
    given = said.get(name)
    if given is not None and not (isinstance(given, list) and all(isinstance(item, str) for item in given)):
        raise MetadataError(f"{name} is not a list of texts")
    return given
