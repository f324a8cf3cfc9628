"""Where the keys are that check what a client or a workload signed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from ostiary.fetch import Reach
from ostiary.fields import ALGORITHMS
from ostiary.jwks import JwksError, parse_keys, read_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ostiary.configidentity import JwksSection
    from ostiary.control import Control
    from ostiary.jwks import Key
    from ostiary.oauth.signed import KeySource

Section = Literal["agents", "services"]
#: Section, name and number of a credential, as in `agents.ci-bot.credentials[0]`.
Place = tuple[Section, str, int]


def of_credential(control: Control, place: Place, jwks: JwksSection) -> KeySource:
    """Return the source of the keys that a credential of the configuration or the registry names."""
    if jwks.url is not None:
        return _of_url(control, jwks.url)
    config = control.config
    known = config.credential_keys.get(place)
    if known is None and jwks.file is not None:  # registered while running: it was readable then
        try:
            known = read_keys(config.folder / jwks.file, ALGORITHMS)
        except JwksError:
            known = ()
    keys = tuple(dict(key) for key in known or ())
    return lambda _fresh: keys


def of_issuer(control: Control, issuer: str) -> KeySource:
    """Return the source of the keys that the metadata of `issuer` names."""

    def look(fresh: bool) -> Sequence[Key]:
        url = control.remote_keys.discover(issuer)
        return () if url is None else control.remote_keys.current(url, ALGORITHMS, unknown=fresh)

    return look


def of_client(control: Control, jwks: Mapping[str, Any] | None, jwks_uri: str | None) -> KeySource:
    """Return the source of the keys that a client says are its own: one of the two, or there are none."""
    if (jwks is None) == (jwks_uri is None):
        return lambda _fresh: ()
    if jwks_uri is None:
        try:
            keys = parse_keys(json.dumps(jwks).encode(), ALGORITHMS)
        except JwksError:
            keys = ()
        return lambda _fresh: keys
    config, uri = control.config, jwks_uri
    danger = config.oauth.danger_loopback_clients
    authorities = config.folder / config.oauth.ca_file if danger and config.oauth.ca_file is not None else None

    def look(fresh: bool) -> Sequence[Key]:
        reach = Reach.LOOPBACK if danger else Reach.PUBLIC
        return control.remote_keys.of_client(uri, ALGORITHMS, reach=reach, ca_file=authorities, unknown=fresh)

    return look


def _of_url(control: Control, url: str) -> KeySource:
    return lambda fresh: control.remote_keys.current(url, ALGORITHMS, unknown=fresh)
