"""The public door: TLS in both versions of HTTP, certificates swapped while serving, proxies in front, limits."""

import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.gateway import Gateway, free_port, settings
from tests.kit.http2 import H2, GoneError, Pairs, ResetError, frame, literal
from tests.kit.issuer import Issuer
from tests.kit.pki import Authority
from tests.kit.upstream import Upstream
from tests.kit.wire import CutError, Reply, Wire, call_headers, http, tool_call, wait_until

RAW = Path(__file__).parents[1] / "attacks" / "raw"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0)


@dataclass
class TlsHouse:
    gateway: Gateway
    upstream: Upstream
    authority: Authority
    token: str

    def h2(self) -> H2:
        return H2(self.gateway.address, self.authority.context("h2"))

    def wire(self) -> Wire:
        return Wire(self.gateway.address, tls=self.authority.context("http/1.1"))

    def request(self, *, era: str = "stateless", **changed: str | None) -> tuple[Pairs, bytes]:
        """Return the fields and the body of a call over HTTP/2; `changed` replaces pseudo-fields, or drops one."""
        message = tool_call("echo", {"text": "x"}, era=era)
        pseudo = {"method": "POST", "scheme": "https", "authority": self.gateway.host, "path": "/mcp/notes"} | changed
        fields = call_headers("", self.token, message, era=era)
        pairs = [(f":{name}", value) for name, value in pseudo.items() if value is not None]
        return [*pairs, *((name.lower(), value) for name, value in fields if name != "Host")], json.dumps(
            message
        ).encode()

    def layout(self) -> bytes:
        return self.gateway.layout(tool_call("echo", {"text": "x"}, era="stateless"), self.token)

    def serial(self) -> int:
        """Return the serial number of the certificate that a new connection is shown."""
        with Wire(self.gateway.address, tls=self.authority.context()) as wire:
            assert isinstance(wire.socket, ssl.SSLSocket)
            shown = wire.socket.getpeercert()
        assert shown is not None
        return int(str(shown["serialNumber"]), 16)


def tls_settings(upstream: Upstream, issuer: Issuer) -> dict[str, Any]:
    config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
    config["gateway"]["url"] = config["gateway"]["url"].replace("http:", "https:")
    config["gateway"]["tls"] = {"cert": "cert.pem", "key": "key.pem"}
    return config


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[TlsHouse]:
    folder = tmp_path_factory.mktemp("tls")
    issuer.write(folder / "jwks.json")
    authority = Authority()
    authority.pair().write(folder)
    with Upstream() as upstream, Gateway(folder, tls_settings(upstream, issuer)) as gateway:
        yield TlsHouse(gateway, upstream, authority, issuer.token())


def test_http_1_over_tls_is_served_like_plain(door: TlsHouse) -> None:
    with door.wire() as wire:
        for _ in range(3):
            assert wire.ask(door.layout()).json()["result"]
        assert wire.socket.version() in {"TLSv1.2", "TLSv1.3"}


def test_a_client_without_alpn_gets_http_1(door: TlsHouse) -> None:
    with Wire(door.gateway.address, tls=door.authority.context()) as wire:
        assert wire.ask(door.layout()).status == 200


def test_http_1_over_tls_goes_through_the_same_reader(door: TlsHouse) -> None:
    since, before = len(door.gateway.records()), door.upstream.count
    with door.wire() as wire:
        reply = wire.ask(door.layout().replace(b"\r\nHost:", b"\nHost:"))
        assert (reply.status, reply.header("connection")) == (400, "close")
        assert wire.closed()
    (record,) = door.gateway.next_record(since, "deny")
    assert (record["reason"], door.upstream.count) == ("header", before)


def test_http_2_is_served(door: TlsHouse, era: str) -> None:
    headers, body = door.request(era=era)
    before = door.upstream.count
    with door.h2() as connection:
        reply = connection.ask(headers, body)
        assert (reply.status, reply.error) == (200, {})
        many = connection.answers([connection.start(headers, body) for _ in range(50)])
        assert [each.status for each in many] == [200] * 50
        jwks = connection.ask([(":method", "GET"), *door.request(path="/.well-known/jwks.json")[0][1:4]])
        assert jwks.json()["keys"]
    assert len(door.upstream.calls(before)) == 51


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
def test_curl_gets_an_answer(door: TlsHouse, version: str, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(door.authority.cert.public_bytes(Encoding.PEM))
    told = subprocess.run(
        [
            *("curl", "-sS", version, "--cacert", str(tmp_path / "ca.pem"), "-w", "%{http_version} %{http_code}"),
            *("-o", str(tmp_path / "out"), f"{door.gateway.url}/.well-known/jwks.json"),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert told.stdout == ("2 200" if version == "--http2" else "1.1 200")
    assert json.loads((tmp_path / "out").read_text())["keys"]


def test_a_refusal_over_http_2_leaves_the_connection_open(door: TlsHouse) -> None:
    headers, body = door.request()
    with door.h2() as connection:
        refused = connection.ask([pair for pair in headers if pair[0] != "authorization"], body)
        assert (refused.status, refused.header("connection")) == (401, None)
        assert connection.ask(headers, body).status == 200


def test_plain_http_on_the_tls_port_is_closed(door: TlsHouse) -> None:
    with Wire(door.gateway.address) as wire:
        wire.send(door.layout())
        with pytest.raises(CutError):
            wire.read()


def test_no_common_protocol_ends_the_handshake(door: TlsHouse) -> None:
    with pytest.raises(ssl.SSLError), H2(door.gateway.address, door.authority.context("spdy/1")):
        pass


# HTTP/2, attacks C04 and K04 ------------------------------------------------------------------------------------------

H2_CASES = {case["id"]: case for case in json.loads((RAW / "http2.json").read_text())}


@pytest.mark.parametrize("name", [name for name, case in H2_CASES.items() if "answers" in case["must"]])
def test_a_head_of_http_2_is_judged_like_any_other(door: TlsHouse, name: str) -> None:
    case, must = H2_CASES[name], H2_CASES[name]["must"]
    headers, body = door.request(**case.get("set", {}))
    since, before = len(door.gateway.records()), door.upstream.count
    with door.h2() as connection:
        reply = connection.ask([*headers, *more_fields(case)], body)
    assert [reply.status] == must["answers"], reply
    records = door.gateway.next_record(since, "deny")
    assert [record["reason"] for record in records] == must["reasons"]
    assert door.upstream.count - before == must["upstream_calls"] == 0


def more_fields(case: dict[str, Any]) -> Pairs:
    more = case.get("add", [])
    if isinstance(more, dict):
        return [(f"x-{number}", "x") for number in range(more["fields"])]
    return [(name, value) for name, value in more]


def test_the_same_host_twice_is_one_host(door: TlsHouse) -> None:
    headers, body = door.request()
    with door.h2() as connection:
        assert connection.ask([*headers, ("host", door.gateway.host.upper())], body).status == 200
        nameless, body = door.request(authority=None)
        assert connection.ask([*nameless, ("host", door.gateway.host)], body).status == 200


@pytest.mark.parametrize("name", [name for name, case in H2_CASES.items() if "reset" in case["must"]])
def test_what_breaks_http_2_is_reset_and_not_forwarded(door: TlsHouse, name: str) -> None:
    """The library ends the stream, or the connection (RFC 9113 section 8.1.1)."""
    case = H2_CASES[name]
    headers, body = door.request(**case.get("set", {}))
    before = door.upstream.count
    with door.h2() as connection:
        try:
            reply: Reply | None = connection.ask([*headers, *more_fields(case)], body)
        except (ResetError, GoneError):
            reply = None
    assert reply is None or reply.status == 400, reply
    assert door.upstream.count - before == case["must"]["upstream_calls"] == 0


def test_trailers_of_http_2_are_dropped(door: TlsHouse) -> None:
    headers, body = door.request()
    before = door.upstream.count
    with door.h2() as connection:
        reply = connection.ask(headers, body, [("authorization", "Bearer evil"), ("x-trailer", "evil")])
    assert reply.status == 200
    (seen,) = door.upstream.calls(before)
    assert b"evil" not in seen.head + seen.body


def block(door: TlsHouse) -> bytes:
    """A header block of a sound request, laid out by hand."""
    headers, _ = door.request()
    return b"".join(literal(name.encode(), value.encode()) for name, value in headers)


def still_serves(door: TlsHouse) -> None:
    headers, body = door.request()
    with door.h2() as connection:
        assert connection.ask(headers, body).status == 200


def test_rapid_reset_ends_the_connection(door: TlsHouse) -> None:
    """CVE-2023-44487."""
    head = block(door)
    with door.h2() as connection:
        flood = b"".join(
            frame(1, 0x4, stream, head) + frame(3, 0, stream, (8).to_bytes(4, "big")) for stream in range(1, 4001, 2)
        )
        connection.flood(flood)
        assert connection.gone() in {None, 0xB}
    still_serves(door)


def test_streams_that_we_are_made_to_reset_end_the_connection(door: TlsHouse) -> None:
    """CVE-2025-8671: a window update of zero is an error of the stream, and so ours to reset."""
    head = block(door)
    with door.h2() as connection:
        flood = b"".join(
            frame(1, 0x4, stream, head) + frame(8, 0, stream, (0).to_bytes(4, "big")) for stream in range(1, 4001, 2)
        )
        connection.flood(flood)
        assert connection.gone() in {None, 0x1, 0xB}
    still_serves(door)


def test_a_header_block_without_end_ends_the_connection(door: TlsHouse) -> None:
    """CONTINUATION flood."""
    with door.h2() as connection:
        connection.raw(frame(1, 0, 1, block(door)))
        piece = literal(b"x", b"y" * 8_000)
        more = b"".join(frame(9, 0, 1, piece) for _ in range(200))
        connection.flood(more)
        connection.gone()
    still_serves(door)


def test_a_small_block_that_means_a_large_head_is_refused(door: TlsHouse) -> None:
    """HPACK bomb: one large value in the table, named again and again."""
    large = b"\x40" + literal(b"x", b"y" * 3_900)[1:]  # into the table, at index 62
    bomb = block(door) + large + b"\xbe" * 10_000
    before = door.upstream.count
    with door.h2() as connection:
        connection.raw(frame(1, 0x5, 1, bomb))
        connection.h2.get_next_available_stream_id()
        try:
            events = connection.events() + connection.events()
        except GoneError:
            events = []
        assert not any(b"200" in repr(event).encode() for event in events)
    assert door.upstream.count == before
    still_serves(door)


def test_http_2_without_tls_is_not_spoken(plain: TlsHouse) -> None:
    with plain.gateway.wire() as wire:
        assert wire.ask(PREFACE).status == 505


# Certificates ---------------------------------------------------------------------------------------------------------


def test_a_new_certificate_is_shown_while_requests_run(door: TlsHouse) -> None:
    folder = door.gateway.folder
    failed: list[Any] = []
    done = threading.Event()

    def call_on() -> None:
        headers, body = door.request()
        while not done.is_set():
            try:
                with door.h2() as connection, door.wire() as wire:
                    for _ in range(5):
                        replies = [connection.ask(headers, body), wire.ask(door.layout())]
                        failed.extend(reply for reply in replies if reply.status != 200 or reply.error)
            except Exception as error:  # noqa: BLE001  (whatever it is, it is a failed request)
                failed.append(error)

    callers = [threading.Thread(target=call_on) for _ in range(3)]
    with door.wire() as kept:
        assert kept.ask(door.layout()).status == 200
        for caller in callers:
            caller.start()
        for _ in range(4):
            pair = door.authority.pair()
            pair.write(folder)
            wait_until(lambda pair=pair: door.serial() == pair.serial, what="the new certificate")
        done.set()
        for caller in callers:
            caller.join()
        assert kept.ask(door.layout()).status == 200, "a connection from before goes on"
    assert failed == []


@pytest.mark.parametrize("case", ["half a certificate", "another key", "no key", "rubbish"])
def test_a_pair_that_does_not_fit_changes_nothing_and_is_told(door: TlsHouse, case: str) -> None:
    folder = door.gateway.folder
    sound, before, told = door.authority.pair(), door.serial(), len(door.gateway.log())
    match case:
        case "half a certificate":
            (folder / "cert.pem").write_bytes(sound.cert[: len(sound.cert) // 2])
        case "another key":
            (folder / "key.pem").write_bytes(sound.key)
        case "no key":
            (folder / "key.pem").unlink()
        case _:
            (folder / "cert.pem").write_bytes(b"hello")
    wait_until(lambda: "gateway.tls" in door.gateway.log()[told:], what="a word about the pair")
    assert "PRIVATE KEY" not in door.gateway.log()
    assert door.serial() == before
    sound.write(folder)
    wait_until(lambda: door.serial() == sound.serial, what="the sound pair")


def test_a_lockdown_needs_no_certificate_file(door: TlsHouse) -> None:
    gateway, sound = door.gateway, door.authority.pair()
    (gateway.folder / "key.pem").unlink()
    gateway.run("lockdown", "--config", str(gateway.file))
    headers, body = door.request()
    with door.h2() as connection:
        assert connection.ask(headers, body).error["data"]["reason"] == "lockdown"
    sound.write(gateway.folder)
    wait_until(lambda: door.serial() == sound.serial, what="the new pair")
    gateway.run("lockdown", "--lift", "--config", str(gateway.file))
    still_serves(door)


def test_no_key_is_in_a_record_a_log_or_a_snapshot(door: TlsHouse) -> None:
    secret = (door.gateway.folder / "key.pem").read_bytes().splitlines()[1]
    for file in (door.gateway.folder / "var").rglob("*"):
        assert not file.is_file() or secret not in file.read_bytes(), file
    assert secret.decode() not in door.gateway.log()


def started(folder: Path, config: dict[str, Any]) -> tuple[int, str]:
    gateway = Gateway(folder, config)
    gateway.launch()
    assert gateway.process is not None
    code = gateway.process.wait(20)
    gateway.process = None
    return code, gateway.log()


@pytest.mark.parametrize(("case", "why"), [("key", "not the key"), ("cert", "cannot be read"), ("env", "not set")])
def test_a_bad_pair_at_the_start_is_exit_1(tmp_path: Path, issuer: Issuer, case: str, why: str) -> None:
    authority = Authority()
    authority.pair().write(tmp_path)
    issuer.write(tmp_path / "jwks.json")
    with Upstream() as upstream:
        config = tls_settings(upstream, issuer)
        if case == "key":
            (tmp_path / "key.pem").write_bytes(authority.pair().key)
        elif case == "cert":
            config["gateway"]["tls"]["cert"] = "gone.pem"
        else:
            config["gateway"]["tls"]["key"] = "env:NO_SUCH_KEY"
        code, log = started(tmp_path, config)
    assert code == 1
    assert f"gateway.tls.{'cert' if case == 'cert' else 'key'}" in log
    assert why in log
    assert "ostiary.yaml:1" in log


def test_a_pair_from_the_environment_and_an_expired_one(tmp_path: Path, issuer: Issuer) -> None:
    authority = Authority()
    pair = authority.pair(days=-2)
    (tmp_path / "cert.pem").write_bytes(pair.cert)
    issuer.write(tmp_path / "jwks.json")
    with Upstream() as upstream:
        config = tls_settings(upstream, issuer)
        config["gateway"]["tls"]["key"] = "env:DOOR_KEY"
        with Gateway(tmp_path, config, env={"DOOR_KEY": pair.key.decode()}) as gateway:
            assert "expired" in gateway.log()
            with pytest.raises(ssl.SSLCertVerificationError), Wire(gateway.address, tls=authority.context()):
                pass


# Proxies in front -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, issuer: Issuer) -> Iterator[TlsHouse]:
    """Two proxies are trusted: 127.0.0.2 and 10.0.0.0/8. A rule lets callers of one address range alone add."""
    folder = tmp_path_factory.mktemp("proxied")
    issuer.write(folder / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["gateway"]["trusted_proxies"] = ["127.0.0.2", "10.0.0.0/8"]
        config["policy"] = [
            {
                "name": "from-the-office",
                "allow": {"and": [{"groups": {"has": "dev"}}, {"source_ip": "203.0.113.0/24"}]},
            }
        ]
        with Gateway(folder, config) as gateway:
            yield TlsHouse(gateway, upstream, Authority(), issuer.token())


def from_peer(house: TlsHouse, peer: str, fields: Pairs) -> tuple[Reply, dict[str, Any]]:
    since = len(house.gateway.records())
    body = tool_call("echo", {"text": "x"}, era="stateless")
    with house.gateway.wire(source=peer) as wire:
        reply = wire.ask(house.gateway.layout(body, house.token, headers=fields))
    return reply, house.gateway.next_record(since, "deny", "intent")[0]


PROXY_CASES = {case["id"]: case for case in json.loads((RAW / "proxies.json").read_text())}


@pytest.mark.parametrize("name", PROXY_CASES)
def test_the_source_is_what_a_trusted_proxy_says(plain: TlsHouse, name: str) -> None:
    """Attack D03 and its twin: the address in rules and records, and nothing but the address."""
    case, must = PROXY_CASES[name], PROXY_CASES[name]["must"]
    before = plain.upstream.count
    reply, record = from_peer(plain, case["peer"], more_fields(case))
    assert [reply.status] == must["answers"], reply
    assert (record["request"]["ip"], record["request"]["path"]) == (must["ip"], "/mcp/notes")
    assert (record["decision"], [record["reason"]]) == (must["decision"], must.get("reasons", [None]))
    for seen in plain.upstream.calls(before):
        assert b"forwarded" not in seen.head.lower()
    assert plain.upstream.count - before == (must["decision"] == "allow")


# Patience and room ----------------------------------------------------------------------------------------------------


def test_a_client_that_does_not_go_on_is_left(plain: TlsHouse) -> None:
    """Attack K01: a head has 10 s, its first byte or not; whoever began one is told."""
    since, began = len(plain.gateway.records()), time.monotonic()
    with plain.gateway.wire(deadline_s=20.0) as mute, plain.gateway.wire(deadline_s=20.0) as slow:
        slow.send(b"POST /mcp/notes HTTP/1.1\r\nHost: a\r\n")
        assert slow.read().status == 408
        assert slow.closed()
        assert mute.closed()
    assert 8 < time.monotonic() - began < 15
    (record,) = plain.gateway.next_record(since, "deny")
    assert (record["reason"], record["request"]["path"]) == ("timeout", "/mcp/notes")


def test_a_head_that_drips_is_left(plain: TlsHouse) -> None:
    """Slowloris: a byte now and then is no reason to wait."""
    began, head = time.monotonic(), iter(b"GET / HTTP/1.1\r\nHost: " + b"a" * 1000)
    with plain.gateway.wire(deadline_s=0.5) as wire:
        while True:
            wire.send(bytes([next(head)]))
            try:
                assert wire.read_head().status == 408
                break
            except TimeoutError:
                assert time.monotonic() - began < 20
    assert time.monotonic() - began > 8


def test_a_connection_that_was_used_may_lie_idle(plain: TlsHouse) -> None:
    with plain.gateway.wire() as wire:
        raw = http("GET", "/.well-known/jwks.json", [("Host", plain.gateway.host)])
        assert wire.ask(raw).status == 200
        assert not _ended_within(wire.socket, 12)
        assert wire.ask(raw).status == 200


def test_a_handshake_and_an_unused_connection_of_http_2_have_their_time(door: TlsHouse) -> None:
    with Wire(door.gateway.address, deadline_s=20.0) as wire:
        wire.send(b"\x16\x03\x01")
        with door.h2() as connection:
            began = time.monotonic()
            connection.socket.settimeout(30)
            connection.gone()
            assert time.monotonic() - began < 29
        assert wire.closed()


def _ended_within(plain: socket.socket, seconds: float) -> bool:
    plain.settimeout(seconds)
    try:
        return plain.recv(1) == b""
    except TimeoutError:
        plain.settimeout(10)
        return False


def test_one_address_cannot_take_every_connection(tmp_path: Path, issuer: Issuer) -> None:
    issuer.write(tmp_path / "jwks.json")
    with Upstream() as upstream:
        config = settings({"notes": upstream.url}, issuer, listen=free_port(), admin=free_port())
        config["gateway"]["trusted_proxies"] = ["127.0.0.2"]
        with Gateway(tmp_path, config) as gateway:
            kept = [socket.create_connection(gateway.address) for _ in range(1024)]
            try:
                with gateway.wire() as wire:
                    assert wire.closed()
                raw = http("GET", "/.well-known/jwks.json", [("Host", gateway.host)])
                for peer in ("127.0.0.3", "127.0.0.2"):
                    with gateway.wire(source=peer) as wire:
                        assert wire.ask(raw).status == 200
            finally:
                for each in kept:
                    each.close()
            wait_until(lambda: _served(gateway, raw), what="room again")


def _served(gateway: Gateway, raw: bytes) -> bool:
    try:
        with gateway.wire() as wire:
            return wire.ask(raw).status == 200
    except CutError:
        return False


def test_a_stop_ends_every_kind_of_connection(tmp_path: Path, issuer: Issuer) -> None:
    authority = Authority()
    authority.pair().write(tmp_path)
    issuer.write(tmp_path / "jwks.json")
    with Upstream() as upstream, Gateway(tmp_path, tls_settings(upstream, issuer)) as gateway:
        house = TlsHouse(gateway, upstream, authority, issuer.token())
        headers, body = house.request()
        with house.h2() as connection, house.wire() as wire, Wire(gateway.address):
            assert connection.ask(headers, body).status == wire.ask(house.layout()).status == 200
            began = time.monotonic()
            assert gateway.end() == 0
            assert time.monotonic() - began < 8  # less than the 10 s that calls under way would have
            assert connection.gone() in {None, 0}
            assert wire.closed()
