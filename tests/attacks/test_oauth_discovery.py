"""Where a provider's document and a client's name lead: to nobody who is not to be asked (F08, F14)."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.frontdesk import Browser, Desk, write_config
from tests.kit.pki import Authority
from tests.kit.provider import Provider
from tests.kit.webserver import WebServer, answer

from ostiary.fetch import FetchError, Reach, fetch
from ostiary.identity import refresher

FOLDER = Path(__file__).parent / "oauth"
ENDPOINTS = ("/token", "/jwks", "/userinfo", "/logout")
HOUR = 3601


def rows(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in json.loads((FOLDER / f"{name}.json").read_text())]


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        provider.set_user("alice", email="alice@example.com", groups=["dev"])
        yield provider


@pytest.fixture
def browser(running: Provider, tmp_path: Path) -> Browser:
    running.reset()
    running.sign_in_as("alice")
    return Browser(Desk(write_config(tmp_path, running)), running)


def asked(provider: Provider) -> list[str]:
    return [path for path in ENDPOINTS for _ in provider.seen(path)]


def go(browser: Browser, at: str, say: dict[str, Any]) -> Any:
    """Go as far as the case says, with the provider's document as it says."""
    if at == "sign-out":
        # The document is asked for again after an hour; she must have been asked about meanwhile.
        browser.provider.set(id_token={"exp": 9_000_000_000})
        browser.sign_in()
        csrf, browser.desk.ahead = browser.csrf, HOUR - 60
        assert refresher.confirm(browser.desk, "human:sso:alice") is not None
        browser.provider.set(discovery=say)
        browser.desk.ahead = HOUR
        return lambda: browser.ask("POST", "/oauth/sign-out", {"csrf": csrf})
    browser.provider.set(discovery=say)
    if at == "begin":
        return browser.begin
    back = browser.at_provider()
    return lambda: browser.ask("GET", back)


@pytest.mark.parametrize("case", rows("discovery"))
def test_a_providers_document_leads_nowhere_it_should_not(case: dict[str, Any], browser: Browser) -> None:
    must, provider = case["must"], browser.provider
    step = go(browser, case["at"], case["say"])
    before = asked(provider)
    told = step()
    # To sign out there is the last document that was good.
    leads = told.headers.get("location", "").startswith(f"{provider.origin}/")
    assert (told.status_code, leads) == (must["status"], case["at"] == "sign-out")
    assert "evil" not in bytes(told.body).decode()
    assert sorted(asked(provider)) == sorted([*before, *must["asked"]])
    assert "signed_in" not in browser.desk.events() or case["at"] == "sign-out"


@pytest.mark.parametrize("at", ["begin", "return", "sign-out"])
def test_the_twin_of_them_all_a_plain_document(at: str, browser: Browser) -> None:
    told = go(browser, at, {})()
    assert (told.status_code, told.headers["location"].startswith(("http://127.0.0.1", "/oauth/"))) == (303, True)


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", rows("rebinding"))
def test_a_name_that_changes_its_mind_leads_nowhere(case: dict[str, Any], tmp_path: Path) -> None:
    """Each look-up of a client's name is answered by the next entry of `lookups`; all but the last are good."""
    authority = Authority()
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.cert.public_bytes(Encoding.PEM))
    answers = iter(case["lookups"])

    def resolver(_host: str, port: int) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in next(answers)]

    with WebServer(authority.pair(), tmp_path) as server:
        server.scripts["/"] = answer("{}")
        url = server.url(host="localhost")
        for _ in case["lookups"][1:]:
            assert fetch(url, reach=Reach.LOOPBACK, ca_file=ca_file, resolver=resolver).status == 200
        with pytest.raises(FetchError) as refused:
            fetch(url, reach=Reach.LOOPBACK, ca_file=ca_file, resolver=resolver)
        assert case["must"]["says"] in str(refused.value)
        assert server.connections == case["must"]["connections"]
    assert next(answers, None) is None, "a name is looked up once for each fetch"
