"""Is a person still there? An agent works only while its owner, or the deputy, is.

A person is live while signed in, or confirmed by an operator, within `oauth.owner_lease`, and not disabled. One whom
the file declares and whom no provider could sign in is live while declared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import sqlalchemy as sa

from ostiary.store import registry, tables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from ostiary.config import Config
    from ostiary.store.registry import PersonMark

Why = Literal["signed_in", "confirmed", "declared", "disabled", "ended", "lease", "never", "unknown"]

WORDS: dict[Why, str] = {
    "signed_in": "signed in",
    "confirmed": "confirmed",
    "declared": "declared in the file",
    "disabled": "disabled",
    "ended": "the provider knows the person no more",
    "lease": "not seen within the lease",
    "never": "never signed in or confirmed",
    "unknown": "not known here",
}
"""How each is told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Whether a person is live, and why; `until` is when that ends by itself, `seen_at` the last sign-in or check."""

    live: bool
    why: Why
    until: int | None = None
    seen_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSeen:
    """As much of an account as matters here."""

    id: str
    person: str | None
    email: str | None
    seen_at: int
    ended_at: int | None


class People:
    """What file and store say of people, as of one transaction."""

    def __init__(self, config: Config, accounts: Iterable[AccountSeen], marks: Mapping[str, PersonMark]) -> None:
        """Use `read`."""
        self.config = config
        self.marks = marks
        self._keys = {known: key for key in config.people if (known := config.person_id(key)) is not None}
        self._accounts = {account.id: account for account in accounts}
        self._of_key: dict[str, list[AccountSeen]] = {}
        for account in self._accounts.values():
            key = self.key_of(account)
            if key is not None:
                self._of_key.setdefault(key, []).append(account)

    @classmethod
    def read(cls, config: Config, connection: sa.Connection, *, only: Collection[str] | None = None) -> People:
        """Read what is known: of everybody, or only of the people (keys or principal ids) named."""
        table = tables.accounts
        query = sa.select(table).order_by(table.c.id)
        if only is not None:
            names = {form for name in only for form in owner_forms(config, name)}
            query = query.where(table.c.id.in_(names) | table.c.person.in_(names))
        accounts = [
            AccountSeen(
                id=row.id,
                person=row.person,
                email=row.email,
                seen_at=max(row.signed_in_at, row.checked_at),
                ended_at=row.ended_at,
            )
            for row in connection.execute(query)
        ]
        return cls(config, accounts, registry.person_marks(connection))

    @property
    def accounts(self) -> Iterable[AccountSeen]:
        """Return all accounts that were read."""
        return self._accounts.values()

    def key_of(self, account: AccountSeen) -> str | None:
        """Return the key in `people` of an account's person. Where the file says whose it is, the file counts."""
        key, linked = self._keys.get(account.id), account.person
        if key is None and linked is not None and linked in self.config.people:
            return linked if self.config.person_id(linked) is None else None
        return key

    def key(self, name: str) -> str | None:
        """Return the key in `people` of whoever goes by `name`, if there is one."""
        if name in self.config.people:
            return name
        account = self._accounts.get(name)
        return self._keys.get(name) if account is None else self.key_of(account)

    def accounts_of(self, name: str) -> list[AccountSeen]:
        """Return the accounts of a person, by key in `people` or principal id."""
        key = self.key(name)
        if key is not None:
            return self._of_key.get(key, [])
        return [self._accounts[name]] if name in self._accounts else []

    def forms(self, name: str) -> tuple[str, ...]:
        """Return the names that a person goes by: the key in `people`, the principal id, that of each account."""
        key = self.key(name)
        found = {name, *(account.id for account in self.accounts_of(name))}
        if key is not None:
            known = self.config.person_id(key)
            found |= {key} if known is None else {key, known}
        return tuple(sorted(found))

    def mark(self, name: str) -> PersonMark:
        """Return what operators said, under any of the names: the newest word on each."""
        marks = [self.marks[form] for form in self.forms(name) if form in self.marks]
        disabled = [mark for mark in marks if mark.disabled_at is not None]
        return registry.PersonMark(
            confirmed_at=max((mark.confirmed_at for mark in marks if mark.confirmed_at is not None), default=None),
            disabled_at=max((mark.disabled_at for mark in disabled if mark.disabled_at is not None), default=None),
            why=next((mark.why for mark in disabled if mark.why is not None), None),
        )

    def known(self, name: str) -> bool:
        """Say whether file or store know anybody of that name."""
        return self.key(name) is not None or name in self._accounts or name in self.marks

    def standing(self, name: str, *, now: int) -> Standing:
        """Say whether a person, by key in `people` or principal id, is live at `now`."""
        mark, accounts = self.mark(name), self.accounts_of(name)
        seen_at = max((each.seen_at for each in accounts), default=None)
        if mark.disabled_at is not None:
            return Standing(live=False, why="disabled", seen_at=seen_at)
        key = self.key(name)
        if key is None and not accounts:
            return Standing(live=False, why="unknown")
        if key is not None and not accounts and not could_sign_in(self.config, key):
            return Standing(live=True, why="declared")
        return self._lease(mark, accounts, seen_at, now)

    def _lease(self, mark: PersonMark, accounts: list[AccountSeen], seen_at: int | None, now: int) -> Standing:
        lease = self.config.oauth.owner_lease
        ended = max((each.ended_at for each in accounts if each.ended_at is not None), default=None)
        words: list[tuple[int, Why]] = [
            (each.seen_at, "signed_in") for each in accounts if each.ended_at is None or each.ended_at < each.seen_at
        ]
        # Who was confirmed and then left is gone; who was confirmed after that is there.
        if mark.confirmed_at is not None and (ended is None or ended < mark.confirmed_at):
            words.append((mark.confirmed_at, "confirmed"))
        if not words:
            return Standing(live=False, why="never" if ended is None else "ended", seen_at=seen_at)
        at, why = max(words)
        until = at + lease
        if until <= now:
            return Standing(live=False, why="lease", until=until, seen_at=seen_at)
        return Standing(live=True, why=why, until=until, seen_at=seen_at)


def could_sign_in(config: Config, key: str) -> bool:
    """Say whether a provider could sign a declared person in, so that declaring alone does not keep her live."""
    person = config.people[key]
    if person.issuer is not None:
        # Whoever is pinned to an issuer of tokens is linked to no account, whatever her address.
        return person.issuer in config.providers or person.issuer not in config.issuers
    domain = (person.email or "").rpartition("@")[2].lower()
    return any(domain in (provider.email_domains or ()) for provider in config.providers.values())


def owner_forms(config: Config, owner: str) -> tuple[str, ...]:
    """Return the names under which the file alone knows an owner: the key in `people` and the principal id."""
    key = owner
    if owner not in config.people:
        key = next((each for each in config.people if config.person_id(each) == owner), owner)
    known = config.person_id(key) if key in config.people else None
    return tuple(sorted({form for form in (owner, key, known) if form is not None}))
