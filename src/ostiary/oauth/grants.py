"""Turns a code or a refresh token into tokens, once (OAuth 2.1 sections 4.1.3 and 4.3).

Whoever shows a code or refresh token that was used before, or that belongs to another client, has one that leaked: the
whole family ends, with every token that came of it. All that is read and changed for one answer is one transaction.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oauth2.rfc7636.challenge import CODE_VERIFIER_PATTERN

from ostiary.control import Epoch
from ostiary.identity import sessions, signin
from ostiary.identity.accounts import claims_for_token
from ostiary.oauth.offer import CONSENT_S, actor_of, check_standing, consent_floor, epoch_keys, still_counts
from ostiary.oauth.scopes import PREFIX, classes_of
from ostiary.oauth.token import AccessToken, Delegation, TokenRefusedError, delegate, sign
from ostiary.oauth.web import OAuthError, Parameters
from ostiary.oauth.wish import server_of
from ostiary.store import accounts, epochs, grants, registry
from ostiary.store import clients as stored

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ostiary.control import Control, EpochKind
    from ostiary.identity.accounts import Account
    from ostiary.oauth.clients import Client
    from ostiary.oauth.offer import Actor
    from ostiary.store.grants import Consent, Family, StoredGrant

Kind = Literal["code", "refresh"]
WORDS: Final = {"code": "the code", "refresh": "the refresh token"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """What a client gets. `refresh` is text that is nowhere else; None for a client that asks for none."""

    access: AccessToken
    refresh: str | None

    def __repr__(self) -> str:
        return f"Issued({self.access!r}, refresh=***)"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What a code or refresh token stands for."""

    grant: StoredGrant
    family: Family
    consent: Consent | None


class _LeakedError(Exception):
    """The code or token is in the wrong hands; `used` says that tokens may have come of it."""

    def __init__(self, family: Family, why: str, *, used: bool) -> None:
        super().__init__(why)
        self.family, self.why, self.used = family, why, used


def exchange(control: Control, client: Client, kind: Kind, form: Parameters, *, proven: bool) -> Issued:
    """Return what the code or refresh token in `form` is good for, recorded. Raises `OAuthError`.

    `proven` says that the client is one that an operator let in, and has proven who it is; what others try in vain with
    made-up codes is not recorded.
    """
    text = form.require("code" if kind == "code" else "refresh_token")
    account = _account(control, client, kind, text)
    try:
        return _exchange(control, client, kind, text, form, account)
    except _LeakedError as leaked:
        _end(control, leaked)
        raise OAuthError("invalid_grant", f"{WORDS[kind]} is not valid") from None
    except (OAuthError, TokenRefusedError) as error:
        refused = error if isinstance(error, OAuthError) else OAuthError(error.error, error.message)
        if account is not None or proven:
            _record_refusal(control, client, account, refused)
        raise refused from None


def _account(control: Control, client: Client, kind: Kind, text: str) -> Account | None:
    """Return the person whose authority is asked for, if she is still there; asking her provider takes its time."""
    with control.store.reading() as connection:
        found = _find(connection, kind, text)
    if found is None:
        return None
    account = accounts.get(control.store, found.family.account)
    if account is None or kind == "code" or found.family.client != client.id or found.grant.used_at is not None:
        return account
    confirmed = signin.confirm(control, account.id)
    if confirmed is None:
        error = OAuthError("invalid_grant", "the person is not there any more")
        _record_refusal(control, client, account, error)
        raise error
    return confirmed


def _find(connection: sa.Connection, kind: Kind, text: str) -> _Found | None:
    grant = grants.grant(connection, kind, text)
    family = None if grant is None else grants.family(connection, grant.family)
    if grant is None or family is None:
        return None
    return _Found(grant=grant, family=family, consent=grants.consent(connection, family.client, family.account))


def _exchange(
    control: Control, client: Client, kind: Kind, text: str, form: Parameters, account: Account | None
) -> Issued:
    config, now, key = control.config, control.now(), control.signing_key()
    with control.store.changing() as connection:
        found = _find(connection, kind, text)
        if found is None or account is None:
            raise OAuthError("invalid_grant", f"{WORDS[kind]} is not valid")
        _check_hands(found, client, kind, form, now=now)
        family, actor = found.family, actor_of(client, config)
        consent = _ground(connection, control, found, client, actor)
        server = _server(control, found, consent, form)
        asked = Delegation(
            subject=account.id,
            client_id=client.id,
            agent=actor.id,
            third_party=actor.third_party,
            family=family.id,
            server=server,
            scope=_scope(family, kind, form),
            classes=consent.classes,
            servers=consent.servers,
            until=consent.expires_at,
            claims=claims_for_token(account, config),
        )
        # Not before the family began, which may be a second ahead of the clock.
        granted = delegate(asked, config, now=max(now, family.created_at))
        refresh = _renew(connection, found, consent, control, server=server, now=now, again=client.refreshes)
        for principal in (account.id, actor.id):
            registry.note_token(connection, principal, issued_at=granted.issued_at)
        stored.note_use(connection, client.id, now=now, dynamic_until=now + CONSENT_S)
        control.record("control", "token_issued", None, **granted.as_record(family=family.id))
        return Issued(access=sign(granted, key), refresh=refresh)


def live_refresh(control: Control, client: Client, text: str) -> tuple[Family, int] | None:
    """Return the family of a refresh token that `client` could use now, and when the token ends; nothing is changed."""
    with control.store.reading() as connection:
        found = _find(connection, "refresh", text)
        if found is None or not client.refreshes or control.store.lockdown() is not None:
            return None
        try:
            _check_hands(found, client, "refresh", Parameters({}), now=control.now())
            _ground(connection, control, found, client, actor_of(client, control.config))
        except (OAuthError, _LeakedError):
            return None
    account = accounts.get(control.store, found.family.account)
    if account is None or not sessions.may_act(control, account):
        return None
    return found.family, found.grant.expires_at


def _ground(connection: sa.Connection, control: Control, found: _Found, client: Client, actor: Actor) -> Consent:
    """Return the consent that the family stands on. Raises `OAuthError` if that, or who acts, counts no more."""
    consent, family, config, now = found.consent, found.family, control.config, control.now()
    keys = epoch_keys(config, family.account, client.id, actor, family=family.id)
    if epochs.floor(connection, keys) >= family.created_at:
        raise OAuthError("invalid_grant", "what was granted has been revoked")
    floor = consent_floor(connection, config, family.account, client.id, actor)
    counts = consent is not None and still_counts(consent, client, actor, floor=floor, now=now)
    if consent is None or not counts or family.agent != actor.id:
        raise OAuthError("invalid_grant", "the consent has ended, or the client has changed since")
    check_standing(connection, config, family.account, actor.key, now=now, error="invalid_grant")
    return consent


def _check_hands(found: _Found, client: Client, kind: Kind, form: Parameters, *, now: int) -> None:
    """Raise `_LeakedError` or `OAuthError` unless this is the right client, for the first time, and in time."""
    grant, family = found.grant, found.family
    used = grant.used_at is not None
    if family.client != client.id:
        raise _LeakedError(family, "another client showed it", used=used or kind == "refresh")
    if used:
        raise _LeakedError(family, "it was used before", used=True)
    if family.ended_at is not None:
        raise OAuthError("invalid_grant", "what was granted has ended")
    if grant.expires_at <= now:
        raise OAuthError("invalid_grant", f"{WORDS[kind]} has expired")
    if kind == "refresh":
        return
    # It need not be said again, as the verifier binds the code (OAuth 2.1 section 4.1.3); if it is, it must be right.
    if form.get("redirect_uri") not in (None, grant.binding["redirect_uri"]):
        raise _LeakedError(family, "it was shown with another redirect address", used=False)
    verifier = form.get("code_verifier") or ""
    # None, or one of another length, is a wrong one too: whoever has the code without it tries no second time.
    right = CODE_VERIFIER_PATTERN.fullmatch(verifier) is not None
    if not right or not hmac.compare_digest(create_s256_code_challenge(verifier), grant.binding["challenge"]):
        raise _LeakedError(family, "it was shown with a wrong code_verifier", used=False)


def _server(control: Control, found: _Found, consent: Consent, form: Parameters) -> str:
    """Return the one server that the token is for. A refresh token is good for each that was consented to."""
    bound = tuple(found.grant.binding.get("servers", ()))
    resource = form.get("resource")
    if resource is None:
        last = found.grant.binding.get("server")  # of a refresh token (RFC 8707 section 2.2)
        choice = bound or ((last,) if last else consent.servers)
        if len(choice) != 1:
            raise OAuthError("invalid_target", "resource must say which server the token is for")
        return choice[0]
    server = server_of(control, resource)
    if bound and server not in bound:
        raise OAuthError("invalid_target", "the code was not asked for with this resource")
    return server


def _scope(family: Family, kind: Kind, form: Parameters) -> list[str]:
    """Return the scopes that are asked for: those of the family, or fewer.

    With a refresh, whatever was not granted is an error (RFC 6749 section 6); with a code, scope has no meaning.
    """
    asked = classes_of(form.get("scope"), strict=kind == "refresh")
    if not set(asked) <= set(family.scope):
        raise OAuthError("invalid_scope", "the scope may only become less than what was granted")
    return [PREFIX + name for name in family.scope if name in (asked or family.scope)]


def _renew(
    connection: sa.Connection, found: _Found, consent: Consent, control: Control, *, server: str, now: int, again: bool
) -> str | None:
    """Use up what was shown, and return the next refresh token, which is for `server` unless another is named.

    There is none unless `again`.
    """
    until = min(now + control.config.oauth.refresh_token_ttl, consent.expires_at)
    grants.use_grant(connection, found.grant, now=now)
    grants.use_family(connection, found.family.id, now=now, expires_at=until)
    if not again:
        return None
    return grants.add_grant(connection, "refresh", found.family.id, {"server": server}, now=now, expires_at=until)


def _end(control: Control, leaked: _LeakedError) -> None:
    """End a family for good: nothing more comes of it, and what has come of it is revoked."""
    family, epoch = leaked.family, None
    why = f"a code or refresh token leaked: {leaked.why}" if leaked.used else leaked.why
    with control.store.changing() as connection:
        if leaked.used:
            epoch = end_family(control, connection, family, why=why)
        else:
            grants.end_family(connection, family.id, why, now=control.now())
    token: dict[str, object] = {"jti": None, "client_id": family.client, "issuer": "local", "scope": []}
    fields: dict[str, object] = {
        "principal": {"type": "human", "id": family.account},
        "agent": family.agent,
        "token": token,
    }
    if epoch is not None:
        control.revoke([epoch], None, why=why, **fields)
        return
    detail = {"why": f"a code leaked: {leaked.why}", "family": family.id}
    control.record("control", "token_refused", None, **fields, decision="deny", detail=detail)


def end_family(control: Control, connection: sa.Connection, family: Family, *, why: str) -> Epoch:
    """End a family and revoke its tokens, within a change of the store; `control.revoke` must follow once it is made.

    A family that was revoked before keeps its epoch, however often an old token of it is shown.
    """
    key: tuple[EpochKind, str] = ("family", family.id)
    live = grants.end_family(connection, family.id, why, now=control.now())
    at = 0 if live else epochs.floor(connection, [key])
    at = at or max(epochs.next_epoch(connection, [key], now=control.now()), family.created_at)
    epoch = Epoch(kind="family", value=family.id, epoch=at, reason=why)
    epochs.add(connection, [epoch])
    return epoch


def _record_refusal(control: Control, client: Client, account: Account | None, error: OAuthError) -> None:
    control.record(
        "control",
        "token_refused",
        None,
        principal=None if account is None else {"type": "human", "id": account.id},
        token={"jti": None, "client_id": client.id, "issuer": "local", "scope": []},
        decision="deny",
        detail={"why": error.description, "error": error.error},
    )
