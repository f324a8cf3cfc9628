"""Clients: registered by an operator or by themselves, or known by a document; and where they may send a browser."""

from __future__ import annotations

from typing import Any

import pytest
from tests.kit.control import LOCAL, OFFICE, SITE, START, ControlSide

from ostiary import strictjson
from ostiary.oauth import redirects
from ostiary.oauth.clients import shown_name
from ostiary.oauth.limits import network
from ostiary.oauth.registration import LIMIT, MOST, WITHIN_S
from ostiary.store import clients as stored

DAY = 24 * 3600


# Redirect addresses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "uri",
    [
        "https://app.example.com/callback",
        "https://app.example.com",
        "https://app.example.com:8443/a?b=c",
        "https://[2001:db8::1]/a",
        "http://127.0.0.1/callback",
        "http://127.0.0.1:7777/callback",
        "http://[::1]:1/",
        "http://localhost:33418",
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "vscode://vscode.github-authentication/did-authenticate",
        "com.example.app:/callback",
    ],
)
def test_a_redirect_address_that_a_client_may_have(uri: str) -> None:
    assert redirects.fault(uri) is None


@pytest.mark.parametrize(
    "uri",
    [
        None,
        7,
        "",
        "callback",
        "/callback",
        "//app.example.com/callback",
        "http://app.example.com/callback",
        "http://127.0.0.1.evil.example/callback",
        "http://127.0.0.1@evil.example/callback",
        "http://localhost.evil.example/",
        "http://127.1/callback",
        "http://0x7f.0.0.1/callback",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:99999/callback",
        "https://app.example.com/callback#x",
        "https://user@app.example.com/callback",
        "https://*.example.com/callback",
        "https://APP.example.com/callback",
        "https:///callback",
        "https:app.example.com",
        "https://app.example.com:0/",
        "https://app.example.com/a b",
        "https://app.example.com/\nb",
        "https://app.example.com\\@evil.example/",
        'https://app.example.com/"><script>',
        "https://app.example.com/cb?code=1",
        "https://app.example.com/cb?iss=x",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "blob:https://app.example.com/x",
        "about:blank",
        "vbscript:x",
        "ftp://app.example.com/",
        "mailto:a@example.com",
        "urn:ietf:wg:oauth:2.0:oob",
        "myapp://callback",
        "com.example.app:",
        "https://app.example.com/" + "a" * 2000,
    ],
)
def test_a_redirect_address_that_no_client_may_have(uri: object) -> None:
    assert redirects.fault(uri) is not None


@pytest.mark.parametrize(
    ("uri", "registered", "same"),
    [
        ("http://127.0.0.1:9999/callback", LOCAL, True),
        ("http://127.0.0.1/callback", LOCAL, True),
        ("http://127.0.0.1:7777/callback", "http://127.0.0.1/callback", True),
        ("http://[::1]:5/x", "http://[::1]/x", True),
        ("http://localhost:5/", "http://localhost/", True),
        ("http://localhost:7777/callback", LOCAL, False),
        ("http://127.0.0.1:7777/callback/", LOCAL, False),
        ("http://127.0.0.1:7777/callback?x=1", LOCAL, False),
        ("http://127.0.0.1:7777/", LOCAL, False),
        ("https://127.0.0.1:7777/callback", LOCAL, False),
        ("http://127.0.0.1:77777/callback", LOCAL, False),
        ("http://127.0.0.1:7777@evil.example/callback", LOCAL, False),
        (SITE, SITE, True),
        ("https://app.example.com:443/callback", SITE, False),
        ("https://app.example.com:8443/callback", SITE, False),
    ],
)
def test_only_on_this_machine_may_the_port_differ(uri: str, registered: str, same: bool) -> None:
    assert redirects.matches(uri, [registered]) is same


def test_an_answer_is_added_to_what_the_address_has() -> None:
    assert redirects.with_answer("https://a.example/cb?x=%7e", {"code": "a b", "state": None}) == (
        "https://a.example/cb?x=%7e&code=a+b"
    )
    assert redirects.with_answer("com.example.app:/cb", {"code": "c"}) == "com.example.app:/cb?code=c"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("An IDE", "An IDE"),
        ("  two \n lines\t", "two lines"),
        ("\u202egro.live\u202c", "gro.live"),
        ("zero\u200bwidth\x00", "zerowidth"),
        ("x" * 61, "x" * 59 + "…"),
        ("\u2066", ""),
    ],
)
def test_a_name_is_one_line_of_what_can_be_seen(name: str, shown: str) -> None:
    assert shown_name(name) == shown


# By an operator -------------------------------------------------------------------------------------------------------


def test_the_secret_of_a_client_is_told_once_and_never_kept(side: ControlSide) -> None:
    secret = stored.add_registered(side.store, "batch", "Batch", [SITE], confidential=True)
    assert secret is not None
    [row] = [client for client in stored.all_clients(side.store) if client.id == "batch"]
    assert (row.kind, row.name, row.metadata["redirect_uris"]) == ("registered", "Batch", [SITE])
    assert secret not in str(row)
    assert (side.folder / "o.db").read_bytes().find(secret.encode()) == -1
    assert stored.remove(side.store, "batch")
    assert not stored.remove(side.store, "batch")


@pytest.mark.parametrize(
    ("client_id", "name", "uris"),
    [
        ("ide", "taken", [SITE]),
        ("", "x", [SITE]),
        ("two words", "x", [SITE]),
        ("agent:local:x", "x", [SITE]),
        ("https://app.example.com/c", "x", [SITE]),
        ("dynamic-x", "x", [SITE]),
        ("new", " ", [SITE]),
        ("new", "x", []),
        ("new", "x", [SITE] * 11),
        ("new", "x", ["http://app.example.com/"]),
    ],
)
def test_an_operator_cannot_register_what_is_no_client(
    side: ControlSide, client_id: str, name: str, uris: list[str]
) -> None:
    with pytest.raises(stored.ClientError):
        stored.add_registered(side.store, client_id, name, uris, confidential=False)


# By themselves --------------------------------------------------------------------------------------------------------

DOCUMENT = {"client_name": "A tool", "redirect_uris": [LOCAL], "token_endpoint_auth_method": "none"}


def test_a_client_registers_itself_and_signs_its_user_in(side: ControlSide) -> None:
    told = side.register({**DOCUMENT, "application_type": "native", "grant_types": ["authorization_code"]})
    assert (told.status_code, told.headers["cache-control"]) == (201, "no-store")
    said = told.json()
    assert "client_secret" not in said
    assert (said["client_id_issued_at"], said["redirect_uris"]) == (START, [LOCAL])
    answer = side.tokens(said["client_id"], side.staff("alice"))
    assert answer["scope"] == "mcp:read mcp:query"
    assert side.records("client_registered")[0]["detail"]["client_name"] == "A tool"


def test_a_client_that_asks_for_a_secret_gets_one(side: ControlSide) -> None:
    said = side.register({"redirect_uris": [LOCAL]}).json()
    assert (said["token_endpoint_auth_method"], said["client_secret_expires_at"]) == (
        "client_secret_basic",
        START + DAY,
    )
    code = side.code(said["client_id"], side.staff("alice"))
    assert side.exchange(said["client_id"], code).json()["error"] == "invalid_client"
    assert side.exchange(said["client_id"], code, client_secret=said["client_secret"]).status_code == 200


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"redirect_uris": None}, "invalid_redirect_uri"),
        ({"redirect_uris": []}, "invalid_redirect_uri"),
        ({"redirect_uris": LOCAL}, "invalid_redirect_uri"),
        ({"redirect_uris": [LOCAL] * 11}, "invalid_redirect_uri"),
        ({"redirect_uris": [LOCAL, "javascript:alert(1)"]}, "invalid_redirect_uri"),
        ({"redirect_uris": ["http://app.example.com/"]}, "invalid_redirect_uri"),
        ({"client_name": 7}, "invalid_client_metadata"),
        ({"client_name": "x" * 2001}, "invalid_client_metadata"),
        ({"client_uri": "not a url"}, "invalid_client_metadata"),
        *(
            ({name: f"https://app.example.com/{sign}"}, "invalid_client_metadata")
            for name in ("client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri")
            for sign in ("\x00", "\x1b[31m", "\x9b5m", "\r\nx", "\u202e", " ")
        ),
        ({"logo_uri": 7}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": "private_key_jwt"}, "invalid_client_metadata"),
        ({"token_endpoint_auth_method": ["none"]}, "invalid_client_metadata"),
        ({"redirect_uris": ["steam://run/1", "http://app.example.com/"]}, "invalid_redirect_uri"),
        ({"grant_types": ["implicit"]}, "invalid_client_metadata"),
        ({"grant_types": ["authorization_code", 7]}, "invalid_client_metadata"),
        ({"grant_types": ["client_credentials"]}, "invalid_client_metadata"),
        ({"grant_types": "authorization_code"}, "invalid_client_metadata"),
        ({"response_types": ["token"]}, "invalid_client_metadata"),
    ],
)
def test_a_client_cannot_register_what_is_not_taken(side: ControlSide, change: dict[str, Any], error: str) -> None:
    answer = side.register({**DOCUMENT, **change})
    assert (answer.status_code, answer.json()["error"]) == (400, error)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, {"grant_types": ["authorization_code", "refresh_token"]}),
        ({"grant_types": []}, {"grant_types": ["authorization_code", "refresh_token"]}),
        ({"grant_types": ["authorization_code"]}, {"grant_types": ["authorization_code"]}),
        (
            {"grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token", "authorization_code"]},
            {"grant_types": ["authorization_code", "refresh_token"]},
        ),
        ({"redirect_uris": ["steam://run/1", SITE, LOCAL, SITE]}, {"redirect_uris": [SITE, LOCAL]}),
        ({"redirect_uris": ["http://app.example.com/", SITE + "#x", LOCAL]}, {"redirect_uris": [LOCAL]}),
        ({"redirect_uris": ["com.example.app:/callback"]}, {"redirect_uris": ["com.example.app:/callback"]}),
    ],
)
def test_a_client_is_told_what_was_kept_of_what_it_asked_for(
    side: ControlSide, change: dict[str, Any], kept: dict[str, Any]
) -> None:
    told = side.register({**DOCUMENT, **change})
    assert told.status_code == 201
    assert {name: told.json()[name] for name in kept} == kept
    row = next(each for each in stored.all_clients(side.store) if each.id == told.json()["client_id"])
    assert {name: row.metadata[name] for name in kept} == kept


@pytest.mark.parametrize("uri", ["JavaScript:alert(1)", " java\tscript:x", "data:text/html,x", "file:///etc/passwd", 7])
def test_one_dangerous_address_refuses_all(side: ControlSide, uri: object) -> None:
    for uris in ([SITE, uri], [uri, SITE]):
        answer = side.register({**DOCUMENT, "redirect_uris": uris})
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_redirect_uri")


def test_a_registration_is_json_and_small(side: ControlSide) -> None:
    assert side.post("/oauth/register", "a=b").status_code == 415
    assert side.register([DOCUMENT]).status_code == 400
    assert side.register({**DOCUMENT, "x": "y" * 65536}).status_code == 413


def test_registration_is_off_unless_it_is_on(side: ControlSide) -> None:
    side.change(OFFICE.replace("dynamic_registration: on", "dynamic_registration: off"))
    assert side.register(DOCUMENT).status_code == 404
    assert "registration_endpoint" not in side.get("/.well-known/oauth-authorization-server").json()


def test_nobody_registers_without_end(side: ControlSide) -> None:
    answers = [side.register(DOCUMENT) for _ in range(LIMIT + 1)]
    assert [each.status_code for each in answers] == [*[201] * LIMIT, 429]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert side.register(DOCUMENT, X_Ostiary_Client="192.0.2.8").status_code == 201
    side.now_is += WITHIN_S
    assert side.register(DOCUMENT).status_code == 201


def test_there_is_an_end_to_how_many_are_registered(side: ControlSide) -> None:
    with side.store.changing() as connection:
        for number in range(MOST):
            row = stored.StoredClient(
                id=f"dynamic-{number}",
                kind="dynamic",
                name="x",
                metadata={"redirect_uris": [LOCAL]},
                created_at=START - 9 + number % 7,
                expires_at=START + DAY,
                used_at=None if number in {8, 14, 21} else START,
            )
            stored.put(connection, row)

    def unused() -> set[str]:
        found = [each.id for each in stored.all_clients(side.store) if each.kind == "dynamic" and each.used_at is None]
        return set(found)

    made = []
    for left in ({"dynamic-8", "dynamic-21"}, {"dynamic-8"}, set()):
        answer = side.register(DOCUMENT)
        made.append(answer.json()["client_id"])
        assert unused() == left | set(made)
    for client_id in made:
        side.tokens(client_id, side.staff("alice"))
    assert side.register(DOCUMENT).status_code == 429, "those that are used are not forgotten"
    side.now_is += DAY
    assert side.register(DOCUMENT).status_code == 201
    assert len([each for each in stored.all_clients(side.store) if each.kind == "dynamic"]) == 1 + len(made)


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("192.0.2.8", "192.0.2.8"),
        ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
        ("2001:db8:0:1:ffff::", "2001:db8:0:1::/64"),
        ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
    ],
)
def test_a_host_counts_by_its_network(address: str, same: str) -> None:
    assert network(address) == same


def test_nobody_registers_without_end_from_the_addresses_of_one_host(side: ControlSide) -> None:
    answers = [side.register(DOCUMENT, X_Ostiary_Client=f"2001:db8::{number:x}") for number in range(LIMIT + 1)]
    assert [each.status_code for each in answers] == [*[201] * LIMIT, 429]
    assert side.register(DOCUMENT, X_Ostiary_Client="2001:db8:0:1::1").status_code == 201


def test_who_registered_is_not_known_once_that_is_switched_off(side: ControlSide) -> None:
    client_id = side.register(DOCUMENT).json()["client_id"]
    said = side.tokens(client_id, side.staff("alice"))
    off = OFFICE.replace("dynamic_registration: on", "dynamic_registration: off")
    side.change(off)
    assert side.get(side.authorize_path(client_id), cookies=side.staff("alice")).status_code == 400
    assert side.refresh(client_id, said["refresh_token"]).json()["error"] == "invalid_client"
    side.change(OFFICE)
    assert side.get(side.authorize_path(client_id), cookies=side.staff("alice")).status_code == 303
    assert side.refresh(client_id, said["refresh_token"]).status_code == 200


def test_a_registration_ends_a_day_later_unless_it_is_used_and_then_a_month_after_its_last_use(
    side: ControlSide,
) -> None:
    unused, used = (side.register(DOCUMENT).json()["client_id"] for _ in range(2))
    side.tokens(used, side.staff("alice"))
    side.now_is += DAY
    alice = side.staff("alice")
    assert side.get(side.authorize_path(unused), cookies=alice).status_code == 400
    side.now_is += 29 * DAY - 1
    assert side.get(side.authorize_path(used), cookies=side.staff("alice")).status_code == 303
    side.now_is += 30 * DAY
    assert side.get(side.authorize_path(used), cookies=side.staff("alice")).status_code == 400


@pytest.mark.parametrize("text", [r"\ud800", r"\udfff x", r"\ude00\ud83d"])
def test_half_a_character_is_in_no_registration(side: ControlSide, text: str) -> None:
    body = '{"redirect_uris": ["https://app.example.com/callback"], "client_name": "TEXT"}'
    kind = {"Content-Type": "application/json"}
    refused = side.post("/oauth/register", body.replace("TEXT", text), **kind)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_client_metadata")
    whole = side.post("/oauth/register", body.replace("TEXT", r"\ud83d\ude00"), **kind)
    assert (whole.status_code, whole.json()["client_name"]) == (201, "\U0001f600")


@pytest.mark.parametrize("text", [r'{"\ud800": 1}', r'["\udc00"]', r'{"a": [{"b": "x\uD800"}]}'])
def test_half_a_character_is_nowhere_in_json_of_others(text: str) -> None:
    with pytest.raises(strictjson.StrictJsonError, match="half a character"):
        strictjson.parse(text.encode())
