"""Acts on agents, services, clients and credentials: what they refuse, what they record, and what then holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.kit.desk import DAY, NOW, Desk

from ostiary.compile import compile as compile_snapshot
from ostiary.errors import OperationError
from ostiary.registrar import NotRecordedError
from ostiary.store import credentials, registry, tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CAROL, CANARY = "human:sso:c-1", "canary-5f1d3e"
PUBLIC = {"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with Desk(tmp_path) as opened:
        yield opened


# Agents --------------------------------------------------------------------------------------------------------------


def test_a_registered_agent_is_in_force_and_recorded_with_who_did_it(desk: Desk) -> None:
    desk.add(deputy="dave", environment="production", expires="2027-06-30", third_party="acme")
    found = desk.one("/agents", "nightly")
    assert (found["id"], found["from"], found["state"]) == ("agent:local:nightly", "store", "live")
    assert (found["owner"], found["deputy"], found["environment"]) == ("alice", "dave", "production")
    record = desk.records()[-1]
    assert (record["kind"], record["event"], record["by"]["login"]) == ("admin", "agent_registered", "olga")
    assert record["detail"]["agent"] == "nightly"


CEILING = {"servers": ["notes"], "classes": ["read"]}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("nightly", {"owner": "carol"}, "carol can own nothing now: never signed in"),
    ("nightly", {"owner": "alise"}, "did you mean `alice`"),
    ("nightly", {"deputy": "nobody"}, "the deputy `nobody` is not declared"),
    ("nightly", {"purpose": None}, "an agent has a purpose"),
    ("nightly", {"ceiling": {"servers": ["notes"]}}, "its ceiling is empty"),
    ("nightly", {"ceiling": {"classes": ["read"]}}, "its ceiling is empty"),
    ("nightly", {"ceiling": {"servers": ["nots"], "classes": ["read"]}}, "did you mean `notes`"),
    (
        "nightly",
        {"ceiling": {"servers": ["notes"], "classes": ["write"]}},
        "ceiling.classes.0: `write` is not known here",
    ),
    (
        "nightly",
        {"ceiling": {**CEILING, "tools": ["mail/send"]}},
        "`mail` is not among",
    ),
    ("nightly", {"ceiling": {**CEILING, "tools": ["echo"]}}, "`echo` is not a tool"),
    ("nightly", {"expires": "2026-01-01"}, "expired already"),
    ("nightly", {"expires": "soon"}, "is not a date"),
    ("nightly", {"colour": "red"}, "colour"),
    ("nightly", {"issuer": "ci", "subject": "x"}, "declared in the file"),
    ("nightly", {"clients": {"ci": ["x"]}}, "mapped in the file"),
    ("nightly", {"clients": {"local": ["ship-ide"]}}, "already stands for `ship`"),
    ("nightly", {"clients": {"local": ["agent:local:lint"]}}, "is called at the token endpoint"),
    ("nightly", {"credentials": [{}]}, "one of `private_key_jwt` and `federated`"),
    ("nightly", {"credentials": [{"federated": {"preset": "kubernetes", "subject": "s"}}]}, "issuer of the workload"),
    ("nightly", {"credentials": [{"federated": {"issuer": "http://127.0.0.1:8811", "subject": "s"}}]}, "the gateway"),
    ("nightly", {"credentials": [{"private_key_jwt": {"jwks": {"file": "gone.json"}}}]}, "the key set gone.json"),
    ("lint", {}, "ostiary.yaml"),
    ("batch", {}, "services.batch is already declared"),
    ("-x", {}, "is not a name"),
    ("a:b", {}, "is not a name"),
]


@pytest.mark.parametrize(("name", "changes", "told"), WRONG, ids=[case[2][:40] for case in WRONG])
def test_what_is_wrong_is_not_registered_and_leaves_no_record(
    desk: Desk, name: str, changes: dict[str, Any], told: str
) -> None:
    before = desk.effective().config
    with pytest.raises(OperationError, match=told):
        desk.add(name, **changes)
    assert desk.effective().config == before
    assert desk.events() == []


def test_two_registrations_are_not_one_name_client_or_workload(desk: Desk) -> None:
    workload = {"federated": {"preset": "github-actions", "subject": "repo:acme/app"}}
    desk.add(clients={"local": ["ide"]}, credentials=[workload])
    for name, changes in [
        ("nightly", {}),
        ("other", {"clients": {"local": ["ide"]}}),
        ("other", {"clients": {"local": ["nightly"]}}),
        ("other", {"credentials": [workload]}),
    ]:
        with pytest.raises(OperationError):
            desk.add(name, **changes)
    other_audience = {"federated": {**workload["federated"], "audience": "elsewhere"}}
    assert desk.add("other", credentials=[other_audience])["agent"]["state"] == "live"


def test_a_key_set_with_a_private_key_is_refused(desk: Desk) -> None:
    keys = desk.folder / "keys.json"
    credential = [{"private_key_jwt": {"jwks": {"file": str(keys)}}}]
    keys.write_text(json.dumps({"keys": [{**PUBLIC, "d": CANARY}]}))
    with pytest.raises(OperationError, match="private members") as refused:
        desk.add(credentials=credential)
    assert CANARY not in str(refused.value)
    keys.write_text(json.dumps({"keys": [PUBLIC]}))
    assert desk.add(credentials=credential)["agent"]["credentials"] == ["private_key_jwt"]


def test_handing_over_needs_somebody_live_and_ends_what_was_issued_before(desk: Desk) -> None:
    desk.add(clients={"local": ["ide"]}, deputy="dave")
    desk.sign_in(CAROL)
    desk.consent("ide", CAROL, agent="agent:local:nightly")
    with pytest.raises(OperationError, match="bob can own nothing now"):
        desk.do("/agents/hand-over", name="nightly", to="bob")
    with pytest.raises(OperationError, match="owns nightly already"):
        desk.do("/agents/hand-over", name="nightly", to="alice")
    hit = desk.do("/agents/hand-over", name="nightly", to="dave")["hit"]
    assert (hit["agents"], hit["families"], desk.live_families()) == (["agent:local:nightly"], 1, [])
    found = desk.one("/agents", "nightly")
    assert (found["owner"], found["deputy"]) == ("dave", None)
    assert desk.events()[-2:] == ["agent_handed_over", "revoked"]
    assert desk.records()[-2]["detail"] == {"agent": "nightly", "from": "alice", "to": "dave"}


@pytest.mark.parametrize(
    ("path", "body"),
    [("/agents/hand-over", {"name": "lint", "to": "dave"}), ("/agents/remove", {"name": "lint"})],
)
def test_what_the_file_declares_is_the_files_to_change(desk: Desk, path: str, body: dict[str, Any]) -> None:
    with pytest.raises(OperationError, match=r"agents\.lint is declared in .*ostiary\.yaml"):
        desk.do(path, **body)
    with pytest.raises(OperationError, match=r"services\.batch is declared in .*ostiary\.yaml"):
        desk.do("/services/remove", name="batch")
    assert desk.events() == []


def test_orphans_are_handed_over_and_work_again(desk: Desk) -> None:
    desk.add(owner="dave")
    desk.do("/people/disable", name="dave", reason="left")
    found = desk.one("/agents", "nightly")
    assert (found["state"], found["reason"], found["why"]) == ("suspended", "owner_inactive", "owner dave: disabled")
    desk.do("/agents/hand-over", name="nightly", to="alice")
    assert desk.one("/agents", "nightly")["state"] == "live"


@pytest.mark.parametrize("name", ["lint", "agent:local:lint", "nightly"])
def test_a_suspended_agent_stays_suspended_until_it_is_resumed(desk: Desk, name: str) -> None:
    desk.add()
    key = name.rpartition(":")[2]
    hit = desk.do("/agents/suspend", name=name, reason="odd calls")["hit"]
    assert [(each["kind"], each["value"]) for each in hit["revoked"]] == [("agent", f"agent:local:{key}")]
    assert desk.effective().suspended[key] == "agent_suspended"
    assert desk.one("/agents", key)["why"] == "odd calls"
    desk.at += 400 * DAY
    assert desk.effective().suspended[key] == "agent_suspended"
    desk.do("/agents/resume", name=name)
    assert key not in desk.effective().suspended
    with pytest.raises(OperationError, match="is not suspended"):
        desk.do("/agents/resume", name=name)
    assert desk.events()[-3:] == ["revoked", "agent_suspended", "agent_resumed"]


@pytest.mark.parametrize("act", ["suspend", "resume"])
def test_a_client_that_nobody_registered_is_not_suspended_but_revoked(desk: Desk, act: str) -> None:
    with pytest.raises(OperationError, match="nobody registered") as refused:
        desk.do(f"/agents/{act}", name="agent:client:ide")
    assert refused.value.hint == "ostiary revoke --client ide ends it"
    with pytest.raises(OperationError, match="did you mean `lint`"):
        desk.do(f"/agents/{act}", name="lnt")


def test_a_removed_agent_leaves_nothing_that_works(desk: Desk) -> None:
    desk.add(clients={"local": ["ide"]})
    desk.sign_in(CAROL)
    desk.consent("ide", CAROL, agent="agent:local:nightly")
    desk.do("/agents/suspend", name="nightly")
    desk.do("/agents/remove", name="nightly")
    assert "nightly" not in desk.effective().config.agents
    assert (desk.live_families(), desk.rows(tables.consents), desk.rows(tables.agent_marks)) == ([], [], [])
    with pytest.raises(OperationError, match="no agent is registered as nightly"):
        desk.do("/agents/remove", name="nightly")


def test_services_are_registered_and_removed(desk: Desk) -> None:
    desk.do("/services/add", name="sync", section={"owner": "alice", "purpose": "copies"})
    assert desk.one("/services", "sync")["id"] == "service:local:sync"
    with pytest.raises(OperationError, match="bob can own nothing"):
        desk.do("/services/add", name="other", section={"owner": "bob"})
    hit = desk.do("/services/remove", name="sync")["hit"]
    assert {(each["kind"], each["value"]) for each in hit["revoked"]} == {
        ("subject", "service:local:sync"),
        ("client", "service:local:sync"),
    }
    assert [each["name"] for each in desk.listed("/services")] == ["batch"]
    assert desk.events() == ["service_registered", "revoked", "service_removed"]


def test_what_only_gives_is_not_done_without_a_record_and_what_takes_is(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.add()
    desk.do("/people/disable", name="bob")
    desk._journal.close()
    for path, body in [
        ("/people/confirm", {"name": "carol"}),
        ("/people/enable", {"name": "bob"}),
        ("/agents/hand-over", {"name": "nightly", "to": "dave"}),
        ("/clients/add", {"name": "ide", "redirect_uris": ["http://127.0.0.1/cb"]}),
        ("/credentials/set", {"name": "mail", "value": CANARY}),
    ]:
        with pytest.raises(NotRecordedError):
            desk.do(path, **body)
    with pytest.raises(NotRecordedError):
        desk.add("second")
    assert credentials.all_values(desk.store) == {}
    assert (desk.rows(tables.clients), len(desk.rows(tables.registered))) == ([], 1)
    with desk.store.reading() as connection:
        marks = registry.person_marks(connection)
    assert (marks["bob"].disabled_at, "carol" in marks) == (NOW, False)
    for path, name, state in [
        ("/agents/suspend", "lint", {"lint"}),
        ("/people/disable", "alice", {"lint", "nightly"}),
    ]:
        with pytest.raises(NotRecordedError):
            desk.do(path, name=name)
        assert state <= set(desk.effective().suspended)


# Inventory -----------------------------------------------------------------------------------------------------------


def test_the_inventory_has_everybody_with_owner_state_and_last_use(desk: Desk) -> None:
    desk.add()
    desk.sign_in(CAROL, email="carol@corp.test")
    desk.sign_in("human:sso:zoe")
    desk.consent("ide", CAROL)
    desk.consent("ide", "human:sso:zoe", third_party="vendor")
    with desk.store.changing() as connection:
        registry.note_token(connection, "agent:local:lint", issued_at=NOW - 5)
        registry.note_requests(connection, {"agent:local:lint": NOW - 3, CAROL: NOW - 1})
    agents = {(each["name"], each["owner"]): each for each in desk.listed("/agents")}
    assert list(agents) == [
        ("brief", "alice"),
        ("lint", "alice"),
        ("nightly", "alice"),
        ("pair", "carol"),
        ("ship", "carol"),
        ("IDE", "carol"),
        ("IDE", "human:sso:zoe"),
    ]
    assert (agents["lint", "alice"]["last_token"], agents["lint", "alice"]["last_request"]) == (NOW - 5, NOW - 3)
    assert agents["brief", "alice"]["state"] == "expired"
    client = agents["IDE", "human:sso:zoe"]
    assert (client["id"], client["from"], client["third_party"]) == ("agent:client:ide", "consent", "vendor")
    people = {each["name"]: each for each in desk.listed("/people")}
    assert list(people) == ["alice", "bob", "carol", "dave", "erin", "human:sso:zoe"]
    assert (people["carol"]["email"], people["carol"]["last_request"]) == ("carol@corp.test", NOW - 1)
    assert people["alice"]["agents"] == ["brief", "lint", "nightly"]
    assert people["alice"]["deputy_of"] == ["pair"]
    desk.do("/people/disable", name="human:sso:zoe")
    assert [each["id"] for each in desk.listed("/agents") if each["owner"] == "human:sso:zoe"] == []


# Clients -------------------------------------------------------------------------------------------------------------


def test_the_secret_of_a_client_is_told_once_and_kept_as_a_hash(desk: Desk) -> None:
    assert desk.do("/clients/add", name="ide", redirect_uris=["http://127.0.0.1/cb"]) == {"client_id": "ide"}
    secret = desk.do("/clients/add", name="web", redirect_uris=["https://web.test/cb"], confidential=True)
    told = json.dumps([desk.listed("/clients"), desk.records(), [dict(row) for row in desk.rows(tables.clients)]])
    assert len(secret["client_secret"]) >= 32
    assert secret["client_secret"] not in told
    assert [(each["id"], each["confidential"]) for each in desk.listed("/clients")] == [("ide", False), ("web", True)]


def test_a_removed_client_is_forgotten_and_revoked(desk: Desk) -> None:
    desk.do("/clients/add", name="ide", redirect_uris=["http://127.0.0.1/cb"])
    desk.sign_in(CAROL)
    desk.consent("ide", CAROL)
    hit = desk.do("/clients/remove", id="ide")["hit"]
    assert (hit["families"], desk.listed("/clients"), desk.rows(tables.consents)) == (1, [], [])
    with pytest.raises(OperationError, match="no client has the id ide"):
        desk.do("/clients/remove", id="ide")


def test_a_client_does_not_take_the_name_under_which_an_agent_proves_itself(desk: Desk) -> None:
    desk.add(credentials=[{"federated": {"preset": "github-actions", "subject": "repo:a/b"}}])
    with pytest.raises(OperationError, match=r"agents\.nightly gets tokens under this name"):
        desk.do("/clients/add", name="nightly", redirect_uris=["http://127.0.0.1/cb"])
    assert desk.do("/clients/add", name="lint", redirect_uris=["http://127.0.0.1/cb"])["client_id"] == "lint"


# Credentials ---------------------------------------------------------------------------------------------------------


def test_the_value_of_a_credential_is_nowhere_but_in_the_secrets(
    desk: Desk, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    told = [
        desk.do("/credentials/set", name="mail", value=CANARY),
        desk.do("/credentials/set", name="mail", value=CANARY),
    ]
    told += [desk.listed(path) for path in ("/credentials", "/people", "/agents", "/services", "/clients")]
    snapshot = compile_snapshot(desk.effective().config, local_keys=[])
    assert credentials.header_values(desk.store, desk.control.config.servers) == {"mail": f"Bearer {CANARY}"}
    assert desk.events() == ["credential_set", "credential_rotated"]
    told.append(desk.do("/credentials/remove", name="mail"))
    for value in (CANARY + "\n", " " + CANARY):
        with pytest.raises(OperationError) as refused:
            desk.do("/credentials/set", name="mail", value=value)
        told.append(repr(refused.value))
    out, err = capfd.readouterr()
    files = [file.read_bytes() for file in desk.folder.rglob("*") if file.is_file()]
    everything = [json.dumps(told).encode(), snapshot, caplog.text.encode(), out.encode(), err.encode(), *files]
    assert [text for text in everything if CANARY.encode() in text] == []


def test_what_servers_name_and_nobody_set_is_listed(desk: Desk) -> None:
    (found,) = desk.listed("/credentials")
    assert (found["name"], found["set"], found["servers"]) == ("mail", False, ["mail"])
    with pytest.raises(OperationError, match="no credential is called mail"):
        desk.do("/credentials/remove", name="mail")


# Bodies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/people/confirm", {}),
        ("/people/confirm", {"name": "alice", "extra": 1}),
        ("/people/disable", {"name": 5}),
        ("/agents/add", {"name": "x", "section": []}),
        ("/clients/add", {"name": "x", "redirect_uris": "http://127.0.0.1/cb"}),
        ("/clients/add", {"name": "x", "redirect_uris": [], "confidential": "yes"}),
        ("/credentials/set", {"name": "mail", "value": 5}),
        ("/revoke", {"kind": "everything", "value": "x"}),
    ],
)
def test_a_body_of_another_shape_is_refused(desk: Desk, path: str, body: dict[str, Any]) -> None:
    from pydantic import ValidationError

    with pytest.raises(ValidationError):
        desk.do(path, **body)
    assert desk.events() == []
