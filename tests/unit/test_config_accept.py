"""What a good configuration becomes: defaults, both spellings of switches, warnings, and files read along."""

# ruff: noqa: E501  (one row, one case)

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from tests.kit.configs import EXAMPLE, ISSUER, SECTIONS, with_sections, write

from ostiary.config import load

if TYPE_CHECKING:
    from pathlib import Path

NOT_PINNED = "tools of `notes` are not pinned: a changed definition is not noticed"


def test_the_smallest_file_has_a_safe_default_for_everything(tmp_path: Path) -> None:
    config = load(write(tmp_path, with_sections()))
    server = config.servers["notes"]
    assert (
        config.admin.listen,
        config.store.url,
        config.store.key,
        config.audit_dir,
        config.audit.durability,
        config.gateway.refusals,
        (server.identity, server.default_class, server.timeout, server.max_response),
        (config.issuers, config.agents, config.services, config.rules, config.timezone),
        config.sources,
    ) == (
        "127.0.0.1:8812",
        "sqlite:///var/ostiary.db",
        None,
        tmp_path / "var" / "audit",
        "by_class",
        "error",
        ("jwt", "admin", 60, 16 * 1024 * 1024),
        ({}, {}, {}, (), "UTC"),
        (tmp_path / "ostiary.yaml",),
    )


def test_the_example_loads_as_it_stands(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE))
    assert [warning.message for warning in config.warnings] == [NOT_PINNED]
    assert [rule["name"] for rule in config.rules] == ["dev-reads", "no-etc"]
    assert config.sources == (tmp_path / "ostiary.yaml", tmp_path / "jwks.json")
    assert (config.person_id("alice"), config.agent_id("release-bot")) == (
        "human:corp:alice@example.com",
        "agent:local:release-bot",
    )


@pytest.mark.parametrize("word", ["off", "'off'", "OFF", "false", "False"])
def test_off_means_the_same_as_a_word_and_as_a_boolean(tmp_path: Path, word: str) -> None:
    text = with_sections(servers=SECTIONS["servers"].replace("pins: off", f"pins: {word}"))
    config = load(write(tmp_path, text))
    assert (config.servers["notes"].pins, [warning.message for warning in config.warnings]) == ("off", [NOT_PINNED])


@pytest.mark.parametrize(
    ("written", "meant"),
    [("on", True), ("On", True), ("true", True), ("off", False), ("false", False), ("[web, cli]", ("web", "cli"))],
)
def test_direct_is_a_switch_or_a_list_of_clients(tmp_path: Path, written: str, meant: object) -> None:
    text = with_sections(identity=f"identity: {{issuers: {{corp: {{{ISSUER}, direct: {written}}}}}}}\n")
    assert load(write(tmp_path, text)).issuers["corp"].direct == meant


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("2027-06-30", 1814313600), ("2027-06-30T18:00:00Z", 1814378400), ("2027-06-30T18:00:00+02:00", 1814371200)],
)
def test_an_expiry_is_a_date_or_a_moment(tmp_path: Path, written: str, seconds: int) -> None:
    agents = f"agents: {{bot: {{owner: alice, expires: {written}, ceiling: {{servers: [notes], classes: [read]}}}}}}\n"
    assert load(write(tmp_path, with_sections(agents=agents))).agents["bot"].expires == seconds


FULL = "ceiling: {servers: [notes], classes: [read]}"

WARNINGS = [
    ("plain http beyond this machine", {"gateway": "gateway: {listen: 127.0.0.1:1, url: http://gw.test}\n"}, "gateway.url", "tokens cross the network unencrypted"),
    ("https that nobody here speaks", {"gateway": "gateway: {listen: 127.0.0.1:1, url: https://gw.test}\n"}, "gateway.url", "nothing here speaks TLS, so a proxy in front must"),
    ("admin beyond this machine", {"admin": "admin: {listen: 0.0.0.0:8812}\n"}, "admin.listen", "the admin door is open beyond this machine"),
    ("no ceiling", {"agents": "agents: {bot: {owner: alice}}\n"}, "agents.bot", "the ceiling of `bot` names no `servers` and `classes`, so this agent may do nothing"),
    ("ceiling without classes", {"agents": "agents: {bot: {owner: alice, ceiling: {servers: [notes]}}}\n"}, "agents.bot.ceiling", "the ceiling of `bot` names no `classes`, so this agent may do nothing"),
    ("tool of a ceiling that nobody listed", {"agents": "agents: {bot: {owner: alice, ceiling: {servers: [notes], tools: [notes/ecko], classes: [read]}}}\n"}, "agents.bot.ceiling.tools[0]", "`ecko` is not listed in `servers.notes.tools`: only its default class is known"),
    ("agent that has expired", {"agents": f"agents: {{bot: {{owner: alice, expires: 2020-01-01, {FULL}}}}}\n"}, "agents.bot.expires", "`bot` has expired: it gets no token, and its calls are refused"),
    ("address claim without domains", {"identity": f"identity: {{issuers: {{corp: {{{ISSUER}, claims: {{email: sub}}}}}}}}\n"}, "identity.issuers.corp.claims.email", "without `email_domains` no address of this issuer becomes a fact"),
]  # fmt: skip


@pytest.mark.parametrize(("sections", "key", "message"), [case[1:] for case in WARNINGS], ids=[c[0] for c in WARNINGS])
def test_what_is_unwise_is_told_but_loads(tmp_path: Path, sections: dict[str, str], key: str, message: str) -> None:
    config = load(write(tmp_path, with_sections(**sections)))
    told = [(warning.key, warning.message) for warning in config.warnings]
    assert sorted(told) == sorted([(key, message), ("servers.notes.pins", NOT_PINNED)])


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1"])
def test_plain_http_on_this_machine_needs_no_warning(tmp_path: Path, url: str) -> None:
    config = load(write(tmp_path, with_sections(gateway=f'gateway: {{listen: 127.0.0.1:1, url: "{url}"}}\n')))
    assert [warning.key for warning in config.warnings] == ["servers.notes.pins"]


def test_https_behind_a_named_proxy_needs_no_warning(tmp_path: Path) -> None:
    gateway = "gateway: {listen: 127.0.0.1:1, url: https://gw.test, trusted_proxies: [10.0.0.0/8]}\n"
    config = load(write(tmp_path, with_sections(gateway=gateway)))
    assert [warning.key for warning in config.warnings] == ["servers.notes.pins"]
    assert config.gateway.trusted_proxies == ("10.0.0.0/8",)


def test_rules_in_files_keep_their_order_and_tell_their_file(tmp_path: Path) -> None:
    (tmp_path / "policy").mkdir()
    for name in ("b", "a"):
        rule = f"- {{name: {name}, deny: {{or: [{{mcp_tool: echo}}]}}}}\n"
        (tmp_path / "policy" / f"{name}.yaml").write_text(rule, encoding="utf-8")
    policy = "policy: {files: [policy/b.yaml, ./policy/a.yaml], timezone: Europe/Madrid}\n"
    config = load(write(tmp_path, with_sections(policy=policy)))
    assert [(rule["name"], rule["file"]) for rule in config.rules] == [("b", "policy/b.yaml"), ("a", "policy/a.yaml")]
    assert config.timezone == "Europe/Madrid"
    assert config.sources == tuple(tmp_path / name for name in ("ostiary.yaml", "policy/b.yaml", "policy/a.yaml"))


def test_paths_are_relative_to_the_file_and_not_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "house").mkdir()
    write(tmp_path / "house", EXAMPLE)
    monkeypatch.chdir(tmp_path)
    config = load(tmp_path / "house" / "ostiary.yaml")
    assert load(type(tmp_path)("house/ostiary.yaml")).sources == config.sources
    assert config.audit_dir == tmp_path / "house" / "var" / "audit"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("- {name: a, deny: {or: [{mcp_tool: echo}]}}\n", ["a"]),
        ("policy: [{name: a, deny: {or: [{user: somebody}]}}]\n", ["a"]),
        ("agents: {bot: {owner: nobody-declared}}\npolicy: []\n", []),
        (EXAMPLE.replace("jwks.json", "gone.json"), ["dev-reads", "no-etc"]),
    ],
    ids=["a list of rules", "rules alone", "a section whose references are not there", "no keys are needed"],
)
def test_a_part_of_a_configuration_can_be_read_by_itself(tmp_path: Path, text: str, names: list[str]) -> None:
    assert [rule["name"] for rule in load(write(tmp_path, text), partial=True).rules] == names


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    config = load(write(tmp_path, EXAMPLE))
    with pytest.raises(ValueError, match="frozen"):
        config.gateway.url = "http://other"
    with pytest.raises(AttributeError):
        config.timezone = "Mars"  # type: ignore[misc]


def test_nothing_is_read_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    config = load(write(tmp_path, with_sections(store="store: {key: 'env:SEALING_KEY'}\n")))
    assert config.store.key == "env:SEALING_KEY"
