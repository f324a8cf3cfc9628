"""Real clients, unmodified, from the first 401 to a tool call: people sign in at a real provider, and consent."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.kit.flows.flow import DeniedError, Open, denied
from tests.kit.signing import FOR_DEVELOPERS, OAuthHouse, program

NODE = pytest.mark.needs("node")
CLIENTS = ["python", "fastmcp", pytest.param("typescript", marks=NODE)]
TWELVE = ["notes", *(f"notes-{number}" for number in range(2, 13))]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OAuthHouse]:
    with OAuthHouse(tmp_path_factory.mktemp("oauth"), servers=TWELVE) as house:
        yield house


@pytest.fixture
def client(request: pytest.FixtureRequest) -> Open:
    return program(request.param, lambda: str(request.getfixturevalue("node")))


def reached(house: OAuthHouse, since: int) -> list[str]:
    """The tools whose calls reached the upstream after the first `since` calls."""
    return [call["params"]["name"] for call in house.upstream.calls()[since:]]


@pytest.mark.parametrize("by", ["cimd", "dcr"])
@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_client_gets_from_the_first_401_to_a_call(client: Open, by: str, era: str, house: OAuthHouse) -> None:
    """One sign-in, one consent; one more where a call needs more than was consented to; refreshing takes nobody."""
    already = len(house.upstream.calls())
    with house.browser() as browser:
        with client(house.visit(browser, by=by, era=era)) as flow:
            assert sorted(flow.tools) == sorted(FOR_DEVELOPERS)
            assert flow.call("echo", {"text": "hello"}) == {"text": "hello", "error": False}
            assert (house.logins(browser), house.consents(browser)) == (1, 1)
            assert flow.call("delete_file", {"path": "/x"}) == {"text": "deleted /x", "error": False}
            assert (house.logins(browser), house.consents(browser)) == (1, 2)
            flow.stale()
            assert flow.call("add", {"a": 1, "b": 2}) == {"text": "3", "error": False}
            assert flow.call("count", {"to": 3})["code"] == 4030, "what the rules deny, no consent gives"
        assert (house.logins(browser), house.consents(browser)) == (1, 2)
    assert reached(house, already) == ["echo", "delete_file", "add"]


@pytest.mark.parametrize(
    ("client", "by"),
    [
        ("python", "cimd"),
        ("python", "dcr"),
        ("fastmcp", "cimd"),
        pytest.param("typescript", "cimd", marks=NODE),
    ],
    indirect=["client"],
)
def test_one_sign_in_and_one_consent_serve_twelve_servers(client: Open, by: str, house: OAuthHouse) -> None:
    already = len(house.upstream.calls())
    with house.browser() as browser:
        first = house.visit(browser, by=by)
        for server in TWELVE:
            with client(replace(first, url=house.url(server))) as flow:
                assert flow.call("echo", {"text": server})["text"] == server
        (asked,) = [page for page in browser.shown(house.gateway.url) if "Allow" in page.forms[0].buttons]
        assert (house.logins(browser), [name for name in TWELVE if name not in asked.text]) == (1, [])
    assert reached(house, already) == ["echo"] * 12


def test_a_token_for_one_of_them_opens_no_other(house: OAuthHouse) -> None:
    from tests.kit.flows.python import python

    with house.browser() as browser:
        visit = house.visit(browser, by="cimd")
        with python(visit) as flow:
            flow.call("echo", {"text": "x"})
    token = visit.keeps[visit.url].access_token
    told = {server: house.gateway.call("echo", {"text": "x"}, token, server=server).status for server in TWELVE[:2]}
    assert told == {"notes": 200, "notes-2": 401}


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_without_consent_there_is_no_token(client: Open, house: OAuthHouse) -> None:
    already = len(house.upstream.seen())
    with house.browser(denies=True) as browser:
        visit = house.visit(browser, by="cimd")
        with denied(), client(visit):
            pass
        assert len(house.upstream.seen()) == already
        browser.denies = False
        with client(visit) as flow:
            assert flow.call("echo", {"text": "x"})["text"] == "x"
        assert (house.logins(browser), house.consents(browser)) == (1, 2)


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_what_more_is_denied_is_not_had_and_the_rest_stays(client: Open, house: OAuthHouse) -> None:
    already = len(house.upstream.calls())
    with house.browser() as browser:
        visit = house.visit(browser, by="cimd")
        with denied(), client(visit) as flow:
            flow.call("echo", {"text": "x"})
            browser.denies = True
            flow.call("delete_file", {"path": "/x"})
        with client(visit) as flow:
            assert flow.call("add", {"a": 1, "b": 2})["text"] == "3"
    assert reached(house, already) == ["echo", "add"]


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_the_wrong_person_gets_nothing_and_the_right_one_is_served(client: Open, house: OAuthHouse) -> None:
    """Bob is known and signs in, and there is no server that he could be asked to let the client use."""
    already = len(house.upstream.calls())
    with house.browser("bob") as bob:
        visit = house.visit(bob, by="cimd")
        with denied(), client(visit):
            pass
        assert (house.logins(bob), house.consents(bob)) == (1, 0)
    with house.browser() as alice, client(replace(visit, browser=alice)) as flow:
        assert flow.call("echo", {"text": "x"})["text"] == "x"
    assert reached(house, already) == ["echo"]


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_client_can_do_no_more_than_the_person(client: Open, house: OAuthHouse) -> None:
    """Dave consents to whatever the client asks for; what the rules deny him, it is denied."""
    already = len(house.upstream.calls())
    with house.browser("dave") as dave, client(house.visit(dave, by="cimd")) as flow:
        assert flow.tools == ["echo", "read_file"]
        assert flow.call("add", {"a": 1, "b": 2})["code"] == 4030
        assert flow.call("delete_file", {"path": "/x"})["code"] == 4030
        assert flow.call("echo", {"text": "x"})["text"] == "x"
        assert (house.logins(dave), house.consents(dave)) == (1, 1)
    assert reached(house, already) == ["echo"]


@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_whom_the_provider_does_not_know_gets_nothing(client: Open, house: OAuthHouse) -> None:
    with house.browser("nobody") as browser:
        visit = house.visit(browser, by="cimd")
        with pytest.raises(DeniedError), client(visit):
            pass
    with house.browser() as alice, client(replace(visit, browser=alice)) as flow:
        assert flow.call("echo", {"text": "x"})["text"] == "x"


@pytest.mark.parametrize("whom", ["client", "owner"])
@pytest.mark.parametrize("client", CLIENTS, indirect=True)
def test_a_client_that_is_revoked_is_refused_and_recovers(client: Open, whom: str, era: str, house: OAuthHouse) -> None:
    """Its next call is refused, its refresh token too; after a new consent it works again."""
    with house.browser() as browser:
        visit = house.visit(browser, by="cimd", era=era)

        def revoke() -> None:
            value = {"client": visit.document, "owner": "alice"}[whom]
            house.gateway.run("revoke", f"--{whom}", str(value), "--config", str(house.gateway.file))

        with client(visit) as flow:
            assert flow.call("echo", {"text": "one"})["text"] == "one"
            before = house.consents(browser)
            revoke()
            assert flow.call("echo", {"text": "two"})["text"] == "two"
            assert house.consents(browser) > before
        with denied(), client(visit) as flow:
            revoke()
            browser.denies = True
            flow.call("echo", {"text": "three"})
        browser.denies = False
        with client(visit) as flow:
            assert flow.call("echo", {"text": "four"})["text"] == "four"
    assert "three" not in str(house.upstream.calls())
