"""The guarded client: where a URL may lead, and what is taken of an answer."""

# ruff: noqa: E501  (one row, one case)

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from tests.kit.pki import Authority
from tests.kit.webserver import WebServer, answer

from ostiary.fetch import MAX_HEAD, Fetched, FetchError, Reach, fetch, fetch_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PUBLIC, CONFIGURED, LOOPBACK = Reach.PUBLIC, Reach.CONFIGURED, Reach.LOOPBACK
EVERY = (PUBLIC, CONFIGURED, LOOPBACK)
NAMED = (PUBLIC, LOOPBACK)


def resolves_to(*addresses: str) -> Callable[[str, int], list[Any]]:
    def resolver(host: str, port: int) -> list[Any]:
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    return resolver


def nobody(_host: str, _port: int) -> list[Any]:
    raise AssertionError("a name was looked up")


FORMS = [
    ("no scheme", EVERY, "example.com/jwks", "it is not https"),
    ("empty", EVERY, "", "it is no plain URL"),
    ("http to a name", EVERY, "http://example.com/jwks", "it is not https"),
    ("http on this machine, named by a client", NAMED, "http://127.0.0.1/jwks", "it is not https"),
    ("file", EVERY, "file:///etc/passwd", "it is not https"),
    ("gopher", EVERY, "gopher://127.0.0.1:6379/_x", "it is not https"),
    ("one slash", EVERY, "https:/example.com", "it is not https"),
    ("upper case scheme", EVERY, "HTTPS://example.com/", "it is not https"),
    ("user name", EVERY, "https://example.com@10.0.0.1/", "it holds a user name or password"),
    ("user name and password", EVERY, "https://u:p@example.com/", "it holds a user name or password"),
    ("fragment", EVERY, "https://example.com/#x", "it is no plain URL"),
    ("backslash", EVERY, "https://example.com\\@10.0.0.1/", "it is no plain URL"),
    ("space", EVERY, "https://example.com/a b", "it is no plain URL"),
    ("line end", EVERY, "https://example.com/\r\nX: y", "it is no plain URL"),
    ("beyond ASCII", EVERY, "https://exämple.com/", "it is no plain URL"),
    ("brackets", EVERY, "https://[::1/", "it is no plain URL"),
    ("longer than any", EVERY, "https://example.com/" + "a" * 2048, "it is no plain URL"),
    ("no host", EVERY, "https:///jwks", "its host is no plain name or address"),
    ("port 0", EVERY, "https://example.com:0/", "its host is no plain name or address"),
    ("empty port", EVERY, "https://example.com:/", "its host is no plain name or address"),
    ("port beyond all", EVERY, "https://example.com:65536/", "its host is no plain name or address"),
    ("port of letters", EVERY, "https://example.com:https/", "its host is no plain name or address"),
    ("hexadecimal parts", EVERY, "https://0x7f.1/", "its host is no plain name or address"),
    ("one number", EVERY, "https://2130706433/", "its host is no plain name or address"),
    ("octal parts", EVERY, "https://0177.0.0.1/", "its host is no plain name or address"),
    ("two parts", EVERY, "https://127.1/", "its host is no plain name or address"),
    ("root dot", EVERY, "https://localhost./", "its host is no plain name or address"),
    ("percent in the host", EVERY, "https://127.0.0.1%2f@x/", "it holds a user name or password"),
    ("zone", EVERY, "https://[fe80::1%25eth0]/", "its host is no plain name or address"),
    ("metadata of Google", EVERY, "https://metadata.google.internal/x", "its host is known to hand out credentials"),
    ("metadata of Amazon", EVERY, "https://instance-data.ec2.internal/", "its host is known to hand out credentials"),
    ("port of another service", NAMED, "https://example.com:25/", "port 25 is that of another service"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("reach", "url", "why"),
    [pytest.param(reach, url, why, id=f"{name}-{reach.value}") for name, all_, url, why in FORMS for reach in all_],
)
def test_a_url_is_refused_for_its_form_before_anything_is_looked_up(reach: Reach, url: str, why: str) -> None:
    with pytest.raises(FetchError) as caught:
        fetch(url, reach=reach, resolver=nobody)
    assert str(caught.value) == f"the URL cannot be fetched: {why}"


ADDRESSES = [
    ("169.254.169.254", EVERY, "link-local"),
    ("fe80::1", EVERY, "link-local"),
    ("::ffff:169.254.169.254", EVERY, "link-local"),
    ("64:ff9b::a9fe:a9fe", EVERY, "link-local"),
    ("224.0.0.1", EVERY, "a multicast address"),
    ("ff02::1", EVERY, "a multicast address"),
    ("0.0.0.0", EVERY, "unspecified"),
    ("0.1.2.3", EVERY, "unspecified"),
    ("::", EVERY, "unspecified"),
    ("255.255.255.255", EVERY, "reserved"),
    ("240.0.0.1", EVERY, "reserved"),
    ("168.63.129.16", EVERY, "known to hand out credentials"),
    ("100.100.100.200", EVERY, "known to hand out credentials"),
    ("fd00:ec2::254", EVERY, "known to hand out credentials"),
    ("::ffff:127.0.0.1", EVERY, "a private address in disguise"),
    ("::ffff:10.0.0.1", EVERY, "a private address in disguise"),
    ("64:ff9b::7f00:1", EVERY, "a private address in disguise"),
    ("64:ff9b::a00:1", EVERY, "a private address in disguise"),
    ("64:ff9b:1::1", EVERY, "of a kind that is not used"),
    ("2002:7f00:1::", EVERY, "a private address in disguise"),
    ("2001:0:4136:e378:8000:63bf:3fff:fdd2", EVERY, "of a kind that is not used"),
    ("::7f00:1", EVERY, "of a kind that is not used"),
    ("fec0::1", EVERY, "of a kind that is not used"),
    ("127.0.0.1", (PUBLIC,), "not public"),
    ("127.9.9.9", (PUBLIC,), "not public"),
    ("::1", (PUBLIC,), "not public"),
    ("10.0.0.1", NAMED, "not public"),
    ("172.16.0.1", NAMED, "not public"),
    ("192.168.1.1", NAMED, "not public"),
    ("100.64.0.1", NAMED, "not public"),
    ("198.18.0.1", NAMED, "not public"),
    ("192.0.2.1", NAMED, "not public"),
    ("fc00::1", NAMED, "not public"),
    ("2001:db8::1", NAMED, "not public"),
]  # fmt: skip
FLAT = [(address, reach, why) for address, all_, why in ADDRESSES for reach in all_]


@pytest.mark.parametrize(("address", "reach", "why"), FLAT)
def test_an_address_is_refused_however_it_was_come_by(address: str, reach: Reach, why: str) -> None:
    plainest = ip_address(address).compressed
    literal = f"https://[{plainest}]" if ":" in address else f"https://{address}"
    for url, resolver in ((literal, nobody), ("https://example.com", resolves_to("93.184.216.34", address))):
        with pytest.raises(FetchError) as caught:
            fetch(url, reach=reach, resolver=resolver, timeout_s=2)
        assert str(caught.value) == f"{url}/ cannot be fetched: its address is {why}"


def test_http_is_for_this_machine_whatever_its_name_resolves_to() -> None:
    with pytest.raises(FetchError, match="plain http leads away from this machine"):
        fetch("http://localhost:9/", reach=CONFIGURED, resolver=resolves_to("127.0.0.1", "10.0.0.1"))


@pytest.mark.parametrize("found", [[], OSError("x"), UnicodeError("x")], ids=str)
def test_a_name_without_addresses_is_refused(found: Any) -> None:
    def resolver(_host: str, _port: int) -> list[Any]:
        if isinstance(found, Exception):
            raise found
        return list(found)

    with pytest.raises(FetchError, match="its name has no address"):
        fetch("https://example.com/", reach=PUBLIC, resolver=resolver)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def ca_file(authority: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "authority.pem"
    path.write_bytes(authority.cert.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[WebServer]:
    with WebServer(authority.pair(), tmp_path) as made:
        yield made


@pytest.fixture
def plain() -> Iterator[WebServer]:
    with WebServer() as made:
        yield made


def test_https_on_this_machine_is_fetched_where_that_is_on(server: WebServer, ca_file: Path) -> None:
    server.scripts["/c.json"] = answer('{"a": 1}', Cache_Control="max-age=5", X_Two="b")
    url = server.url("/c.json?q=1")
    found = fetch(url, reach=LOOPBACK, ca_file=ca_file)
    assert found == Fetched(
        status=200, headers={"content-length": "8", "cache-control": "max-age=5", "x-two": "b"}, body=b'{"a": 1}'
    )
    assert server.heads[0].splitlines()[:4] == [
        "GET /c.json?q=1 HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "User-Agent: ostiary",
        "Accept-Encoding: identity",
    ]
    assert fetch_json(url, reach=CONFIGURED, ca_file=ca_file) == {"a": 1}


def test_a_certificate_of_nobody_known_is_refused(server: WebServer) -> None:
    with pytest.raises(FetchError, match="its certificate is not trusted: unable to get local issuer certificate"):
        fetch(server.url(), reach=LOOPBACK)


def test_a_certificate_for_another_name_is_refused(server: WebServer, ca_file: Path) -> None:
    url = server.url(host="keys.example.com")
    with pytest.raises(FetchError, match="its certificate is not trusted: Hostname mismatch"):
        fetch(url, reach=LOOPBACK, ca_file=ca_file, resolver=resolves_to("127.0.0.1"))
    assert server.heads == []


def test_a_name_is_looked_up_once_and_what_was_checked_is_connected_to(server: WebServer, ca_file: Path) -> None:
    server.scripts["/"] = answer("{}")
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    def rebinding(host: str, port: int) -> list[Any]:
        return resolves_to(*next(answers))(host, port)

    url = server.url(host="localhost")
    assert fetch(url, reach=LOOPBACK, ca_file=ca_file, resolver=rebinding).status == 200
    assert server.heads[0].splitlines()[1] == f"Host: localhost:{server.port}"
    with pytest.raises(FetchError, match="its address is link-local"):
        fetch(url, reach=LOOPBACK, ca_file=ca_file, resolver=rebinding)
    assert server.connections == 1


def test_one_bad_address_beside_a_good_one_is_enough_to_refuse(server: WebServer, ca_file: Path) -> None:
    url = server.url(host="localhost")
    with pytest.raises(FetchError, match="its address is link-local"):
        fetch(url, reach=LOOPBACK, ca_file=ca_file, resolver=resolves_to("127.0.0.1", "169.254.169.254"))
    assert server.connections == 0


def test_the_next_checked_address_is_tried_where_one_does_not_answer(server: WebServer, ca_file: Path) -> None:
    server.scripts["/"] = answer("{}")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(FetchError, match="cannot be fetched: Connection refused"):
        fetch(f"https://localhost:{port}/", reach=LOOPBACK, resolver=resolves_to("127.0.0.1", "127.0.0.2"))
    both = resolves_to("127.0.0.2", "127.0.0.1")
    assert fetch(server.url(host="localhost"), reach=LOOPBACK, ca_file=ca_file, resolver=both).status == 200


def test_proxies_of_the_environment_are_not_used(plain: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.scripts["/"] = answer("{}")
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert fetch_json(plain.url(), reach=CONFIGURED) == {}


def test_a_form_is_posted_with_the_headers_given(plain: WebServer) -> None:
    plain.scripts["/token"] = answer('{"error":"invalid_grant"}', status="400 Bad Request")
    form = "application/x-www-form-urlencoded"
    found = fetch(
        plain.url("/token"),
        reach=CONFIGURED,
        method="POST",
        body=b"grant_type=x",
        headers={"Content-Type": form, "Authorization": "Basic eA==", "host": "evil.test", "Connection": "upgrade"},
    )
    assert (found.status, found.body) == (400, b'{"error":"invalid_grant"}')
    assert plain.heads[0].splitlines() == [
        "POST /token HTTP/1.1",
        "Content-Length: 12",
        f"Host: 127.0.0.1:{plain.port}",
        "User-Agent: ostiary",
        "Accept-Encoding: identity",
        "Connection: close",
        f"Content-Type: {form}",
        "Authorization: Basic eA==",
        "",
        "grant_type=x",
    ]


def chunked(*chunks: bytes, tail: bytes = b"0\r\n\r\n", field: bytes = b"chunked") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: " + field + b"\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + tail


TAKEN = [
    ("the largest", answer("x" * 100), b"x" * 100),
    ("chunks", chunked(b"ab", b"c"), b"abc"),
    ("the smallest chunks", chunked(*[b"x"] * 100), b"x" * 100),
    ("until the end", b"HTTP/1.1 200 OK\r\n\r\nabc", b"abc"),
    ("identity", answer("abc", Content_Encoding="identity"), b"abc"),
    ("a continue before", b"HTTP/1.1 100 Continue\r\n\r\n" + answer("abc"), b"abc"),
    ("nothing", answer("", status="404 Not Found"), b""),
]


@pytest.mark.parametrize(("sent", "body"), [case[1:] for case in TAKEN], ids=[case[0] for case in TAKEN])
def test_an_answer_is_taken_in_each_framing(plain: WebServer, sent: bytes, body: bytes) -> None:
    plain.scripts["/"] = sent
    assert fetch(plain.url(), reach=CONFIGURED, max_bytes=100).body == body


BAD_ANSWERS = [
    ("a byte more", answer("x" * 101), "the answer is larger than 100 bytes"),
    ("a byte more in chunks", chunked(b"x" * 50, b"x" * 51), "the answer is larger than 100 bytes"),
    ("a byte more until the end", b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 101, "the answer is larger than 100 bytes"),
    ("a length without end", b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", "the answer is larger than 100 bytes"),
    ("cut short", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", "the answer ends before its end"),
    ("chunks cut short", chunked(b"abc", tail=b""), "the answer is no proper HTTP"),
    ("a chunk of no size", chunked(tail=b"zz\r\n"), "the answer is no proper HTTP"),
    ("chunks with endless trailers", chunked(b"a", tail=b"0\r\n" + b"X: y\r\n" * 20000), "the answer is too large"),
    ("chunks of comments", chunked(b"a", tail=b"1;" + b"x" * 60000 + b"\r\n"), "the answer is too large"),
    ("too many header bytes", b"HTTP/1.1 200 OK\r\n" + b"X: %s\r\n" % (b"y" * 1000) * 40 + b"\r\n", "the answer is too large"),
    ("one long header", b"HTTP/1.1 200 OK\r\nX: " + b"y" * (MAX_HEAD + 9), "the answer is too large"),
    ("too many headers", b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 120 + b"\r\n", "the answer is no proper HTTP"),
    ("no status line", b"<html>secret</html>", "the answer is no proper HTTP"),
    ("nothing at all", b"", "the answer is no proper HTTP"),
    ("gzip", answer("x", Content_Encoding="gzip"), "its Content-Encoding is not taken"),
    ("gzip in transfer", chunked(b"a", field=b"gzip, chunked"), "its Transfer-Encoding is not taken"),
    ("moved", answer("", status="301 Moved", Location="https://example.com/"), "it redirects (status 301), and redirects are not followed"),
    ("found", answer("", status="302 Found", Location="/other"), "it redirects (status 302), and redirects are not followed"),
    ("moved with its method", answer("", status="308 Moved", Location="//x"), "it redirects (status 308), and redirects are not followed"),
    ("not modified", answer("", status="304 Not Modified"), "it redirects (status 304), and redirects are not followed"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "why"), [case[1:] for case in BAD_ANSWERS], ids=[case[0] for case in BAD_ANSWERS])
def test_an_answer_that_could_do_harm_is_refused_in_one_line(plain: WebServer, sent: bytes, why: str) -> None:
    plain.scripts["/"] = sent
    with pytest.raises(FetchError) as caught:
        fetch(plain.url("/?secret=1"), reach=CONFIGURED, max_bytes=100, timeout_s=10)
    assert str(caught.value) == f"{plain.url()} cannot be fetched: {why}"
    assert plain.paths == ["/?secret=1"]


SLOW = [
    ("the head", b"X"),
    ("the body", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
    ("the chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9;"),
]


@pytest.mark.parametrize("first", [case[1] for case in SLOW], ids=[case[0] for case in SLOW])
def test_one_deadline_holds_for_what_drips(plain: WebServer, first: bytes) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(first)
        plain.until_the_end(connection, b"x", 0.05)

    plain.scripts["/"] = drip
    with pytest.raises(FetchError, match=r"no answer within 0\.4 s"):
        fetch(plain.url(), reach=CONFIGURED, timeout_s=0.4)


def test_the_deadline_holds_for_a_handshake_and_for_a_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(FetchError, match=r"no answer within 0\.3 s"):
            fetch(url, reach=LOOPBACK, timeout_s=0.3)

    def slow(_host: str, _port: int) -> list[Any]:
        with socket.socket() as never:
            never.bind(("127.0.0.1", 0))
            never.listen()
            never.settimeout(2)
            never.accept()
        return []

    with pytest.raises(FetchError, match=r"no answer within 0\.3 s"):
        fetch("https://example.com/", reach=PUBLIC, timeout_s=0.3, resolver=slow)


NO_JSON = [
    ("an error", answer("{}", status="500 Oh"), " cannot be fetched: the answer has status 500"),
    ("a list", answer("[]"), " holds no JSON object"),
    ("nothing", answer(""), " holds no JSON: it cannot be parsed"),
    ("a page", answer("<html>"), " holds no JSON: it cannot be parsed"),
    ("a member twice", answer('{"a": 1, "a": 2}'), " holds no JSON: a member is written twice in one object"),
    ("no number", answer('{"a": NaN}'), " holds no JSON: it holds a number that is none"),
    ("a mark before", answer(b"\xef\xbb\xbf{}"), " holds no JSON: it cannot be parsed"),
    ("nesting without end", answer("[" * 60000), " holds no JSON: it cannot be parsed"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "why"), [case[1:] for case in NO_JSON], ids=[case[0] for case in NO_JSON])
def test_only_an_object_that_means_one_thing_is_json(plain: WebServer, sent: bytes, why: str) -> None:
    plain.scripts["/"] = sent
    with pytest.raises(FetchError) as caught:
        fetch_json(plain.url(), reach=CONFIGURED)
    assert str(caught.value) == f"{plain.url()}{why}"
