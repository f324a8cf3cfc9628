"""Keys of an issuer at a URL: a new one is found when a token names it, and made-up ones are not asked for for ever."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.issuer import Issuer
from tests.kit.upstream import Upstream
from tests.kit.webserver import WebServer, answer
from tests.kit.wire import wait_until


class Site:
    """An issuer, and the site where its keys are."""

    def __init__(self, issuer: Issuer, server: WebServer) -> None:
        self.issuer, self.server = issuer, server
        self.publish()

    def publish(self) -> None:
        self.server.scripts["/jwks"] = answer(json.dumps(self.issuer.jwks), Content_Type="application/json")

    @property
    def asked(self) -> int:
        return len(self.server.heads)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[tuple[Gateway, Site]]:
    corp = Issuer(kids=["first"])
    with WebServer() as server, Upstream() as upstream:
        site = Site(corp, server)
        config = settings({"notes": upstream.url}, corp, listen=free_port(), admin=free_port())
        config["identity"]["issuers"]["corp"]["jwks"] = {"url": server.url("/jwks")}
        with Gateway(tmp_path, config) as gateway:
            yield gateway, site


def call(gateway: Gateway, token: str) -> int:
    return gateway.call("echo", {"text": "x"}, token).status


def test_a_new_key_is_found_by_the_tokens_that_it_signs(place: tuple[Gateway, Site]) -> None:
    gateway, site = place
    before = site.issuer.token()
    assert (call(gateway, before), site.asked) == (200, 1)
    site.issuer.kids = ["first", "second"]
    after = site.issuer.token()
    assert call(gateway, after) == 401
    site.publish()
    wait_until(lambda: call(gateway, after) == 200, deadline_s=20, step_s=0.2, what="the new key")
    assert call(gateway, before) == 200
    site.issuer.kids = ["third"]
    site.publish()
    replaced = site.issuer.token()
    wait_until(lambda: call(gateway, replaced) == 200, deadline_s=20, step_s=0.2, what="the third key")
    assert (call(gateway, before), call(gateway, after)) == (401, 401)


def test_made_up_keys_are_asked_for_a_few_times(place: tuple[Gateway, Site]) -> None:
    """Five times in a row and every 12 seconds at most, whoever sends such tokens and however many."""
    gateway, site = place
    assert call(gateway, site.issuer.token()) == 200
    made_up = [site.issuer.token({"kid": f"made-up-{number}"}) for number in range(300)]
    began = time.monotonic()
    assert {call(gateway, token) for token in made_up} == {401}
    assert 1 < site.asked <= 1 + 5 + (time.monotonic() - began) / 12 + 1
    assert call(gateway, site.issuer.token()) == 200
