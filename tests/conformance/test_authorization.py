"""The suite's scenarios for authorization servers: the suite is the client, and the kit the browser."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.kit import suite
from tests.kit.gateway import free_port
from tests.kit.signing import OAuthHouse

pytestmark = pytest.mark.needs("node")

SCENARIOS = ["authorization-code-grant", "authorization-server-metadata-endpoint"]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with OAuthHouse(tmp_path_factory.mktemp("authorization")) as house:
        yield house


def client_of(house: OAuthHouse, by: str, redirect: str) -> list[str]:
    """The words by which the suite is told of a client that comes by a document, or has been registered."""
    if by == "document":
        return ["--client-id", house.documents.publish(f"suite-{urlsplit(redirect).port}", redirect)]
    told = {"client_name": "The suite", "redirect_uris": [redirect]}
    if by == "public":
        told["token_endpoint_auth_method"] = "none"
    made = httpx2.post(f"{house.gateway.url}/oauth/register", json=told)
    assert made.status_code == 201, made.text
    secret = ["--client-secret", made.json()["client_secret"]] if by == "secret" else []
    return ["--client-id", made.json()["client_id"], *secret]


@pytest.mark.parametrize("by", ["document", "public"])
def test_the_suite_finds_a_sound_authorization_server(by: str, house: OAuthHouse, node: str, tmp_path: Path) -> None:
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/callback"
    words = ["--url", house.gateway.url, "--resource", house.url(), "-p", str(port)]

    def visit(url: str) -> None:
        came = browser.go(url, until=redirect)
        assert isinstance(came, str), came
        assert httpx2.get(came).status_code == 200

    with house.browser() as browser:
        found = suite.authorize(node, [*words, *client_of(house, by, redirect)], tmp_path, visit)
    said = suite.complaints(tmp_path)
    assert (found.code, found.failing(), said) == (0, [], {}), found.told
    assert [name.removeprefix("authorization-server-") for name in found.scenarios] == SCENARIOS, found.scenarios
    assert found.count("SUCCESS") > 0


def test_the_suite_is_told_when_the_person_says_no(house: OAuthHouse, node: str, tmp_path: Path) -> None:
    port = free_port()
    redirect = f"http://127.0.0.1:{port}/callback"
    words = ["--url", house.gateway.url, "--resource", house.url(), "-p", str(port)]

    def visit(url: str) -> None:
        came = browser.go(url, until=redirect)
        assert isinstance(came, str), came
        httpx2.get(came)

    with house.browser(denies=True) as browser:
        found = suite.authorize(node, [*words, *client_of(house, "document", redirect)], tmp_path, visit)
    assert (found.code != 0, found.failing()) == (True, ["authorization-server-authorization-code-grant"]), found.told
