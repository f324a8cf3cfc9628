"""Whom a provider told us of, and how much of that goes into a token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ostiary.config import Config

#: How long a sign-in counts where the provider gave no refresh token to ask again with, in seconds.
SIGN_IN_S: Final = 8 * 3600
#: How long the provider's last word counts while it cannot be asked, in seconds.
LAST_WORD_S: Final = 3600
#: How far in the future a last word may be: one of later is of a clock that was ahead, and nobody knows how old it is.
AHEAD_S: Final = 30
#: The largest that one claim may be, as JSON, to go into a token; a request's head has room for 32 KiB in all.
MAX_CLAIM: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person as her provider knows her; `id` is the principal id. Times are seconds since the epoch.

    `email` is verified, though perhaps of a domain for which the provider may not vouch. `groups` is None where there
    are none to be had; `groups_error` then says why, if they exist and could not be obtained. `claims` is all that the
    provider said last. `person` is the key in `people`, if she is declared there. `renewable` says whether there is a
    refresh token to ask the provider with.
    """

    id: str
    provider: str
    subject: str
    person: str | None
    email: str | None
    name: str | None
    groups: tuple[str, ...] | None
    groups_error: str | None
    claims: Mapping[str, Any]
    signed_in_at: int
    checked_at: int
    ended_at: int | None
    renewable: bool

    @property
    def shown(self) -> str:
        """What to call her on a page that only she sees."""
        return self.email or self.name or self.subject

    def holds(self, now: int) -> bool:
        """Whether the provider's last word on her still counts at `now`, without asking again."""
        if self.ended_at is not None:
            return False
        # A sign-in that follows a revocation may be ahead of the clock; the provider's word never is.
        heard = self.checked_at if self.renewable else min(self.signed_in_at, self.checked_at)
        since, lasting_s = heard, LAST_WORD_S if self.renewable else SIGN_IN_S
        return since - AHEAD_S <= now < since + lasting_s


def lost_groups(before: Account, after: Account) -> list[str]:
    """Return the groups that the person is no longer in; none where they could not be obtained."""
    if after.groups_error is not None:
        return []
    return sorted(set(before.groups or ()) - set(after.groups or ()))


def principal_id(provider: str, subject: str) -> str:
    """Return the principal id of whom `provider` calls `subject`."""
    return f"human:{provider}:{subject}"


def claims_for_token(account: Account, config: Config) -> dict[str, Any]:
    """Return what a token says of the person behind it: `email`, `groups`, `claims`, `auth_time`, as far as known.

    What exists but could not be obtained, or is too large, is named in `_claim_names` (OpenID Connect Core section
    5.6.2), so that a rule that reads it fails rather than misses it.
    """
    read, unavailable = _claims_in_rules(account, config)
    made: dict[str, Any] = {"claims": read} if read else {}
    provider = config.providers.get(account.provider)
    if provider is not None and vouched(account.email, provider.email_domains):
        made["email"] = account.email
    if account.groups is not None:
        made["groups"] = list(account.groups)
    elif account.groups_error is not None:
        unavailable["groups"] = "unavailable"
    if unavailable:
        made["_claim_names"] = unavailable
    when = account.claims.get("auth_time")
    if isinstance(when, int) and not isinstance(when, bool):
        made["auth_time"] = when
    return made


def vouched(email: str | None, domains: tuple[str, ...] | None) -> bool:
    """Whether a provider that may vouch for `domains` may vouch for this address."""
    return email is not None and domains is not None and email.rpartition("@")[2].lower() in domains


def _claims_in_rules(account: Account, config: Config) -> tuple[dict[str, Any], dict[str, str]]:
    """Return those of the provider's claims that rules read, and the names of those that are not to be had."""
    read: dict[str, Any] = {}
    unavailable: dict[str, str] = {}
    elsewhere = account.claims.get("_claim_names")
    for name in sorted(set(_read_by_rules(config, account.claims))):
        value = account.claims.get(name)
        too_large = len(json.dumps(value, ensure_ascii=False).encode()) > MAX_CLAIM
        if too_large or (isinstance(elsewhere, dict) and name in elsewhere):
            unavailable[name] = "unavailable"
        elif name in account.claims:
            read[name] = value
    return read, unavailable


def _read_by_rules(config: Config, claims: Mapping[str, Any]) -> Iterator[str]:
    """Yield the top-level claims that rules read. A path is the name of one, or leads into one."""
    for path in _paths(config.rules):
        first = path.partition("/")[0].replace("~1", "/").replace("~0", "~")
        yield path if path in claims else first


def _paths(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        if tree.get("criterion") == "claim" and isinstance(tree.get("path"), str):
            yield tree["path"]
        else:
            for value in tree.values():
                yield from _paths(value)
    elif isinstance(tree, (list, tuple)):
        for value in tree:
            yield from _paths(value)
