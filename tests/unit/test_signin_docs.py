"""The page on signing in says what the code does."""

import re

import pytest
from tests.kit.provider import ROOT

from ostiary.identity import accounts, discovery, idtoken, presets, refresher, sessions, signin

PAGE = (ROOT / "docs/reference/sign-in.md").read_text("utf-8")
SOURCE = (ROOT / "src/ostiary/identity/signin.py").read_text("utf-8")


def test_the_page_has_every_preset() -> None:
    assert re.findall(r"^\| `([a-z]+)` \|", PAGE, re.MULTILINE) == list(presets.PRESETS)


@pytest.mark.parametrize(
    ("row", "told", "seconds"),
    [
        ("a sign-in under way", "10 minutes", signin.FLOW_S),
        ("a browser session", "8 hours", sessions.SESSION_S),
        ("until a person who left", "5 minutes", refresher.CHECK_S),
        ("until a person who left", "2 s", refresher.SHARED_S),
        ("until a person who left", "3 s", refresher.RETURN_S),
        ("the provider's last word", "10 s", refresher.PATIENCE_S),
        ("the provider's last word", "60 minutes", accounts.LAST_WORD_S),
        ("a sign-in where the provider gives no refresh token", "8 hours", accounts.SIGN_IN_S),
        ("discovery document", "24 hours", discovery.LAST_GOOD_S),
        ("ID token", "60 s", idtoken.SKEW_S),
    ],
)
def test_the_page_tells_the_bounds(row: str, told: str, seconds: int) -> None:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {row}")]
    number, unit = told.split()
    assert told in line
    assert int(number) * {"s": 1, "minute": 60, "minutes": 60, "hours": 3600}[unit] == seconds


def test_the_page_lists_why_sign_ins_are_refused() -> None:
    (listed,) = re.findall(r"`detail.why`: ([^)]*)\)", PAGE)
    early = set(re.findall(r'why = \("(\w+)"', SOURCE))
    refusals = {why for _, why, _ in signin._REFUSALS.values()}
    assert set(re.split(r",\s+", listed)) == refusals | early
