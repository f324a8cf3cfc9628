"""Fetched key sets: how long they are believed, and what never takes their place."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.configs import EXAMPLE, JWKS, RSA_KEY, write
from tests.kit.pki import Authority
from tests.kit.webserver import WebServer, answer

from ostiary.config import load
from ostiary.fetch import Reach
from ostiary.identity import remotekeys
from ostiary.identity.asking import LOOK_S, LOOKS, RETRY_S
from ostiary.identity.discovery import MAX_WAITING
from ostiary.identity.remotekeys import FRESH_S, MAX_FETCHES, PAUSE_S, STALE_S, RemoteKeys, issuer_keys, urls_of
from ostiary.store import Store, StorePath, documents

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ostiary.jwks import Key

ALGORITHMS = ("RS256",)
START = 1_800_000_000


@dataclass
class Clock:
    now: int = START

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(StorePath.from_url("sqlite:///var/o.db", tmp_path), key=None, base=tmp_path) as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as made:
        made.scripts["/jwks"] = answer(json.dumps(JWKS))
        yield made


@pytest.fixture
def remote(store: Store, clock: Clock) -> RemoteKeys:
    return RemoteKeys(store, clock)


def test_a_set_is_fetched_when_it_is_due_and_says_whether_it_changed(
    remote: RemoteKeys, clock: Clock, server: WebServer
) -> None:
    url = server.url("/jwks")
    assert remote.keys(url, ALGORITHMS, now=clock.now) == ()
    assert remote.refresh([url]) is True
    assert remote.keys(url, ALGORITHMS, now=clock.now) == (RSA_KEY,)
    assert remote.keys(url, ("ES256",), now=clock.now) == ()
    clock.now += FRESH_S - 1
    assert (remote.refresh([url]), len(server.heads)) == (False, 1)
    clock.now += 1
    assert (remote.refresh([url]), len(server.heads)) == (False, 2)
    server.scripts["/jwks"] = answer(json.dumps({"keys": [{**RSA_KEY, "kid": "new"}]}))
    clock.now += FRESH_S
    assert (remote.refresh([url]), len(server.heads)) == (True, 3)
    assert [key["kid"] for key in remote.keys(url, ALGORITHMS, now=clock.now)] == ["new"]


def test_an_unknown_key_id_has_the_set_fetched_early_but_not_often(
    remote: RemoteKeys, clock: Clock, server: WebServer
) -> None:
    url = server.url("/jwks")
    remote.refresh([url])
    counts = []
    for step in [0, *[1] * (LOOKS + 1), LOOK_S, LOOK_S]:
        clock.now += step
        for _ in range(3):
            remote.miss(url)
            remote.refresh([url])
            assert remote.current(url, ALGORITHMS, unknown=True) == (RSA_KEY,)
        counts.append(len(server.heads) - 1)
    assert counts == [1, 2, 3, 4, 5, 5, 5, 6, 7]
    clock.now += 1
    remote.refresh([url])
    assert len(server.heads) - 1 == 7
    clock.now -= 1000  # a clock that is set back holds up nothing
    remote.refresh([url])
    assert len(server.heads) - 1 == 8


UNUSABLE = [
    ("an error", answer("", status="500 Oh")),
    ("a redirect", answer("", status="302 Found", Location="/other")),
    ("a page", answer("<html>")),
    ("no keys", answer('{"keys": []}')),
    ("a private key", answer(json.dumps({"keys": [RSA_KEY, {**RSA_KEY, "kid": "b", "d": "AAAA"}]}))),
    ("a symmetric key", answer(json.dumps({"keys": [RSA_KEY, {"kty": "oct", "k": "AAAA"}]}))),
    ("a member twice", answer('{"keys": [], "keys": []}')),
    ("beyond all size", answer(" " * 300_000 + json.dumps(JWKS))),
]


@pytest.mark.parametrize("sent", [case[1] for case in UNUSABLE], ids=[case[0] for case in UNUSABLE])
def test_the_last_good_set_serves_for_a_day_and_then_there_is_none(
    store: Store, clock: Clock, server: WebServer, sent: bytes
) -> None:
    url = server.url("/jwks")
    RemoteKeys(store, clock).refresh([url])
    remote = RemoteKeys(store, clock)  # as after a restart
    server.scripts["/jwks"] = sent
    clock.now += FRESH_S
    remote.refresh([url])
    assert remote.keys(url, ALGORITHMS, now=clock.now) == (RSA_KEY,)
    clock.now = START + STALE_S
    remote.refresh([url])
    assert remote.keys(url, ALGORITHMS, now=clock.now) == (RSA_KEY,)
    clock.now += 1
    assert remote.keys(url, ALGORITHMS, now=clock.now) == ()
    assert remote.refresh([url]) is True
    assert remote.refresh([url]) is False


def test_an_issuer_that_fails_is_not_asked_again_at_once(remote: RemoteKeys, clock: Clock, server: WebServer) -> None:
    server.scripts["/jwks"] = answer("", status="500 Oh")
    url = server.url("/jwks")
    for _ in range(5):
        assert remote.current(url, ALGORITHMS) == ()
    assert len(server.heads) == 1
    server.scripts["/jwks"] = answer(json.dumps(JWKS))
    clock.now += RETRY_S
    assert remote.current(url, ALGORITHMS) == (RSA_KEY,)
    server.scripts["/jwks"] = answer("", status="500 Oh")
    counts = []
    for step in (FRESH_S, PAUSE_S - 1, 1):  # while the last good set serves, there is more time
        clock.now += step
        remote.current(url, ALGORITHMS)
        counts.append(len(server.heads))
    assert counts == [3, 3, 4]


def test_one_that_hangs_holds_up_few_and_nobody_elses_keys(remote: RemoteKeys, server: WebServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(2 + MAX_WAITING) as pool:
        hanging = f"http://127.0.0.1:{listener.getsockname()[1]}/jwks"
        first = pool.submit(remote.current, hanging, ALGORITHMS)
        held, _ = listener.accept()
        with held:
            others = [pool.submit(remote.current, hanging, ALGORITHMS) for _ in range(1 + MAX_WAITING)]
            assert remote.current(server.url("/jwks"), ALGORITHMS) == (RSA_KEY,)
            assert [each.result() for each in others] == [()] * (1 + MAX_WAITING)
            assert not first.done()
        assert first.result() == ()


def test_sets_are_fetched_side_by_side(remote: RemoteKeys, server: WebServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool, ExitStack() as held:
        urls = [f"http://127.0.0.1:{listener.getsockname()[1]}/{number}" for number in range(4)]
        refreshing = pool.submit(remote.refresh, [*urls, server.url("/jwks")])
        for _ in urls:
            held.enter_context(listener.accept()[0])  # all have been asked before one has answered
        assert not refreshing.done()
        held.close()
        assert refreshing.result() is True


def test_a_set_of_the_future_is_not_believed(remote: RemoteKeys, clock: Clock, server: WebServer) -> None:
    url = server.url("/jwks")
    remote.refresh([url])
    assert remote.keys(url, ALGORITHMS, now=clock.now - 1) == ()
    clock.now -= 3600
    assert remote.current(url, ALGORITHMS) == (RSA_KEY,)


def metadata(server: WebServer, **members: object) -> bytes:
    return answer(json.dumps({"issuer": server.url("/org"), "jwks_uri": server.url("/jwks"), **members}))


def test_keys_are_found_from_an_issuer(remote: RemoteKeys, clock: Clock, server: WebServer) -> None:
    path = "/org/.well-known/openid-configuration"
    server.scripts[path] = metadata(server)
    assert remote.discover(server.url("/org")) == server.url("/jwks")
    server.scripts[path] = answer("", status="500 Oh")
    clock.now += STALE_S
    assert remote.discover(server.url("/org")) == server.url("/jwks")
    clock.now += 1
    assert remote.discover(server.url("/org")) is None
    assert set(server.paths) == {path}


WRONG = [
    ("of another issuer", {"issuer": "https://other.example"}),
    ("with a slash more", {"issuer": "http://127.0.0.1/org/"}),
    ("without keys", {"jwks_uri": None}),
    ("keys over plain http elsewhere", {"jwks_uri": "http://keys.example/jwks"}),
    ("keys in a file", {"jwks_uri": "file:///etc/passwd"}),
    ("keys at the credentials of a cloud", {"jwks_uri": "https://metadata.google.internal/jwks"}),
]


@pytest.mark.parametrize("members", [case[1] for case in WRONG], ids=[case[0] for case in WRONG])
def test_metadata_that_is_not_the_issuers_is_not_used(
    remote: RemoteKeys, server: WebServer, members: dict[str, object]
) -> None:
    server.scripts["/org/.well-known/openid-configuration"] = metadata(server, **members)
    assert remote.discover(server.url("/org")) is None


def test_the_urls_of_issuers_and_credentials_are_all_found(
    remote: RemoteKeys, clock: Clock, server: WebServer, tmp_path: Path
) -> None:
    url = server.url("/jwks")
    credentials = """[
      {private_key_jwt: {jwks: {url: "https://keys.example/a"}}},
      {federated: {issuer: "https://p.example", jwks: {url: "https://keys.example/b"}, subject: s}},
      {federated: {preset: github-actions, subject: "repo:o/r:ref:refs/heads/main"}}]"""
    text = EXAMPLE.replace("jwks: {file: jwks.json}", f'jwks: {{url: "{url}"}}')
    text = text.replace("{owner: alice, purpose", f"{{credentials: {credentials}, owner: alice, purpose")
    config = load(write(tmp_path, text))
    assert urls_of(config) == {url, "https://keys.example/a", "https://keys.example/b"}
    assert issuer_keys(config, remote, now=clock.now) == {"corp": ()}
    remote.refresh([url])
    assert issuer_keys(config, remote, now=clock.now) == {"corp": (RSA_KEY,)}
    assert issuer_keys(replace(config, issuers={}), remote, now=clock.now) == {}


def test_keys_of_a_client_are_kept_in_memory_for_a_while(
    store: Store, remote: RemoteKeys, clock: Clock, tmp_path: Path
) -> None:
    authority = Authority()
    ca_file = tmp_path / "authority.pem"
    ca_file.write_bytes(authority.cert.public_bytes(Encoding.PEM))
    with WebServer(authority.pair(), tmp_path) as server:
        server.scripts["/a"] = answer(json.dumps(JWKS))
        reach = {"reach": Reach.LOOPBACK, "ca_file": ca_file}

        def asked(path: str, *, unknown: bool = False) -> int:
            found = remote.of_client(server.url(path), ALGORITHMS, unknown=unknown, **reach)
            assert found == ((RSA_KEY,) if path == "/a" else ())
            return len(server.heads)

        assert [asked("/a"), asked("/a"), asked("/a", unknown=True), asked("/b"), asked("/b")] == [1, 1, 1, 2, 2]
        clock.now += PAUSE_S
        assert [asked("/a"), asked("/a", unknown=True), asked("/b")] == [2, 3, 4]
        clock.now += FRESH_S
        assert [asked("/a"), asked("/a")] == [5, 5]
        assert documents.get(store, server.url("/a")) is None
        assert remote.of_client(server.url("/a"), ALGORITHMS, reach=Reach.PUBLIC, ca_file=None, unknown=False) == ()


def test_keys_of_the_clients_asked_for_longest_ago_are_forgotten(
    remote: RemoteKeys, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remotekeys, "MAX_CLIENTS", 2)

    def asked(path: str) -> int:
        remote.of_client(server.url(path), ALGORITHMS, reach=Reach.CONFIGURED, ca_file=None, unknown=False)
        return len(server.heads)

    assert [asked(path) for path in ("/1", "/2", "/2", "/3", "/2", "/1")] == [1, 2, 2, 3, 3, 4]


def test_a_slow_site_of_a_client_is_asked_once_and_a_few_of_them_at_a_time(remote: RemoteKeys) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as held:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def ask(number: int) -> tuple[Key, ...]:
            return remote.of_client(
                f"{base}/{number}", ALGORITHMS, reach=Reach.CONFIGURED, ca_file=None, unknown=number > 0
            )

        with ThreadPoolExecutor(MAX_FETCHES) as pool:
            hanging = []
            for number in range(MAX_FETCHES):
                hanging.append(pool.submit(ask, number))
                held.enter_context(listener.accept()[0])  # it has been asked, and does not answer
            assert [ask(number) for number in (0, 1, MAX_FETCHES)] == [(), (), ()]
            assert not any(each.done() for each in hanging)
            held.close()
            assert [each.result() for each in hanging] == [()] * MAX_FETCHES
        listener.setblocking(False)
        assert ask(0) == ()
        with pytest.raises(BlockingIOError):  # that it failed is remembered
            listener.accept()


def test_keys_of_a_client_that_are_good_serve_while_an_unknown_one_is_looked_for(
    remote: RemoteKeys, clock: Clock, server: WebServer
) -> None:
    def ask(*, unknown: bool = False) -> tuple[Key, ...]:
        url = server.url("/jwks")
        return remote.of_client(url, ALGORITHMS, reach=Reach.CONFIGURED, ca_file=None, unknown=unknown)

    assert ask() == (RSA_KEY,)
    clock.now += PAUSE_S
    server.scripts["/jwks"] = answer("", status="500 Oh")
    assert ask(unknown=True) == (RSA_KEY,)
    clock.now += FRESH_S
    assert ask() == ()
