"""Two agent hosts from the registries, each with a stub for a model: they sign in, call, are refused, and recover.

Pydantic AI brings fastmcp's client, `ai` with `@ai-sdk/mcp` an OAuth client of its own.
"""

from collections.abc import Iterator

import pytest
from tests.kit.flows.flow import Open, denied
from tests.kit.signing import OAuthHouse, program

HOSTS = ["pydantic-ai", pytest.param("ai-sdk", marks=pytest.mark.needs("node"))]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with OAuthHouse(tmp_path_factory.mktemp("hosts")) as house:
        yield house


@pytest.fixture
def host(request: pytest.FixtureRequest) -> Open:
    return program(request.param, lambda: str(request.getfixturevalue("node")))


@pytest.mark.parametrize("host", HOSTS, indirect=True)
def test_a_host_signs_in_calls_is_refused_and_recovers(host: Open, era: str, house: OAuthHouse) -> None:
    with house.browser() as browser, host(house.visit(browser, by="dcr", era=era)) as flow:
        assert flow.call("echo", {"text": "hello"}) == {"text": "hello", "error": False}
        refused = flow.call("read_file", {"path": "/etc/passwd"})
        assert "was refused" in str(refused), "the model is told, and the host goes on"
        assert flow.call("add", {"a": 1, "b": 2})["text"] == "3"
        flow.stale()
        assert flow.call("read_file", {"path": "/home/a"})["text"] == "contents of /home/a"
        assert (house.logins(browser), house.consents(browser)) == (1, 1)
        assert flow.call("delete_file", {"path": "/x"})["text"] == "deleted /x"
        assert (house.logins(browser), house.consents(browser)) == (1, 2)


@pytest.mark.parametrize("host", HOSTS, indirect=True)
def test_a_host_that_is_revoked_has_its_user_sign_in_again(host: Open, era: str, house: OAuthHouse) -> None:
    with house.browser() as browser:
        visit = house.visit(browser, by="cimd", era=era)
        with host(visit) as flow:
            assert flow.call("echo", {"text": "one"})["text"] == "one"
            house.gateway.run("revoke", "--client", str(visit.document), "--config", str(house.gateway.file))
            assert flow.call("echo", {"text": "two"})["text"] == "two"
        assert house.consents(browser) == 2


@pytest.mark.parametrize("host", HOSTS, indirect=True)
def test_a_host_whose_user_says_no_gets_nothing(host: Open, house: OAuthHouse) -> None:
    already = len(house.upstream.seen())
    with house.browser(denies=True) as browser, denied(), host(house.visit(browser, by="dcr")):
        pass
    assert len(house.upstream.seen()) == already
