"""The guide for people with an IDE: its configuration and its commands, with a client that signs in as it says."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from mcp.shared.auth import OAuthClientInformationFull
from tests.kit.clients import SdkServer
from tests.kit.flows.browser import Browser
from tests.kit.flows.flow import DeniedError, Visit, denied
from tests.kit.flows.python import inner_error, python
from tests.kit.gateway import free_port
from tests.kit.guides import GuideGateway, blocks, documents, replaced
from tests.kit.provider import Provider
from tests.kit.wire import wait_until

from ostiary.identity import presets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGE = "docs/guides/people-with-an-ide.md"
CONFIG, PRESETS, REGISTRATION = blocks(PAGE, "yaml")
START, ADD_CLIENT, LOOK, TAKE_BACK, DISABLE, ENABLE, ADD_AGENT = blocks(PAGE, "sh")
(MCP_JSON,) = blocks(PAGE, "json")
READ, ETC, DELETE = (
    ("read_file", {"path": "a"}),
    ("read_file", {"path": "/etc/passwd"}),
    ("delete_file", {"path": "a"}),
)


@dataclass
class Scene:
    """A gateway with the page's configuration, and the IDE of alice, with the client id that the page registers."""

    gateway: GuideGateway
    provider: Provider
    browser: Browser
    visit: Visit
    upstream: SdkServer

    def consents(self) -> list[Any]:
        """The pages on which she was asked for consent."""
        return [page for page in self.browser.shown(self.gateway.url) if "Allow" in page.forms[0].buttons]

    def events(self) -> list[str]:
        """What is recorded besides calls."""
        return [each["event"] for each in self.gateway.records() if each["kind"] in {"control", "admin"}]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as stack:
        provider = stack.enter_context(Provider())
        provider.set_user("00u-alice", email="alice@example.com", groups=["engineering"])
        upstream = stack.enter_context(SdkServer())
        words = {"https://idp.example.com": provider.issuer}
        gateway = GuideGateway(tmp_path, CONFIG, upstream.url, words, env={"OIDC_SECRET": provider.secret})
        *before, run = START.splitlines()
        assert run == "ostiary run"
        gateway.shell("\n".join(before))
        gateway.env["OIDC_SECRET"] = provider.secret
        stack.enter_context(gateway)
        gateway.shell(ADD_CLIENT)
        browser = stack.enter_context(Browser({"username": "00u-alice"}))
        redirect = f"http://127.0.0.1:{free_port()}/callback"
        (server,) = json.loads(MCP_JSON)["mcpServers"].values()
        known = OAuthClientInformationFull(
            client_id="my-ide",
            redirect_uris=[redirect],
            token_endpoint_auth_method="none",
            issuer=gateway.url,
        )
        visit = Visit(
            url=replaced(server["url"], {gateway.told_url: gateway.url}),
            browser=browser,
            redirect=redirect,
            keeps={"client": known},
        )
        yield Scene(gateway, provider, browser, visit, upstream)


def test_an_ide_calls_as_its_person_who_sees_and_takes_back_what_she_gave(scene: Scene) -> None:
    with python(scene.visit) as ide:
        assert ide.call(*READ) == {"text": "contents of a", "error": False}
        (first,) = scene.consents()
        assert "files" in first.text
        assert "Read what is there" in first.text
        assert "Create, change and delete" not in first.text
        assert ide.call(*ETC)["code"] == 4030
        assert ide.call(*DELETE)["text"] == "deleted a"
        assert "Create, change and delete" in scene.consents()[1].text
        assert len(scene.browser.shown(scene.provider.origin)) == 1, "she signs in once"

        told = scene.gateway.shell(LOOK).stdout
        assert "signed in" in told
        assert "human:sso:00u-alice" in told
        assert "agent:client:my-ide" in told
        assert "http://127.0.0.1/callback" in told
        account = scene.browser.go(f"{scene.gateway.url}/oauth/account")
        assert not isinstance(account, str)
        assert "my-ide" in account.text
        scene.browser.submit(account, button="Revoke")
        assert ide.call(*READ)["text"] == "contents of a"
        assert len(scene.consents()) == 3, "she is asked again"
        by = {"id": "human:sso:00u-alice"}
        revoked = [each for each in scene.gateway.records() if each.get("event") == "revoked"]
        assert [(each["by"], each["principal"], each["detail"]["client_id"]) for each in revoked] == [
            (by, {"type": "human", **by}, "my-ide")
        ]
    assert [call["params"]["name"] for call in scene.upstream.calls()] == ["read_file", "delete_file", "read_file"]


def test_operators_take_back_and_keep_out_with_the_commands_on_the_page(scene: Scene) -> None:
    with python(scene.visit) as ide:
        ide.call(*READ)
    token = scene.visit.keeps[scene.visit.url].access_token
    assert scene.gateway.call(*READ, token, server="files").status == 200
    for number, command in enumerate(TAKE_BACK.splitlines(), start=1):
        told = scene.gateway.shell(command)
        assert "1 grant ended" in told.stdout
        assert "in force" in told.stderr
        assert scene.gateway.call(*READ, token, server="files").status == 401
        with python(scene.visit) as ide:
            assert ide.call(*READ)["text"] == "contents of a"
        assert len(scene.consents()) == 1 + number
        token = scene.visit.keeps[scene.visit.url].access_token

    scene.gateway.shell(DISABLE)
    assert scene.gateway.call(*READ, token, server="files").status == 401
    with pytest.raises(DeniedError, match="has been disabled"), python(scene.visit):
        pass
    scene.gateway.shell(ENABLE)
    with python(scene.visit) as ide:
        assert ide.call(*READ)["text"] == "contents of a"
    assert {"revoked", "person_disabled", "person_enabled", "signed_in", "consent_given"} <= set(scene.events())


def test_a_client_that_is_an_agent_of_its_own_is_held_to_its_ceiling(scene: Scene) -> None:
    with python(scene.visit) as ide:
        ide.call(*READ)
        scene.gateway.shell(ADD_AGENT)
    scene.visit.keeps.pop(scene.visit.url)
    with python(scene.visit) as ide:
        assert len(scene.consents()) == 2, "it acts as somebody else now"
        assert ide.call(*READ)["text"] == "contents of a"
        since = len(scene.gateway.records())
        refused = ide.call(*DELETE)
        assert (refused["code"], refused["data"]["reason"]) == (4030, "ceiling")
    (record,) = scene.gateway.next_record(since, "deny")
    assert (record["principal"]["id"], record["agent"]) == ("human:sso:00u-alice", "agent:local:editor")


def test_somebody_without_a_rule_is_sent_back(scene: Scene) -> None:
    scene.provider.set_user("00u-bob", email="bob@example.com", groups=["sales"])
    with Browser({"username": "00u-bob"}) as bob, denied(), python(replace(scene.visit, browser=bob)):
        pass
    assert scene.upstream.calls() == []


def test_a_client_registers_itself_only_where_that_is_switched_on(scene: Scene) -> None:
    newcomer = replace(scene.visit, keeps={})
    with pytest.raises(ExceptionGroup) as failed, python(newcomer):
        pass
    assert "egistration" in str(inner_error(failed.value))
    assert newcomer.keeps == {}
    scene.gateway.save(scene.gateway.text + REGISTRATION)
    wait_until(lambda: scene.gateway.get("/.well-known/oauth-authorization-server").json().get("registration_endpoint"))
    with python(newcomer) as ide:
        assert ide.call(*READ)["text"] == "contents of a"
    (asked,) = scene.consents()
    assert "Nobody has checked who made it" in asked.text


def test_the_presets_on_the_page_are_all_there_are() -> None:
    (told,) = documents(PRESETS)
    kinds = {section["preset"] for section in told["identity"]["providers"].values()}
    (first,) = documents(CONFIG)
    kinds |= {section["preset"] for section in first["identity"]["providers"].values()}
    assert kinds == set(presets.PRESETS)
