"""What somebody who is not signed in can have us do is limited for each address, and costs little."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from tests.kit.frontdesk import Desk, query_of, write_config
from tests.kit.provider import Provider

from ostiary.identity import attempts, signin
from ostiary.store import accounts
from ostiary.store.tables import flows

TARGET = "/oauth/account"


@pytest.fixture(scope="module")
def running() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def desk(running: Provider, tmp_path: Path) -> Desk:
    return Desk(write_config(tmp_path, running))


def begin(desk: Desk, client: str) -> int:
    """Begin a sign-in in a new browser and return the status."""
    try:
        signin.begin(desk, "sso", TARGET, {}, client=client)
    except signin.SignInError as error:
        return error.status
    return 303


def refuse(desk: Desk, client: str) -> None:
    """Begin a sign-in and come back with an error."""
    begun = signin.begin(desk, "sso", TARGET, {})
    cookie = begun.set_cookies[0].partition(";")[0].split("=", 1)
    back = {"state": query_of(begun.url)["state"], "error": "access_denied"}
    with pytest.raises(signin.SignInError):
        signin.callback(desk, back, {cookie[0]: cookie[1]}, client=client)


def test_a_network_begins_so_many_sign_ins_a_minute_and_others_go_on(desk: Desk) -> None:
    many = [begin(desk, f"2001:db8:1:2::{number:x}") for number in range(1, attempts.BEGUN_A_MINUTE + 2)]
    assert many == [303] * attempts.BEGUN_A_MINUTE + [429]
    assert [begin(desk, client) for client in ("2001:db8:1:3::1", "192.0.2.1", "")] == [303, 303, 303]
    desk.ahead = 61
    assert begin(desk, "2001:db8:1:2::1") == 303


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_a_caller_is_an_address_or_a_network_of_64_bits(client: str, counted: str) -> None:
    assert attempts.network(client) == counted


def test_refusals_beyond_a_limit_are_counted_and_told_with_the_next(desk: Desk) -> None:
    for _ in range(attempts.RECORDED_A_MINUTE + 5):
        refuse(desk, "192.0.2.1")
    assert desk.events().count("sign_in_refused") == attempts.RECORDED_A_MINUTE
    refuse(desk, "192.0.2.2")
    desk.ahead = 61
    refuse(desk, "192.0.2.1")
    assert [record["detail"].get("count") for record in desk.records[-2:]] == [None, 6]


def test_a_longer_target_than_any_request_of_a_client_is_refused(desk: Desk) -> None:
    with pytest.raises(signin.SignInError) as refused:
        signin.begin(desk, "sso", TARGET + "?" + "x" * signin.MAX_TARGET, {})
    assert refused.value.status == 400
    assert signin.begin(desk, "sso", TARGET + "?" + "x" * (signin.MAX_TARGET - 40), {}).url


def flow(number: int, browser: str) -> accounts.Flow:
    return accounts.Flow(
        hash=f"h{number}", browser=browser, provider="sso", nonce="n", target=TARGET, expires_at=number, verifier="v"
    )


def test_the_oldest_sign_ins_make_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "MAX_FLOWS_OF_BROWSER", 2)
    monkeypatch.setattr(accounts, "MAX_FLOWS", 4)
    for number, browser in enumerate("aabaccd", start=10):
        accounts.add_flow(desk.store, flow(number, browser), now=1)
    with desk.store.reading() as connection:
        assert sorted(connection.execute(sa.select(flows.c.hash)).scalars()) == ["h13", "h14", "h15", "h16"]


def test_a_sign_in_that_begins_reads_no_whole_table(desk: Desk) -> None:
    statements = [
        "SELECT count(*) FROM flows WHERE browser = 'x'",
        "SELECT hash FROM flows WHERE browser = 'x' ORDER BY expires_at LIMIT 1",
        "SELECT hash FROM flows ORDER BY expires_at LIMIT 1",
        "DELETE FROM flows WHERE expires_at <= 1",
    ]
    with desk.store.reading() as connection:
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}").all() for each in statements]
    told = [" ".join(str(row[3]) for row in plan) for plan in plans]
    assert all("INDEX flows_" in each and "TEMP B-TREE" not in each for each in told), told
