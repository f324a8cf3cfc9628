"""Epochs, marks, uses and sealed credentials, as the store keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
from tests.kit.configs import with_sections, write

from ostiary.config import Config, ServerSection, load
from ostiary.control import Epoch, EpochKind
from ostiary.registry.sections import read_section
from ostiary.store import Store, StorePath, credentials, epochs, registry
from ostiary.store.credentials import CredentialError, header_value

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CANARY = "canary-5f1d3e"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(StorePath(database=tmp_path / "o.db"), key=None, base=tmp_path) as opened:
        yield opened


def epoch(value: str, at: int, kind: EpochKind = "agent") -> Epoch:
    return Epoch(kind=kind, value=value, epoch=at)


# Epochs ---------------------------------------------------------------------------------------------------------------


def test_a_later_epoch_takes_the_place_of_an_earlier_one_and_is_told_to_whoever_follows(store: Store) -> None:
    with store.changing() as connection:
        epochs.add(connection, [epoch("a", 5), epoch("b", 5)])
        _, seen = epochs.since(connection, 0)
        epochs.add(connection, [epoch("a", 9)])
        told, newest = epochs.since(connection, seen)
        everything, _ = epochs.since(connection, 0)
    assert (told, everything) == ([epoch("a", 9)], [epoch("b", 5), epoch("a", 9)])
    assert newest > seen


def test_an_epoch_never_goes_back(store: Store) -> None:
    with store.changing() as connection:
        epochs.add(connection, [epoch("a", 9)])
        _, seen = epochs.since(connection, 0)
        epochs.add(connection, [epoch("a", 5), epoch("a", 9)])
        assert epochs.since(connection, seen) == ([], seen)
        assert epochs.floor(connection, [("agent", "a")]) == 9


def test_the_floor_is_the_latest_epoch_over_all_that_a_token_matches_and_over_nothing_else(store: Store) -> None:
    with store.changing() as connection:
        epochs.add(connection, [epoch("a", 5), epoch("a", 7, "client"), epoch("b", 99), epoch("a", 98, "owner")])
        assert epochs.floor(connection, [("agent", "a"), ("client", "a")]) == 7
        assert epochs.floor(connection, [("agent", "c")]) == 0
        assert epochs.floor(connection, []) == 0


@pytest.mark.parametrize("kind", get_args(EpochKind))
def test_every_kind_is_kept_as_it_is(store: Store, kind: EpochKind) -> None:
    made = Epoch(kind=kind, value="x'\"; --", epoch=5, reason="why")
    with store.changing() as connection:
        epochs.add(connection, [made])
        assert epochs.since(connection, 0)[0] == [made]


def test_epochs_older_than_every_token_need_not_be_told(store: Store) -> None:
    with store.changing() as connection:
        epochs.add(connection, [epoch("a", 5), epoch("b", 6)])
        told, newest = epochs.since(connection, 0, newer_than=5)
    assert (told, newest) == ([epoch("b", 6)], 2)


AHEAD: list[tuple[list[tuple[EpochKind, str]], int]] = [
    ([("agent", "agent:local:a")], 109),
    ([("subject", "agent:local:a")], 109),
    ([("agent", "agent:local:b"), ("subject", "agent:local:a")], 109),
    # Nobody's tokens but its own, of which there are none.
    ([("agent", "agent:local:b")], 100),
    ([("subject", "human:sso:b")], 100),
    # Whose tokens these are, the key alone does not say.
    ([("owner", "o")], 109),
    ([("client", "agent:local:b")], 109),
    ([("family", "f")], 109),
    ([("third_party", "t")], 109),
    ([("token", "t")], 109),
    ([("agent", "agent:local:b"), ("client", "c")], 109),
]


@pytest.mark.parametrize(("keys", "at"), AHEAD)
def test_a_revocation_covers_tokens_that_were_issued_before_the_clock_was_set_back(
    store: Store, keys: list[tuple[EpochKind, str]], at: int
) -> None:
    with store.changing() as connection:
        registry.note_token(connection, "agent:local:a", issued_at=109)
        assert epochs.next_epoch(connection, keys, now=100) == at
        assert epochs.next_epoch(connection, keys, now=200) == 200


def test_to_revoke_again_and_again_takes_no_epoch_ahead_of_the_clock(store: Store) -> None:
    with store.changing() as connection:
        for _ in range(3):
            made = epochs.revoke(connection, [("agent", "agent:local:a")], why=None, now=100)
            assert [each.epoch for each in made] == [100]


def test_only_single_tokens_are_forgotten_with_time(store: Store) -> None:
    with store.changing() as connection:
        epochs.add(connection, [epoch("j", 5, "token"), epoch("k", 50, "token"), epoch("a", 5)])
        epochs.forget_tokens(connection, before=50)
        assert epochs.since(connection, 0)[0] == [epoch("k", 50, "token"), epoch("a", 5)]


# Uses ----------------------------------------------------------------------------------------------------------------


def test_the_last_use_of_a_principal_never_goes_back(store: Store) -> None:
    with store.changing() as connection:
        registry.note_token(connection, "p", issued_at=7)
        registry.note_token(connection, "p", issued_at=3)
        registry.note_requests(connection, {"p": 9, "q": 4})
        registry.note_requests(connection, {"p": 8})
        assert registry.uses(connection) == {
            "p": registry.Use(token_at=7, request_at=9),
            "q": registry.Use(request_at=4),
        }


# Credentials ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "header", "carried"),
    [
        ("abc", "Authorization", "Bearer abc"),
        ("abc", "authorization", "Bearer abc"),
        ("Basic dXNlcg==", "Authorization", "Basic dXNlcg=="),
        ("abc", "X-Api-Key", "abc"),
    ],
)
def test_one_word_alone_is_a_bearer_token_in_authorization_only(value: str, header: str, carried: str) -> None:
    assert header_value(value, header) == carried


def test_a_credential_is_sealed_for_its_own_name_and_listed_without_its_value(store: Store, tmp_path: Path) -> None:
    with store.changing() as connection:
        credentials.put(connection, store.sealing, "mail", CANARY, now=5)
        credentials.put(connection, store.sealing, "mail", CANARY + "2", now=9)
        listed = credentials.listing(connection)
    assert listed == [credentials.StoredCredential(name="mail", created_at=5, rotated_at=9)]
    assert credentials.all_values(store) == {"mail": CANARY + "2"}
    assert all(CANARY.encode() not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())


@pytest.mark.parametrize("value", ["", " x", "x ", "a\nb", "a\r\nX-Evil: 1", "é", "a\x00b", "a\tb", "x" * 8193])
def test_what_no_header_can_carry_is_refused_without_being_shown(store: Store, value: str) -> None:
    with pytest.raises(CredentialError) as refused, store.changing() as connection:
        credentials.put(connection, store.sealing, "mail", value, now=5)
    assert value.strip() == "" or value not in str(refused.value)
    assert credentials.all_values(store) == {}


@pytest.mark.parametrize("name", ["", "a b", "-a", "a/b", "a:b", "x" * 65])
def test_a_credential_has_a_name_that_a_file_can_hold(store: Store, name: str) -> None:
    with pytest.raises(CredentialError), store.changing() as connection:
        credentials.put(connection, store.sealing, name, "v", now=5)


def servers(folder: Path, *identities: tuple[str, str]) -> dict[str, ServerSection]:
    lines = [
        f"  s{number}: {{url: http://h{number}/mcp, owner: alice, pins: off, "
        f'identity: {{credential: "store:{name}", header: {header}}}}}\n'
        for number, (name, header) in enumerate(identities)
    ]
    config: Config = load(write(folder, with_sections(servers="servers:\n" + "".join(lines))))
    return dict(config.servers)


def test_the_data_plane_is_handed_the_headers_of_what_servers_name_and_nothing_else(
    store: Store, tmp_path: Path
) -> None:
    with store.changing() as connection:
        for name in ("mail", "key", "idle"):
            credentials.put(connection, store.sealing, name, name, now=5)
    found = servers(tmp_path, ("mail", "Authorization"), ("key", "X-Api-Key"), ("unset", "X-Api-Key"))
    assert credentials.header_values(store, found) == {"mail": "Bearer mail", "key": "key"}


# Sections ------------------------------------------------------------------------------------------------------------


def test_a_registration_is_read_as_the_file_would_be() -> None:
    section = {
        "owner": "alice",
        "ceiling": {"servers": ["notes"], "classes": ["read"]},
        "expires": "2027-06-30",
        "clients": {"local": ["ide"]},
        "credentials": [{"federated": {"preset": "github-actions", "subject": "repo:a/b"}}],
    }
    read = read_section("agent", "bot", section)
    assert read.model_dump()["clients"] == {"local": ("ide",)}
    assert read.model_dump()["expires"] == 1_814_313_600
