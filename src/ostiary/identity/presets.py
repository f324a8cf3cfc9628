"""What is known of the kinds of OpenID providers, beyond what the standard says.

`presets/NAME.json` holds for each its discovery document and what its tokens look like; the tests play them back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ostiary.identity.accounts import vouched

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ostiary.config import ProviderSection

_TENANT: Final = "{tenantid}"
#: Segments that stand for every tenant in the issuers of Entra.
_ALL_TENANTS: Final = ("organizations", "common")
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_PLAIN_ADDRESS: Final = re.compile(r"[!-?A-~]+@[A-Za-z0-9.-]+\Z")

#: More than this does not fit into a request's head: then the groups exist, but are not to be had.
MAX_GROUPS: Final = 500
MAX_GROUPS_BYTES: Final = 12 * 1024


class NotOursError(Exception):
    """The person is somebody, but none of this organisation's. The message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """How one kind of provider differs. `groups` and `email` are claims.

    `scopes` are asked for unless the provider lists others only, `listed` where it lists them.
    """

    groups: str | None = None
    email: str = "email"
    verified: str = "email_verified"
    """The claim that says whether the address is verified."""
    subject: str = "sub"
    """The claim that stays the same for a person, whichever client asks."""
    scopes: tuple[str, ...] = ()
    listed: tuple[str, ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    """What else the authorization request carries."""
    rooted_groups: bool = False
    """Groups are paths, with a slash in front."""
    hosted: bool = False
    """`hd` names the organisation; without one it is anybody's account."""
    templated: bool = False
    """The issuer may be a template with `{tenantid}`."""


PRESETS: Final[Mapping[str, Preset]] = {
    # Many give a refresh token for this only, and without one nobody hears of a person who left.
    "generic": Preset(listed=("offline_access",)),
    # Entra's `sub` is another for each client, `oid` is the person's. It lists 200 groups at most, and an address is
    # the tenant's word until `xms_edov` says that the domain is its own.
    "entra": Preset(groups="groups", verified="xms_edov", subject="oid", scopes=("offline_access",), templated=True),
    # Only so is there a refresh token after the first time.
    "google": Preset(hosted=True, parameters={"access_type": "offline", "prompt": "consent"}),
    "okta": Preset(groups="groups", scopes=("offline_access", "groups")),
    # Without `offline_access` the refresh token ends with the browser's session there.
    "keycloak": Preset(groups="groups", scopes=("offline_access",), rooted_groups=True),
    "workos": Preset(scopes=("offline_access",)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider's claims say of a person; see `Account`."""

    subject: str
    email: str | None
    name: str | None
    groups: tuple[str, ...] | None
    groups_error: str | None


def is_for_all_tenants(section: ProviderSection, issuer: str) -> bool:
    """Whether `issuer`, as the discovery document has it, is the template of what is configured."""
    if not PRESETS[section.preset].templated or _TENANT not in issuer:
        return False
    return any(issuer.replace(_TENANT, every) == section.issuer for every in _ALL_TENANTS)


def has_everybody(preset: str, issuer: str) -> bool:
    """Whether anybody in the world may have an account at a provider that is configured so."""
    kind = PRESETS.get(preset, Preset())
    return kind.hosted or (kind.templated and not set(_ALL_TENANTS).isdisjoint(issuer.split("/")))


def expected_issuer(issuer: str, claims: Mapping[str, Any]) -> str | None:
    """Return what `iss` must be in a token with these claims, None where the template cannot be filled in."""
    if _TENANT not in issuer:
        return issuer
    tenant = claims.get("tid")
    if not isinstance(tenant, str) or _UUID.match(tenant) is None:
        return None
    return issuer.replace(_TENANT, tenant)


def scopes(section: ProviderSection, supported: frozenset[str] | None) -> str:
    """Return the scopes to ask for; `supported` is what the provider lists, if it does."""
    preset = PRESETS[section.preset]
    extra = [scope for scope in preset.scopes if supported is None or scope in supported]
    extra += [scope for scope in preset.listed if supported is not None and scope in supported]
    return " ".join(dict.fromkeys(["openid", *section.scopes, *extra]))


def parameters(section: ProviderSection) -> dict[str, str]:
    """Return what else the authorization request carries."""
    preset = PRESETS[section.preset]
    found = dict(preset.parameters)
    if preset.hosted and section.email_domains:
        found["hd"] = section.email_domains[0] if len(section.email_domains) == 1 else "*"
    return found


def profile(section: ProviderSection, claims: Mapping[str, Any], *, all_tenants: bool) -> Profile:
    """Read the claims of a person. Raises `NotOursError`.

    Where everybody in the world can have an account (Google; Entra for all tenants), only those are ours whose
    verified address is of `email_domains`.
    """
    preset = PRESETS[section.preset]
    subject = claims.get(preset.subject)
    if not isinstance(subject, str) or not subject or len(subject) > 255 or not subject.isprintable():
        raise NotOursError(f"the provider does not say who it is (`{preset.subject}`)")
    if all_tenants:
        subject = f"{claims.get('tid')}/{subject}"
    email = _email(section, preset, claims, must=all_tenants or preset.hosted)
    if preset.hosted and claims.get("hd") not in (section.email_domains or ()):
        raise NotOursError("the account is not of this organisation (`hd`)")
    if (all_tenants or preset.hosted) and not vouched(email, section.email_domains):
        raise NotOursError("the account has no verified address in `email_domains`")
    name = claims.get("name")
    groups, error = _groups(section.claims.groups or preset.groups, preset, claims)
    return Profile(
        subject=subject,
        email=email,
        name=name[:200] if isinstance(name, str) and name.strip() else None,
        groups=groups,
        groups_error=error,
    )


def _email(section: ProviderSection, preset: Preset, claims: Mapping[str, Any], *, must: bool) -> str | None:
    """Return the address, unless it is said to be unverified; where `must`, it has to be said that it is verified."""
    address = find(claims, section.claims.email or preset.email)
    verified = claims.get(preset.verified, None if must else True)
    if not isinstance(address, str) or len(address) > 254 or _PLAIN_ADDRESS.match(address) is None:
        return None
    # Some write it as text, Entra also as a number.
    return address if verified in (True, "true", "1") else None


def _groups(name: str | None, preset: Preset, claims: Mapping[str, Any]) -> tuple[tuple[str, ...] | None, str | None]:
    """Return the groups, or why they are not to be had; neither where the provider knows of none."""
    if name is None:
        return None, None
    elsewhere = claims.get("_claim_names", {})
    if claims.get("hasgroups", False) is not False or not isinstance(elsewhere, dict) or name in elsewhere:
        return None, "too_many"
    value = find(claims, name)
    if value is None:
        return None, None
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not all(isinstance(group, str) for group in found):
        return None, "not_a_list"
    if preset.rooted_groups:
        found = [group.removeprefix("/") for group in found]
    groups = tuple(sorted(set(found)))
    if len(groups) > MAX_GROUPS or sum(len(group.encode()) + 3 for group in groups) > MAX_GROUPS_BYTES:
        return None, "too_many"
    return groups, None


def find(claims: Mapping[str, Any], name: str) -> Any:
    """Return the claim called `name`, or what a dotted `name` leads to, as in `realm_access.roles`."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for step in name.split("."):
        if not isinstance(value, dict) or step not in value:
            return None
        value = value[step]
    return value
