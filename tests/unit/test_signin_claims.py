"""What a token says of the person behind it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ostiary.config import load
from ostiary.identity.accounts import Account, claims_for_token

CONFIG = """\
gateway: {listen: 127.0.0.1:8811, url: http://127.0.0.1:8811}
people: {alice: {email: alice@example.com}}
identity:
  providers:
    sso: {issuer: "https://idp.test", client_id: ostiary, email_domains: [example.com]}
    bare: {issuer: "https://bare.test", client_id: ostiary}
servers: {notes: {url: http://127.0.0.1:9901/mcp, owner: alice, pins: off}}
policy:
  - {name: a, allow: {and: [{claim/department: {is: research}}, {claim/org/unit: {is: x}}, {server: notes}]}}
  - {name: b, deny: {or: [{claim/level: {lt: 3}}]}}
"""

ALICE = Account(
    id="human:sso:alice",
    provider="sso",
    subject="alice",
    person=None,
    email="alice@example.com",
    name="Alice",
    groups=("dev",),
    groups_error=None,
    claims={"sub": "alice", "auth_time": 1_790_000_000},
    signed_in_at=0,
    checked_at=0,
    ended_at=None,
    renewable=True,
)
WHEN = {"auth_time": 1_790_000_000}
USUAL = {"email": "alice@example.com", "groups": ["dev"], **WHEN}


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({}, USUAL),
        ({"email": None}, {"groups": ["dev"], **WHEN}),
        ({"email": "alice@other.test"}, {"groups": ["dev"], **WHEN}),
        ({"email": "alice@EXAMPLE.com"}, {**USUAL, "email": "alice@EXAMPLE.com"}),
        ({"provider": "bare"}, {"groups": ["dev"], **WHEN}),
        ({"groups": ()}, {**USUAL, "groups": []}),
        ({"groups": None}, {"email": "alice@example.com", **WHEN}),
        (
            {"groups": None, "groups_error": "too_many"},
            {"email": "alice@example.com", **WHEN, "_claim_names": {"groups": "unavailable"}},
        ),
        ({"claims": {"auth_time": True}}, {"email": "alice@example.com", "groups": ["dev"]}),
        ({"claims": {"department": "research", "shoe": 44}}, {"claims": {"department": "research"}}),
        ({"claims": {"org": {"unit": "x"}}}, {"claims": {"org": {"unit": "x"}}}),
        ({"claims": {"org/unit": "x", "org": {"unit": "y"}}}, {"claims": {"org/unit": "x"}}),
        ({"claims": {"level": 2}}, {"claims": {"level": 2}}),
        ({"claims": {"department": "x" * 5000}}, {"_claim_names": {"department": "unavailable"}}),
        ({"claims": {"_claim_names": {"department": "src"}}}, {"_claim_names": {"department": "unavailable"}}),
        ({"claims": {"_claim_names": {"shoe": "src"}}}, {}),
    ],
    ids=str,
)
def test_a_token_says_what_rules_may_read_and_no_more(
    tmp_path: Path, change: dict[str, Any], made: dict[str, Any]
) -> None:
    path = tmp_path / "ostiary.yaml"
    path.write_text(CONFIG)
    if "claims" in change and "auth_time" not in change["claims"]:
        made = {"email": "alice@example.com", "groups": ["dev"], **made}
    assert claims_for_token(replace(ALICE, **change), load(path)) == made
