"""What holds while something is away: the provider, key sets, the store; and no default secrets.

A step of the machine's clock (L05) cannot be made here; what tokens say of time is in `oauth/bearers.json`, and what a
store says that was written by a clock ahead in `oauth/last_words.json`.
"""

import fcntl
import json
import os
import re
import sqlite3
import stat
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.kit.caller import Caller
from tests.kit.estate import FORM, App, Estate
from tests.kit.flows.browser import Browser
from tests.kit.gateway import as_yaml
from tests.kit.issuer import Issuer, read
from tests.kit.webserver import WebServer, answer
from tests.kit.wire import Reply, http, wait_until

FOLDER = Path(__file__).parent / "oauth"
CALL = {"name": "echo", "arguments": {"text": "x"}}


def rows(name: str) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in json.loads((FOLDER / f"{name}.json").read_text())]


# L05: the clock -------------------------------------------------------------------------------------------------------


def test_no_token_is_dated_ahead_however_often_it_is_revoked(estate: Estate) -> None:
    """L05: whoever gets a token right after a revocation waits for the next second, and can use it at once."""
    app, who = estate.app(), estate.browser("alice")
    for _ in range(3):
        tokens = {"agent": estate.bot(), "client": app.tokens(who)["access_token"]}
        assert all(read(token)[1]["iat"] <= time.time() for token in tokens.values())
        assert {estate.gateway.call("echo", {"text": "x"}, token).status for token in tokens.values()} == {200}
        estate.act("/revoke", kind="agent", value="bot")
        estate.act("/revoke", kind="client", value=app.id)
        assert {estate.gateway.call("echo", {"text": "x"}, token).status for token in tokens.values()} == {401}


# L04, L06: the provider -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", rows("last_words"))
def test_the_last_word_on_a_person_counts_as_long_as_it_says(case: dict[str, Any], estate: Estate) -> None:
    who, app = estate.somebody(), estate.app()
    answer = app.tokens(estate.browser(who))
    estate.forget_for(who, case["age"])
    estate.provider.set(**case["provider"])
    try:
        told = app.refresh(answer["refresh_token"])
    finally:
        estate.provider.set(down=False, answer={}, id_token={}, signing="RS256")
    assert told.status == case["must"]["status"], told
    # What was issued before lives on to its end, ten minutes: nobody said that she left.
    assert estate.gateway.call("echo", {"text": "x"}, answer["access_token"]).status == 200
    if told.status != 200:
        assert told.json()["error"] == "invalid_grant"
        estate.forget_for(who, 0)  # as when she has signed in again: what was asked before that is no reason to wait
        assert app.refresh(answer["refresh_token"]).status == 200


def test_a_session_in_a_browser_is_no_older_than_the_last_word(estate: Estate) -> None:
    """L04: the provider is down and nobody could be asked for an hour: the page is not hers any more."""
    who, app = estate.somebody(), estate.app()
    browser = estate.browser(who)
    app.sign_in(browser)
    page = f"{estate.gateway.url}/oauth/account"
    assert f"{who}@example.com" in browser.client.get(page).text
    estate.forget_for(who, 3601)
    assert f"{who}@example.com" not in browser.client.get(page).text


# Gateways of their own ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A gateway that tests may break; its people's other issuer publishes its keys at a URL."""
    with Estate(tmp_path_factory.mktemp("away"), changes={"oauth": {}}) as made:
        yield made


def test_keys_at_a_url_serve_for_a_day_after_the_last_good_answer(away: Estate) -> None:
    """L04: with the key server down, over a restart, the last good set; after a day none: its tokens are refused."""
    other = Issuer(name="url", issuer="https://url.test", kids=["url-1"])
    config, gateway = away.gateway.config, away.gateway
    token = other.token()

    def restart() -> None:
        assert gateway.end() == 0
        gateway.start()

    with WebServer() as server:
        server.scripts["/jwks"] = answer(json.dumps(other.jwks), Content_Type="application/json")
        pinned = {**config["identity"]["issuers"]["corp"], "issuer": other.issuer, "jwks": {"url": server.url("/jwks")}}
        config["identity"]["issuers"]["url"] = pinned
        gateway.save(as_yaml(config))
        restart()
        assert gateway.call("echo", {"text": "x"}, token).status == 200
        url = server.url("/jwks")
    restart()
    assert gateway.call("echo", {"text": "x"}, token).status == 200
    assert gateway.end() == 0
    away.change("UPDATE documents SET fetched_at = fetched_at - 86401 WHERE url = ?", url)
    gateway.start()
    refused = gateway.call("echo", {"text": "x"}, token)
    assert refused.status == 401
    assert gateway.call("echo", {"text": "x"}, away.issuer.token()).status == 200


#: Where SQLite keeps the locks of a store in WAL mode (its `wal.c` and `os_unix.c`), in the file `-shm`: who holds them
#: all lets nobody else read or write. `BEGIN EXCLUSIVE` would let readers go on.
LOCKS = (120, 8)


def test_without_word_from_the_store_everything_is_refused(away: Estate) -> None:
    """L04: a store that cannot be read for more than ten seconds closes the door; when it can be, the door opens."""
    token = away.issuer.token()
    caller = Caller.arrive(away.gateway, token, "session")
    assert caller.say("tools/call", CALL).error == {}
    with (away.folder / "var" / "ostiary.db-shm").open("r+b") as shared, ThreadPoolExecutor(1) as pool:
        fcntl.lockf(shared, fcntl.LOCK_EX, LOCKS[1], LOCKS[0])
        began = time.monotonic()
        asked = pool.submit(_ask_for_token, away)
        refused = wait_until(lambda: _refusal(caller), deadline_s=30.0, step_s=0.1, what="a refusal")
        assert 5 < time.monotonic() - began < 25
        assert (refused.status, refused.error["code"], refused.error["data"]["reason"]) == (503, 5030, "store")
        count = away.upstream.count
        assert away.gateway.call("echo", {"text": "x"}, token).status == 503
        assert caller.say("tools/call", CALL).status == 503
        assert away.upstream.count == count
        assert asked.result().status in {503, 504}
    wait_until(lambda: _refusal(caller) is None, deadline_s=15.0, what="the door")


def _ask_for_token(away: Estate) -> Reply:
    form = b"grant_type=refresh_token&refresh_token=x&client_id=x"
    with away.gateway.wire(deadline_s=40.0) as wire:
        return wire.ask(http("POST", "/oauth/token", [("Host", away.gateway.host), FORM], form))


def _refusal(caller: Caller) -> Reply | None:
    told = caller.say("tools/call", CALL)
    return told if told.status != 200 else None


def test_a_fault_of_the_store_tells_no_secret(away: Estate) -> None:
    """M05: what cannot be written is told in the log with where it failed, and with nothing of what was sent."""
    who, app = away.browser("alice"), away.desk
    tokens, other = app.tokens(who), away.browser("bob")
    session = who.client.cookies["ostiary-session"]
    csrf = app.consent_page(who, prompt="consent").forms[0].fields["csrf"]
    back = other.go(app.ask(), until=f"{away.gateway.url}/oauth/callback")
    assert isinstance(back, str)
    shown = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
    with closing(sqlite3.connect(away.folder / "var" / "ostiary.db", isolation_level=None)) as store:
        store.execute("BEGIN EXCLUSIVE")
        with ThreadPoolExecutor(3) as pool:
            cookie = ("Cookie", f"ostiary-session={session}")
            refreshed = pool.submit(app.refresh, tokens["refresh_token"])
            signed_out = pool.submit(away.form, "/oauth/sign-out", {"csrf": csrf}, [cookie])
            came_back = pool.submit(other.client.get, back)
            told = [refreshed.result().status, signed_out.result().status, came_back.result().status_code]
        store.execute("ROLLBACK")
    assert told == [503, 503, 503]
    log = wait_until(lambda: _with_faults(away, len(told)), what="the faults")
    secrets = {
        "access token": tokens["access_token"],
        "refresh token": tokens["refresh_token"],
        "session cookie": session,
        "csrf token": csrf,
        "browser cookie": other.client.cookies["ostiary-browser"],
        "state": shown["state"],
        "provider's code": shown["code"],
        "client secret": away.provider.secret,
    }
    assert [name for name, secret in secrets.items() if secret in log] == []
    assert app.refresh(tokens["refresh_token"]).status == 200


def _with_faults(away: Estate, most: int) -> str:
    """Return the log without frames and spaces, which could hide a secret, once it tells of that many faults."""
    log = away.gateway.log()
    return re.sub(r"[│\s]", "", log) if log.count("Traceback (most recent call last)") >= most else ""


def test_what_is_off_by_default_is_off(away: Estate) -> None:
    """F10, F08: nobody registers here, and no document is fetched from this machine."""
    refused = away.register()
    assert refused.status in {404, 405}
    metadata = away.gateway.get("/.well-known/oauth-authorization-server").json()
    assert "registration_endpoint" not in metadata
    document = away.documents.publish("local", "http://127.0.0.1:7777/callback")
    before = len(away.documents.server.heads)
    page = away.browser("alice").go(App(estate=away, id=document, third_party="").ask())
    assert not isinstance(page, str)
    assert (page.status, len(away.documents.server.heads)) == (400, before)


# M05: no default secrets ----------------------------------------------------------------------------------------------


def test_two_gateways_share_nothing(estate: Estate, away: Estate) -> None:
    """M05: keys, seals, cookies and tokens of one are nothing to the other."""
    keys = [each.gateway.get("/.well-known/jwks.json").json()["keys"] for each in (estate, away)]
    assert {key["x"] for key in keys[0]}.isdisjoint(key["x"] for key in keys[1])
    sealing = [(each.folder / "var" / "ostiary.db.key").read_bytes() for each in (estate, away)]
    assert sealing[0] != sealing[1]
    browser = estate.browser("alice")
    token = estate.app().tokens(browser)["access_token"]
    cookie = ("Cookie", f"ostiary-session={browser.client.cookies['ostiary-session']}")
    assert "alice@example.com" in estate.send("GET", "/oauth/account", [cookie]).body.decode()
    assert "alice@example.com" not in away.send("GET", "/oauth/account", [cookie]).body.decode()
    assert away.gateway.call("echo", {"text": "x"}, token).status == 401
    moved = estate.forge(token, {"kid": away.key.kid}, {"iss": away.gateway.url, "aud": away.url()})
    assert away.gateway.call("echo", {"text": "x"}, moved).status == 401
    same = estate.forge(token, {"kid": away.key.kid}, {"iss": away.gateway.url, "aud": away.url()}, away.key)
    assert away.gateway.call("echo", {"text": "x"}, same).status == 200
    session = Caller.arrive(estate.gateway, token, "session").session
    stranger = Caller(gateway=away.gateway, token=same, era="session", session=session)
    assert stranger.say("tools/call", CALL).status == 404


def _secrets(estate: Estate, browser: Browser, app: App, tokens: dict[str, Any]) -> dict[str, str]:
    """Return what must stand nowhere, by what it is."""
    return {
        "access token": tokens["access_token"],
        "its signature": tokens["access_token"].rpartition(".")[2],
        "refresh token": tokens["refresh_token"],
        "session cookie": browser.client.cookies["ostiary-session"],
        "browser cookie": browser.client.cookies["ostiary-browser"],
        "client secret": estate.provider.secret,
        "sealing key": (estate.folder / "var" / "ostiary.db.key").read_text().strip(),
        "csrf token": app.consent_page(browser, prompt="consent").forms[0].fields["csrf"],
        "ID token": estate.id_token(browser.client.cookies["ostiary-session"]),
        "provider's refresh token": estate.provider_token("alice"),
    }


@pytest.mark.parametrize("where", ["/metrics", "/readyz", "/healthz", "log", "records", "store"])
def test_nothing_secret_is_told(where: str, estate: Estate) -> None:
    """M05: not by what operators watch, in the log, on the record, or in clear on the disk; nor whom metrics count."""
    app, browser = estate.app(), estate.browser("alice")
    tokens = app.tokens(browser)
    assert estate.gateway.call("echo", {"text": "x"}, tokens["access_token"]).status == 200
    secrets = _secrets(estate, browser, app, tokens)
    folder = estate.folder / "var"
    texts = {
        "log": lambda: estate.gateway.log().encode(),
        "records": lambda: b"".join(file.read_bytes() for file in sorted((folder / "audit").glob("*.jsonl"))),
        "store": lambda: b"".join(file.read_bytes() for file in sorted(folder.glob("ostiary.db*")) if _is_data(file)),
    }
    text = texts[where]() if where in texts else estate.gateway.admin_get(where).body
    if where.startswith("/"):
        secrets |= {"person": "alice", "client": app.id}
    assert text
    assert [name for name, secret in secrets.items() if secret.encode() in text] == []


def _is_data(file: Path) -> bool:
    return file.is_file() and file.suffix != ".key"


def test_the_admin_socket_is_for_the_user_of_the_gateway(estate: Estate) -> None:
    """M04: a folder that nobody else may enter, sockets that nobody else may open, a key that nobody else reads."""
    run = estate.folder / "var" / "ostiary.db.run"
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (run, *run.iterdir())}
    assert modes == {"ostiary.db.run": 0o700, "admin.sock": 0o600, "control.sock": 0o600}
    assert stat.S_IMODE((estate.folder / "var" / "ostiary.db.key").stat().st_mode) == 0o600
    assert run.stat().st_uid == os.getuid()
