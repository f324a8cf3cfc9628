"""Each kind of provider, played back by its own documents: what is asked for, and what is made of the answer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.kit.frontdesk import Browser, Desk, query_of, write_config
from tests.kit.provider import ROOT, Provider

from ostiary.fields import Preset as PresetName
from ostiary.identity import presets, refresher, signin
from ostiary.identity.accounts import Account, claims_for_token
from ostiary.store import accounts

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
OID = "00000000-0000-0000-66f3-3332eca7ea81"
MAIL = "alice@example.com"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


def desk_for(name: str, provider: Provider, folder: Path, **section: Any) -> Desk:
    return Desk(write_config(folder, provider, preset=name, **{"claims": None, **section}))


def the_account(desk: Desk) -> Account:
    (account,) = accounts.due(desk.store, "sso", before=2**40, after=2**40, now=desk.now(), limit=9)
    return account


def test_every_preset_has_its_documents() -> None:
    files = {path.stem for path in (ROOT / "src/ostiary/identity/presets").glob("*.json")}
    assert files == set(presets.PRESETS) == set(get_args(PresetName))


@pytest.mark.parametrize("name", presets.PRESETS)
def test_the_documents_are_of_one_provider(name: str) -> None:
    data = json.loads((ROOT / f"src/ostiary/identity/presets/{name}.json").read_text())
    token, document = data["id_token"], data["discovery"]
    assert token["iss"] == presets.expected_issuer(document["issuer"], token)
    assert token["sub"] == data["userinfo"]["sub"]
    assert name == "entra" or document["issuer"] == data["issuer"]


ASKED: dict[str, dict[str, str]] = {
    "generic": {"scope": "openid email profile"},
    "entra": {"scope": "openid email profile offline_access"},
    "google": {
        "scope": "openid email profile",
        "access_type": "offline",
        "prompt": "consent",
        "hd": "example.com",
    },
    "okta": {"scope": "openid email profile offline_access groups"},
    "keycloak": {"scope": "openid email profile offline_access"},
    "workos": {"scope": "openid email profile offline_access"},
}
EVERY = {"response_type", "client_id", "redirect_uri", "state", "nonce", "code_challenge", "code_challenge_method"}


@pytest.mark.parametrize("name", presets.PRESETS)
def test_each_kind_is_asked_for_what_it_has(name: str, provider: Provider, tmp_path: Path) -> None:
    provider.replay(name)
    desk = desk_for(name, provider, tmp_path)
    asked = query_of(Browser(desk, provider).begin().headers["location"])
    assert {member: value for member, value in asked.items() if member not in EVERY} == ASKED[name]


SAID: dict[str, tuple[str, str | None, str | None, tuple[str, ...] | None, str | None]] = {
    "generic": ("24400320", MAIL, "Alice", None, None),
    "entra": (f"{TENANT}/{OID}", MAIL, "Alice", None, "too_many"),
    "google": ("110169484474386276334", MAIL, "Alice", None, None),
    "okta": ("00uid4BxXw6I6TV4m0g3", MAIL, "Alice", ("Everyone", "engineering"), None),
    "keycloak": (
        "f4c5a8e2-5c8e-4d84-9d5c-2f0b0f0a8c11",
        MAIL,
        "Alice",
        ("engineering", "engineering/platform"),
        None,
    ),
    "workos": ("user_01HBEQ3ZS5QQYXWJ4GEQNXN4PS", MAIL, "Alice Doe", None, None),
}


@pytest.mark.parametrize(
    ("listed", "more"),
    [(["openid", "offline_access"], " offline_access"), (["openid", "email"], ""), (None, "")],
    ids=str,
)
def test_a_refresh_token_is_asked_for_where_the_provider_lists_how(
    provider: Provider, tmp_path: Path, listed: list[str] | None, more: str
) -> None:
    provider.replay("generic")
    provider.set(discovery={"scopes_supported": listed})
    asked = query_of(Browser(desk_for("generic", provider, tmp_path), provider).begin().headers["location"])
    assert asked["scope"] == f"openid email profile{more}"


@pytest.mark.parametrize("name", presets.PRESETS)
def test_each_kind_signs_people_in_and_is_asked_again(name: str, provider: Provider, tmp_path: Path) -> None:
    provider.replay(name)
    desk = desk_for(name, provider, tmp_path)
    browser = Browser(desk, provider)
    browser.sign_in()
    assert signin.current(desk, browser.cookies) is not None, desk.records
    account = the_account(desk)
    said = (account.subject, account.email, account.name, account.groups, account.groups_error)
    assert said == SAID[name]
    for ahead in (61, 122):
        desk.ahead = ahead
        again = refresher.confirm(desk, account.id)
        assert again is not None
        assert again.checked_at == desk.now()
    assert desk.revoked == []


def test_groups_that_entra_leaves_out_are_not_to_be_had(provider: Provider, tmp_path: Path) -> None:
    provider.replay("entra")
    desk = desk_for("entra", provider, tmp_path)
    Browser(desk, provider).sign_in()
    made = claims_for_token(the_account(desk), desk.config)
    assert made == {"email": MAIL, "_claim_names": {"groups": "unavailable"}}


# Who is not ours ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "id_token", "domains", "status"),
    [
        ("google", {}, ["example.com"], 303),
        ("google", {"hd": None}, ["example.com"], 403),
        ("google", {"hd": "evil.test"}, ["example.com"], 403),
        ("google", {"email_verified": False}, ["example.com"], 403),
        ("google", {"email": "alice@evil.test"}, ["example.com"], 403),
        ("google", {}, None, 403),
        ("entra", {}, ["example.com"], 303),
        ("entra", {"xms_edov": "1"}, ["example.com"], 303),
        ("entra", {"xms_edov": None}, ["example.com"], 403),
        ("entra", {"xms_edov": False}, ["example.com"], 403),
        ("entra", {"email": "alice@evil.test"}, ["example.com"], 403),
        ("entra", {}, None, 403),
        ("entra", {"oid": None}, ["example.com"], 403),
        ("entra", {"tid": None}, ["example.com"], 400),
        ("entra", {"tid": "../evil"}, ["example.com"], 400),
        ("entra", {"tid": "72f988bf-86f1-41af-91ab-000000000000"}, ["example.com"], 400),
    ],
)
def test_where_everybody_has_an_account_only_ours_may_come(
    provider: Provider, tmp_path: Path, name: str, id_token: dict[str, Any], domains: list[str] | None, status: int
) -> None:
    provider.replay(name)
    provider.set(id_token=id_token, userinfo=dict.fromkeys(id_token))
    desk = desk_for(name, provider, tmp_path, email_domains=domains or ["example.com"])
    if domains is None:
        desk.change_provider(email_domains=None)
    assert Browser(desk, provider).sign_in().status_code == status


def test_one_tenant_of_entra_has_an_issuer_of_its_own(provider: Provider, tmp_path: Path) -> None:
    provider.replay("entra")
    issuer = f"{provider.origin}/organizations/v2.0"
    provider.set(discovery={"issuer": issuer}, id_token={"iss": issuer, "xms_edov": None})
    desk = desk_for("entra", provider, tmp_path)
    Browser(desk, provider).sign_in()
    account = the_account(desk)
    assert (account.subject, account.email) == (OID, MAIL)


@pytest.mark.parametrize("name", ["generic", "okta"])
def test_only_entra_may_have_a_template_for_an_issuer(name: str, provider: Provider, tmp_path: Path) -> None:
    provider.replay("entra")
    assert Browser(desk_for(name, provider, tmp_path), provider).begin().status_code == 502


# Groups ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "claim", "claims", "groups", "error"),
    [
        ("generic", None, {"groups": ["a"]}, None, None),
        ("generic", "groups", {"groups": ["b", "a", "b"]}, ("a", "b"), None),
        ("generic", "groups", {"groups": "a"}, ("a",), None),
        ("generic", "groups", {}, None, None),
        ("generic", "groups", {"groups": [1]}, None, "not_a_list"),
        ("generic", "groups", {"groups": {"a": 1}}, None, "not_a_list"),
        ("generic", "groups", {"groups": ["a"], "_claim_names": {"groups": "s"}}, None, "too_many"),
        ("generic", "groups", {"groups": ["a"], "_claim_names": "odd"}, None, "too_many"),
        ("generic", "groups", {"groups": ["a"], "hasgroups": True}, None, "too_many"),
        ("generic", "groups", {"groups": ["a"], "hasgroups": False}, ("a",), None),
        ("generic", "groups", {"groups": [f"group-{n:03}" for n in range(501)]}, None, "too_many"),
        ("generic", "groups", {"groups": ["x" * 13_000]}, None, "too_many"),
        ("generic", "https://acme.test/groups", {"https://acme.test/groups": ["a"]}, ("a",), None),
        ("keycloak", "realm_access.roles", {"realm_access": {"roles": ["admin"]}}, ("admin",), None),
        ("keycloak", "realm_access.roles", {"realm_access": []}, None, None),
        ("keycloak", None, {"groups": ["/a/b", "c"]}, ("a/b", "c"), None),
        ("entra", None, {"groups": [OID]}, (OID,), None),
        ("google", None, {"groups": ["a"]}, None, None),
    ],
)
def test_groups_are_read_where_the_kind_or_the_file_says(
    tmp_path: Path, name: str, claim: str | None, claims: dict[str, Any], groups: Any, error: str | None
) -> None:
    section = Desk(write_config(tmp_path, _Nowhere(), preset=name, claims={"groups": claim} if claim else None))
    known = {"sub": "alice", "oid": "alice", "hd": "example.com", "email": MAIL, "email_verified": True}
    said = presets.profile(section.config.providers["sso"], {**known, **claims}, all_tenants=False)
    assert (said.groups, said.groups_error) == (groups, error)


class _Nowhere(Provider):
    """A provider that nobody asks."""

    def __init__(self) -> None:
        self.issuer = "https://idp.test"
