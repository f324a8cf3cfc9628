"""People who have signed in, their browsers, and sign-ins under way. Each function is one transaction.

Nothing that opens a door is kept in clear: cookies and `state` only as SHA-256, refresh tokens, ID tokens and PKCE
verifiers sealed for the row that they stand in.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from ostiary.identity.accounts import Account, lost_groups
from ostiary.store import epochs
from ostiary.store.tables import accounts, browser_sessions, consents, families, flows, people_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ostiary.control import Epoch
    from ostiary.store import Store

#: The most sign-ins that may be under way: by one browser, and in all. The oldest make room.
MAX_FLOWS_OF_BROWSER: Final = 20
MAX_FLOWS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A sign-in under way; `hash` and `browser` are SHA-256, `verifier` is the PKCE verifier."""

    hash: str
    browser: str
    provider: str
    nonce: str
    target: str
    expires_at: int
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A signed-in browser; `hash` is the SHA-256 of its cookie."""

    hash: str
    account: Account
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What a provider gave for a person: to ask about her again, and to name her session there at its end."""

    refresh: str | None = field(repr=False)
    id_token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An account as it is kept now, the groups that it lost thereby, and what that revoked."""

    account: Account
    lost: tuple[str, ...] = ()
    epochs: tuple[Epoch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a person allowed a client."""

    client: str
    client_name: str
    agent: str
    third_party: str
    redirect_host: str
    classes: tuple[str, ...]
    servers: tuple[str, ...]
    created_at: int
    expires_at: int


# Accounts -------------------------------------------------------------------------------------------------------------


def get(store: Store, account_id: str) -> Account | None:
    """Return an account, also one that has ended."""
    with store.reading() as connection:
        return _get(connection, account_id)


def refresh_token(store: Store, account_id: str) -> str | None:
    """Return the provider's refresh token for an account, if there is one."""
    query = sa.select(accounts.c.refresh).where(accounts.c.id == account_id)
    with store.reading() as connection:
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
    return None if sealed is None else store.sealing.open(sealed, f"account {account_id}").decode()


def sign_in(
    store: Store,
    account: Account,
    tokens: Tokens,
    session: Session,
    *,
    by_email: bool,
    replaces: str | None,
    tell: Callable[[Account], object] = lambda _: None,
) -> Kept:
    """Keep the account as it is now, and its new browser session in place of the one called `replaces`.

    `account.person` is whom she may be in `people`; found `by_email` she is it only if no other account is already.
    Groups that she lost since end what clients were granted. What was revoked up to now stays so: the sign-in and its
    session are later than that, by seconds if they must be. `tell` is given the account as it will be kept; if it
    raises, nothing is.
    """
    place, kept = f"account {account.id}", f"session {session.hash}"
    refresh = None if tokens.refresh is None else store.sealing.seal(tokens.refresh.encode(), place)
    id_token = None if tokens.id_token is None else store.sealing.seal(tokens.id_token.encode(), kept)
    with store.changing() as connection:
        before = _get(connection, account.id)
        taken = sa.select(accounts.c.id).where(accounts.c.person == account.person, accounts.c.id != account.id)
        person = None if by_email and connection.execute(taken).first() is not None else account.person
        found = _kept(connection, before, replace(account, person=person), now=account.signed_in_at)
        since = max(account.signed_in_at, epochs.floor(connection, [("subject", account.id)]) + 1)
        settled = replace(found.account, signed_in_at=since)
        tell(settled)
        row = {**_said(settled), "person": person, "refresh": refresh, "signed_in_at": since, "ended_at": None}
        new = {"id": account.id, "provider": account.provider, "subject": account.subject}
        connection.execute(insert(accounts).values(**new, **row).on_conflict_do_update(["id"], set_=row))
        old = browser_sessions.c.expires_at <= account.signed_in_at
        if replaces is not None:
            old |= browser_sessions.c.hash == replaces
        connection.execute(sa.delete(browser_sessions).where(old))
        times = {"created_at": max(session.created_at, since), "expires_at": session.expires_at}
        values = {"hash": session.hash, "account": account.id, "id_token": id_token, **times}
        connection.execute(sa.insert(browser_sessions).values(values))
        return replace(found, account=settled)


def keep_refresh_token(store: Store, account_id: str, before: str, after: str) -> None:
    """Put the next refresh token in place of `before`, unless the person signed in or out meanwhile."""
    place = f"account {account_id}"
    with store.changing() as connection:
        query = sa.select(accounts.c.refresh).where(accounts.c.id == account_id)
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
        if sealed is not None and store.sealing.open(sealed, place) == before.encode():
            row = {"refresh": store.sealing.seal(after.encode(), place)}
            connection.execute(sa.update(accounts).where(accounts.c.id == account_id).values(**row))


def checked(store: Store, account: Account) -> Kept | None:
    """Keep what the provider said of an account when it was asked again; None if the account has ended meanwhile.

    Groups that the person lost end what clients were granted, and leave her signed in.
    """
    living = (accounts.c.id == account.id) & accounts.c.ended_at.is_(None)
    with store.changing() as connection:
        before = _get(connection, account.id)
        if not connection.execute(sa.update(accounts).where(living).values(**_said(account))).rowcount:
            return None
        after = _get(connection, account.id) or account
        return _kept(connection, before, after, now=account.checked_at)


def end(store: Store, account_id: str, *, now: int, why: str) -> tuple[Epoch, ...]:
    """End an account: its sessions, its refresh token and what clients were granted.

    Returns what that revoked; nothing if the account had ended already.
    """
    with store.changing() as connection:
        row = {"ended_at": now, "refresh": None}
        living = (accounts.c.id == account_id) & accounts.c.ended_at.is_(None)
        ended = connection.execute(sa.update(accounts).where(living).values(**row)).rowcount
        if not ended:
            return ()
        return _leave(connection, account_id, now, why)


def sign_out(store: Store, account_id: str, *, now: int) -> tuple[Epoch, ...]:
    """End every browser session of a person, the provider's refresh token, and what clients were granted.

    Returns what that revoked.
    """
    with store.changing() as connection:
        connection.execute(sa.update(accounts).where(accounts.c.id == account_id).values(refresh=None))
        return _leave(connection, account_id, now, "signed_out")


def due(store: Store, provider: str, *, before: int, after: int, now: int, limit: int) -> list[Account]:
    """Return the accounts to ask a provider about again: in use, last asked about at `before` or earlier.

    Or later than `after`, as a clock said that was ahead.
    """
    granted = sa.select(families.c.account).where(families.c.ended_at.is_(None), families.c.expires_at > now)
    browsing = sa.select(browser_sessions.c.account).where(browser_sessions.c.expires_at > now)
    query = (
        sa.select(accounts)
        .where(accounts.c.ended_at.is_(None), accounts.c.refresh.is_not(None))
        .where((accounts.c.checked_at <= before) | (accounts.c.checked_at > after))
        .where(accounts.c.provider == provider)
        .where(accounts.c.id.in_(granted) | accounts.c.id.in_(browsing))
        .order_by(accounts.c.checked_at, accounts.c.id)
        .limit(limit)
    )
    with store.reading() as connection:
        return [_account(row) for row in connection.execute(query)]


def disabled(store: Store, names: Iterable[str]) -> bool:
    """Whether an operator disabled somebody by one of these names: a key in `people`, or a principal id."""
    query = sa.select(people_marks.c.name).where(
        people_marks.c.name.in_(list(names)), people_marks.c.disabled_at.is_not(None)
    )
    with store.reading() as connection:
        return connection.execute(query).first() is not None


# Browsers -------------------------------------------------------------------------------------------------------------


def add_flow(store: Store, flow: Flow, *, now: int) -> None:
    """Keep a sign-in that begins, and forget those that have expired or are too many."""
    row = {
        "hash": flow.hash,
        "browser": flow.browser,
        "provider": flow.provider,
        "nonce": flow.nonce,
        "verifier": store.sealing.seal(flow.verifier.encode(), f"flow {flow.hash}"),
        "target": flow.target,
        "expires_at": flow.expires_at,
    }
    with store.changing() as connection:
        connection.execute(sa.delete(flows).where(flows.c.expires_at <= now))
        _make_room(connection, flows.c.browser == flow.browser, MAX_FLOWS_OF_BROWSER)
        _make_room(connection, sa.true(), MAX_FLOWS)
        connection.execute(sa.insert(flows).values(row))


def take_flow(store: Store, state_hash: str) -> Flow | None:
    """Return a sign-in under way and forget it: its `state` is good once, whoever shows it."""
    with store.changing() as connection:
        row = connection.execute(sa.delete(flows).where(flows.c.hash == state_hash).returning(flows)).one_or_none()
    if row is None:
        return None
    return Flow(
        hash=row.hash,
        browser=row.browser,
        provider=row.provider,
        nonce=row.nonce,
        target=row.target,
        expires_at=row.expires_at,
        verifier=store.sealing.open(row.verifier, f"flow {row.hash}").decode(),
    )


def session(store: Store, cookie_hash: str, *, now: int) -> Session | None:
    """Return the browser session of a cookie, unless it has expired."""
    query = sa.select(browser_sessions).where(
        browser_sessions.c.hash == cookie_hash, browser_sessions.c.expires_at > now
    )
    with store.reading() as connection:
        row = connection.execute(query).one_or_none()
        account = None if row is None else _get(connection, row.account)
    if row is None or account is None:
        return None
    return Session(hash=row.hash, account=account, created_at=row.created_at, expires_at=row.expires_at)


def id_token(store: Store, session_hash: str) -> str | None:
    """Return the ID token that a session began with, to name it to the provider at the end."""
    query = sa.select(browser_sessions.c.id_token).where(browser_sessions.c.hash == session_hash)
    with store.reading() as connection:
        sealed: bytes | None = connection.execute(query).scalar_one_or_none()
    return None if sealed is None else store.sealing.open(sealed, f"session {session_hash}").decode()


# What clients were granted --------------------------------------------------------------------------------------------


def consented(store: Store, account_id: str, *, now: int) -> list[Consent]:
    """Return what a person has allowed and has not expired, by client name."""
    query = sa.select(consents).where(consents.c.account == account_id, consents.c.expires_at > now)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(consents.c.client_name, consents.c.client)).all()
    return [
        Consent(
            client=row.client,
            client_name=row.client_name,
            agent=row.agent,
            third_party=row.third_party,
            redirect_host=row.redirect_host,
            classes=tuple(json.loads(row.classes)),
            servers=tuple(json.loads(row.servers)),
            created_at=row.created_at,
            expires_at=row.expires_at,
        )
        for row in rows
    ]


def withdraw(store: Store, account_id: str, client: str, *, now: int) -> tuple[Epoch, ...] | None:
    """Forget a consent and end all that grew from it; return what that revoked, None without a consent."""
    mine = (families.c.account == account_id) & (families.c.client == client)
    with store.changing() as connection:
        theirs = (consents.c.account == account_id) & (consents.c.client == client)
        if not connection.execute(sa.delete(consents).where(theirs)).rowcount:
            return None
        # An ended family may still have an access token that lives.
        found = sa.select(families.c.id).where(mine, families.c.expires_at > now - 3600)
        ids: Sequence[str] = connection.execute(found.order_by(families.c.id)).scalars().all()
        _end_families(connection, mine, now, "consent_withdrawn")
        return epochs.revoke(connection, [("family", each) for each in ids], why="consent_withdrawn", now=now)


def _make_room(connection: sa.Connection, which: sa.ColumnElement[bool], most: int) -> None:
    """Forget the oldest sign-ins so that one more is not too many. Anybody may begin one: it goes by indexes alone."""
    there: int = connection.execute(sa.select(sa.func.count()).select_from(flows).where(which)).scalar_one()
    if there >= most:
        oldest = sa.select(flows.c.hash).where(which).order_by(flows.c.expires_at).limit(there - most + 1)
        connection.execute(sa.delete(flows).where(flows.c.hash.in_(oldest)))


# Rows -----------------------------------------------------------------------------------------------------------------


def _leave(connection: sa.Connection, account_id: str, now: int, why: str) -> tuple[Epoch, ...]:
    connection.execute(sa.delete(browser_sessions).where(browser_sessions.c.account == account_id))
    return _end_all(connection, account_id, now, why)


def _kept(connection: sa.Connection, before: Account | None, after: Account, *, now: int) -> Kept:
    """Revoke what acts in the person's name with groups that she has no longer. Clients may sign in again at once."""
    lost = () if before is None else tuple(lost_groups(before, after))
    revoked = _end_all(connection, after.id, now, "groups_removed") if lost else ()
    return Kept(account=after, lost=lost, epochs=revoked)


def _end_all(connection: sa.Connection, account_id: str, now: int, why: str) -> tuple[Epoch, ...]:
    """End all that acts in a person's name, in the store and, by the epochs, at the data plane."""
    _end_families(connection, families.c.account == account_id, now, why)
    return epochs.revoke(connection, [("subject", account_id)], why=why, now=now)


def _end_families(connection: sa.Connection, which: sa.ColumnElement[bool], now: int, why: str) -> None:
    living = which & families.c.ended_at.is_(None)
    connection.execute(sa.update(families).where(living).values(ended_at=now, why=why))


def _get(connection: sa.Connection, account_id: str) -> Account | None:
    row = connection.execute(sa.select(accounts).where(accounts.c.id == account_id)).one_or_none()
    return None if row is None else _account(row)


def _said(account: Account) -> dict[str, Any]:
    return {
        "email": account.email,
        "name": account.name,
        "groups": None if account.groups is None else json.dumps(account.groups),
        "groups_error": account.groups_error,
        "claims": json.dumps(dict(account.claims), sort_keys=True),
        "checked_at": account.checked_at,
    }


def _account(row: Any) -> Account:
    return Account(
        id=row.id,
        provider=row.provider,
        subject=row.subject,
        person=row.person,
        email=row.email,
        name=row.name,
        groups=None if row.groups is None else tuple(json.loads(row.groups)),
        groups_error=row.groups_error,
        claims=json.loads(row.claims),
        signed_in_at=row.signed_in_at,
        checked_at=row.checked_at,
        ended_at=row.ended_at,
        renewable=row.refresh is not None,
    )
