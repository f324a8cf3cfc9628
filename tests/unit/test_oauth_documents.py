"""Clients that are known by a document: fetched under guard, kept for a while, and held to their word."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from structlog.testing import capture_logs
from tests.kit.control import LOCAL, OFFICE, START, ControlSide, office, sent_back
from tests.kit.gateway import free_port
from tests.kit.pki import Authority
from tests.kit.webserver import WebServer, answer

from ostiary.oauth.documents import NOT_HAD, PER_MINUTE, fresh_for
from ostiary.oauth.limits import Flights, LimitedError, Slots
from ostiary.store import clients as stored

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path

#: Another address than LOCAL, on the same machine.
OTHER = "http://127.0.0.1:7777/elsewhere"
DAY = 24 * 3600


class Site:
    """A client's own web site on https loopback, trusted by the gateway."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        (folder / "ca.pem").write_bytes(authority.cert.public_bytes(Encoding.PEM))
        self.server = WebServer(authority.pair(), folder)

    @property
    def url(self) -> str:
        return self.server.url("/client.json", host="localhost")

    def says(self, cache: str = "max-age=600", **change: Any) -> None:
        document = {"client_id": self.url, "client_name": "Sited", "redirect_uris": [LOCAL], **change}
        said = {name: value for name, value in document.items() if value is not None}
        self.server.scripts["/client.json"] = answer(json.dumps(said), Cache_Control=cache)

    def is_down(self) -> None:
        self.server.scripts["/client.json"] = answer("no", status="503 Service Unavailable")


@pytest.fixture
def near(tmp_path: Path) -> Iterator[tuple[ControlSide, Site]]:
    site = Site(tmp_path)
    danger = "danger_loopback_clients: on, ca_file: ca.pem, dynamic_registration: on"
    with site.server, office(tmp_path, OFFICE.replace("dynamic_registration: on", danger)) as side:
        site.says()
        yield side, site


def test_a_client_is_known_by_its_document(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    shown = side.get(side.authorize_path(site.url), cookies=alice)
    assert shown.status_code == 200
    assert "localhost" in shown.text
    said = side.exchange(site.url, sent_back(side.allow(shown, alice))["code"]).json()
    assert said["scope"] == "mcp:read mcp:query"
    [record] = side.records("token_issued")
    assert record["agent"] == f"agent:client:{site.url}"
    assert side.refresh(site.url, said["refresh_token"]).status_code == 200
    assert site.server.paths == ["/client.json"]


def test_a_document_is_fetched_again_when_it_is_no_longer_fresh(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    for ahead, fetched in ((0, 1), (599, 1), (1, 2)):
        side.now_is += ahead
        side.get(side.authorize_path(site.url), cookies=alice)
        assert len(site.server.paths) == fetched


def test_a_document_that_changed_is_consented_to_again(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    said = side.tokens(site.url, alice)
    site.says(redirect_uris=[LOCAL, "https://evil.example/"])
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 303
    side.now_is += 600
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 200
    assert side.refresh(site.url, said["refresh_token"]).json()["error"] == "invalid_grant"


def test_a_site_that_is_down_keeps_nobody_out_for_a_day(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    said = side.tokens(site.url, alice)
    site.is_down()
    for at in (1 * 3600, 8 * 3600, 15 * 3600, 22 * 3600, DAY - 1):
        side.now_is = START + at
        assert sent_back(side.get(side.authorize_path(site.url), cookies=side.staff("alice")))["code"]
        said = side.refresh(site.url, said["refresh_token"]).json()
        assert said["scope"] == "mcp:read mcp:query"
    side.now_is += 1  # what is known of the client is a day old
    assert side.get(side.authorize_path(site.url), cookies=side.staff("alice")).status_code == 400
    assert side.refresh(site.url, said["refresh_token"]).json()["error"] == "invalid_client"


@pytest.mark.parametrize(
    ("answered", "status"),
    [
        (answer("no", status="503 Service Unavailable"), 303),
        (answer("no", status="429 Too Many Requests"), 303),
        (b"", 303),
        (answer("gone", status="410 Gone"), 400),
        (answer("gone", status="404 Not Found"), 400),
        (answer("no", status="302 Found", Location="https://a.example/"), 400),
        (answer("{}"), 400),
        (answer("<html>"), 400),
    ],
)
def test_what_is_known_counts_while_a_site_is_down_and_not_once_it_says_something_else(
    near: tuple[ControlSide, Site], answered: bytes, status: int
) -> None:
    side, site = near
    alice = side.staff("alice")
    side.tokens(site.url, alice)
    site.server.scripts["/client.json"] = answered
    side.now_is += 600
    for _ in range(2):  # the second time it is remembered
        assert side.get(side.authorize_path(site.url), cookies=alice).status_code == status
    assert len(site.server.paths) == 2


def test_one_address_holds_one_slot_and_leaves_the_others_to_others() -> None:
    slots = Slots(total=2)
    with slots.hold("192.0.2.7", patience_s=0) as first, slots.hold("192.0.2.7", patience_s=0) as again:
        assert (first, again) == (True, False)
        with slots.hold("2001:db8::1", patience_s=0) as other, slots.hold("192.0.2.9", patience_s=0) as third:
            assert (other, third) == (True, False)
        with slots.hold("192.0.2.9", patience_s=0) as later:
            assert later
    with slots.hold("192.0.2.7", patience_s=0) as freed:
        assert freed


def test_what_is_under_way_is_shared_by_few_and_not_for_ever() -> None:
    flights: Flights[str] = Flights(waiting=1)
    begun, come = threading.Event(), threading.Event()

    def go() -> str:
        begun.set()
        come.wait(30)
        return "it"

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.share, "one", go, patience_s=0)
        begun.wait(30)
        with pytest.raises(LimitedError, match="being looked up"):
            flights.share("one", lambda: "never", patience_s=0)
        assert flights.share("two", lambda: "other", patience_s=0) == "other"
        come.set()
        assert first.result(30) == "it"
    assert flights.share("one", lambda: "anew", patience_s=0) == "anew"


def test_the_limits_of_who_went_are_not_those_of_who_waits() -> None:
    flights: Flights[str] = Flights(waiting=1)
    begun, waits = threading.Event(), threading.Event()

    def limited() -> str:
        begun.set()
        waits.wait(30)
        raise LimitedError("invalid_client", "too many", status=429)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(flights.share, "one", limited, patience_s=0)
        begun.wait(30)
        threading.Timer(0, waits.set).start()
        assert flights.share("one", lambda: "mine", patience_s=30) == "mine"
        with pytest.raises(LimitedError):
            first.result(30)


def test_a_slot_is_waited_for() -> None:
    slots, waits, got = Slots(total=1), threading.Event(), []

    def wait() -> None:
        waits.set()
        with slots.hold("192.0.2.8", patience_s=30) as held:
            got.append(held)

    waiting = threading.Thread(target=wait)
    with slots.hold("192.0.2.7", patience_s=0):
        waiting.start()
        waits.wait(30)
        assert got == []
    waiting.join(30)
    assert got == [True]


def test_what_failed_is_asked_for_again_after_three_seconds(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    site.is_down()
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 400
    site.says()
    side.now_is += 2
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 400
    assert len(site.server.paths) == 1
    side.now_is += 1
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 200


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "https://localhost/other.json"},
        {"client_id": None},
        {"client_name": None},
        {"client_name": " "},
        {"redirect_uris": None},
        {"redirect_uris": []},
        {"redirect_uris": ["javascript:alert(1)"]},
        {"redirect_uris": "http://127.0.0.1:7777/callback"},
        {"redirect_uris": [LOCAL, "javascript:alert(1)"]},
        {"redirect_uris": [LOCAL, "Data:text/html,x"]},
        {"redirect_uris": [LOCAL, 7]},
        {"redirect_uris": ["http://app.example.com/"]},
        {"client_secret_expires_at": 0},
        {"grant_types": ["client_credentials"]},
        {"grant_types": ["refresh_token"]},
        {"grant_types": "authorization_code"},
        {"response_types": ["token"]},
        {"response_types": "code"},
        {"token_endpoint_auth_method": "client_secret_basic"},
        {"token_endpoint_auth_method": "client_secret_post", "client_secret": "x"},
        {"client_secret": "x"},
        {"token_endpoint_auth_method": "private_key_jwt"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": []}, "jwks_uri": "https://a.example/k"},
        {"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "http://a.example/k"},
    ],
)
def test_a_document_that_does_not_hold_is_no_client(near: tuple[ControlSide, Site], change: dict[str, Any]) -> None:
    side, site = near
    site.says(**change)
    refused = side.get(side.authorize_path(site.url), cookies=side.staff("alice"))
    assert (refused.status_code, "location" in refused.headers) == (400, False)


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uris": ["http://app.example.com/", LOCAL]},
        {"grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:device_code"]},
        {"response_types": ["code", "token"]},
        {"response_types": [], "grant_types": []},
        {"jwks": {"keys": []}, "scope": "mcp:read", "contacts": ["a@example.com"]},
    ],
)
def test_a_document_may_say_more_than_is_served(near: tuple[ControlSide, Site], change: dict[str, Any]) -> None:
    side, site = near
    site.says(**change)
    assert side.get(side.authorize_path(site.url), cookies=side.staff("alice")).status_code == 200


def test_why_a_document_did_not_come_is_for_the_log_and_not_for_whoever_asked(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice, told = side.staff("alice"), set()
    site.server.scripts["/html"] = answer("<html>")
    site.server.scripts["/copy"] = answer(json.dumps({"client_id": site.url, "redirect_uris": [LOCAL]}))
    here = site.url.removesuffix("/client.json")
    names = [f"{here}/{path}" for path in ("gone", "html", "copy")]
    with capture_logs() as logged:
        for client_id in (*names, f"https://localhost:{free_port()}/c.json", "https://nobody.invalid/c.json"):
            refused = side.get(side.authorize_path(client_id), cookies=alice)
            assert refused.status_code == 400
            told.add(refused.text)
    assert len(told) == 1
    assert NOT_HAD.replace("'", "&#39;") in told.pop()
    assert [
        why for why in ("status 404", "not JSON", "client_id", "refused", "no address") if why not in str(logged)
    ] == []
    site.says(client_name=None)
    assert "client_name" in side.get(side.authorize_path(site.url), cookies=alice).text


def test_those_who_ask_for_one_client_at_once_wait_for_one_fetch(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice, all_here = side.staff("alice"), threading.Barrier(6)
    document = site.server.scripts["/client.json"]
    assert isinstance(document, bytes)

    def slowly(connection: socket.socket) -> None:
        all_here.wait(30)
        connection.sendall(document)

    def ask(number: int) -> int:
        if number:
            all_here.wait(30)
        return side.get(side.authorize_path(site.url), cookies=alice).status_code

    site.server.scripts["/client.json"] = slowly
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(ask, range(6))) == [200] * 6
    assert site.server.paths == ["/client.json"]


def test_only_the_authorization_endpoint_fetches_for_a_client_that_is_not_known(
    near: tuple[ControlSide, Site],
) -> None:
    side, site = near
    assert side.exchange(site.url, "x").json()["error"] == "invalid_client"
    assert side.post("/oauth/revoke", {"client_id": site.url, "token": "x"}).status_code == 401
    assert site.server.paths == []


def test_nobody_makes_the_gateway_fetch_without_end(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    answers = [side.get(side.authorize_path(f"{site.url}{number}")).status_code for number in range(PER_MINUTE + 1)]
    assert answers == [*[400] * PER_MINUTE, 429]
    assert len(site.server.paths) == PER_MINUTE
    other = side.get(side.authorize_path(site.url), cookies=side.staff("alice"), X_Ostiary_Client="192.0.2.8")
    assert other.status_code == 200


def test_what_needs_no_connection_counts_for_nobody(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    for number in range(PER_MINUTE + 1):
        refused = side.get(side.authorize_path(f"https://10.0.0.1/{number}"))
        assert (refused.status_code, "public site" in refused.text) == (400, True)
    assert side.get(side.authorize_path(site.url), cookies=side.staff("alice")).status_code == 200


def test_clients_may_be_held_to_domains(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    only = "allowed_client_id_domains: [app.example.com], danger_loopback_clients"
    side.change(side.text.replace("danger_loopback_clients", only))
    assert side.get(side.authorize_path(site.url), cookies=side.staff("alice")).status_code == 400
    assert site.server.paths == []


@pytest.mark.parametrize(
    "client_id",
    [
        "http://localhost/client.json",
        "https://localhost",
        "https://localhost/",
        "https://localhost/a/../client.json",
        "https://localhost/a/%2e%2e/client.json",
        "https://localhost/./client.json",
        "https://user@localhost/client.json",
        "https://localhost/client.json#x",
        "https://LOCALHOST/client.json",
        "https://127.1/client.json",
        "https://localhost/cli ent.json",
        "HTTPS://localhost/client.json",
        "https://localhost/" + "a" * 1024,
    ],
)
def test_a_client_id_is_a_url_in_its_one_plain_form(near: tuple[ControlSide, Site], client_id: str) -> None:
    side, site = near
    assert side.get(side.authorize_path(client_id), cookies=side.staff("alice")).status_code == 400
    assert site.server.paths == []


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("", 300),
        ("public, must-revalidate", 300),
        ("max-age=0", 0),
        ("no-store", 0),
        ("No-Store", 0),
        ("no-cache, max-age=9000", 0),
        ("max-age=60", 60),
        ("public, max-age=9000", 9000),
        ('max-age="9000"', 9000),
        ("s-maxage=9000", 300),
        ("max-age=999999999", 86400),
        ("max-age=99999999999999999999", 300),
    ],
)
def test_a_document_is_fresh_for_what_its_site_says_up_to_a_day(said: str, seconds: int) -> None:
    assert fresh_for(said) == seconds


@pytest.mark.parametrize("cache", ["no-store", "no-cache", "max-age=0"])
def test_what_is_not_to_be_kept_is_fetched_for_each_authorization_and_not_for_tokens(
    near: tuple[ControlSide, Site], cache: str
) -> None:
    side, site = near
    site.says(cache)
    alice = side.staff("alice")
    said = side.tokens(site.url, alice)
    fetched = len(site.server.paths)
    site.says(cache, redirect_uris=[OTHER])
    assert side.refresh(site.url, said["refresh_token"]).status_code == 200
    assert len(site.server.paths) == fetched
    refused = side.get(side.authorize_path(site.url), cookies=alice)
    assert (refused.status_code, len(site.server.paths)) == (400, fetched + 1)
    asked = side.get(side.authorize_path(site.url, redirect_uri=OTHER), cookies=alice)
    assert (asked.status_code, "localhost" in asked.text) == (200, True)


def test_an_address_that_is_not_in_what_is_known_is_looked_for_once_more(near: tuple[ControlSide, Site]) -> None:
    side, site = near
    alice = side.staff("alice")
    side.tokens(site.url, alice)
    ask = side.authorize_path(site.url, redirect_uri=OTHER)
    assert side.get(ask, cookies=alice).status_code == 400
    assert len(site.server.paths) == 2
    site.says(redirect_uris=[LOCAL, OTHER])
    assert side.get(ask, cookies=alice).status_code == 200
    assert len(site.server.paths) == 3
    assert side.get(side.authorize_path(site.url), cookies=alice).status_code == 200, "the client has changed"
    assert len(site.server.paths) == 3


def test_documents_that_nobody_let_in_make_room(side: ControlSide) -> None:
    with side.store.changing() as connection:
        for number in range(6):
            row = stored.StoredClient(
                id=f"https://{number}.example/c",
                kind="document",
                name="x",
                metadata={"redirect_uris": [LOCAL]},
                created_at=START + number,
                expires_at=START,
                used_at=START if number == 0 else None,
            )
            stored.put(connection, row)
        stored.forget_documents(connection, keep=2)
    left = [each.id for each in stored.all_clients(side.store) if each.kind == "document"]
    assert left == ["https://0.example/c", "https://4.example/c", "https://5.example/c"]
