"""The registry's commands as people and scripts meet them: with a gateway on the admin socket, and without one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from starlette.applications import Starlette
from tests.kit.configs import write
from tests.kit.desk import HOUSE, NOW, Desk
from typer.testing import CliRunner, Result

from ostiary import acts, admin
from ostiary.adminroutes import registry_routes
from ostiary.adminsocket import bind_unix
from ostiary.cli import app
from ostiary.cli.reach import ask_or, locate_store
from ostiary.cli.registry import plain
from ostiary.store import StoreInUseError, StoreLock, StorePath, tables

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary-5f1d3e"
ADD = ("agents", "add", "nightly", "--owner", "alice", "--purpose", "checks", "--server", "notes", "--class", "read")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write(tmp_path, HOUSE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(arguments), input=stdin)


def told(*arguments: str) -> Any:
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


# Without a gateway ---------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_an_agent_goes_through_its_life() -> None:
    assert run(*ADD, "--deputy", "dave", "--client", "ide", "--expires", "2031-01-01").exit_code == 0
    shown = run("agents", "show", "nightly").stdout
    assert "agent:local:nightly" in shown
    assert "2031-01-01 00:00Z" in shown
    assert told("agents", "suspend", "nightly", "--reason", "odd")["agent"]["why"] == "odd"
    assert told("agents", "resume", "agent:local:nightly")["agent"]["state"] == "live"
    assert told("agents", "hand-over", "nightly", "--to", "dave")["agent"]["owner"] == "dave"
    assert told("people", "disable", "dave", "--reason", "left")["person"]["live"] is False
    orphans = {each["name"]: (each["remedy"], each["confirm"]) for each in told("agents", "orphans")["orphans"]}
    assert orphans == {
        "nightly": ("ostiary agents hand-over nightly --to PERSON", None),
        "ship": ("change agents.ship.owner in ostiary.yaml", "ostiary people confirm carol"),
    }
    assert told("people", "enable", "dave")["person"]["live"] is True
    assert told("agents", "remove", "nightly")["removed"] == "nightly"
    listed = run("agents", "list").stdout
    assert "nightly" not in listed
    assert "agent:local:lint" in listed


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("agents", "show", "lnt"), 1, "did you mean `lint`?"),
        (("people", "show", "mallory"), 1, "mallory is not among the people"),
        (("people", "confirm", "mallory"), 1, "nobody is known as mallory"),
        (("agents", "remove", "lint"), 1, "agents.lint is declared in"),
        (("agents", "hand-over", "lint", "--to", "dave"), 1, "change agents.lint.owner"),
        ((*ADD[:4], "bob", *ADD[5:]), 1, "ostiary people confirm bob"),
        ((*ADD, "--federated-preset", "kubernetes"), 2, "--federated-subject"),
        ((*ADD, "--federated-subject", "x"), 2, "--federated-preset"),
        (ADD[:-2], 2, "--class"),
        (("revoke",), 2, "name exactly one"),
        (("revoke", "--agent", "lint", "--owner", "alice"), 2, "name exactly one"),
        (("revoke", "--agent", "human:sso:x"), 1, "is not an agent"),
        (("clients", "add", "ide", "--redirect-uri", "http://example.com/cb"), 1, "redirect address"),
        (("clients", "remove", "ide"), 1, "no client has the id ide"),
        (("credentials", "remove", "mail"), 1, "no credential is called mail"),
        (("credentials", "set", "mail", "--from-env", "NOT_SET_HERE"), 2, "NOT_SET_HERE is not set"),
        (("credentials", "set", "mail", CANARY), 2, "unexpected extra argument"),
        (("people", "list", "-c", "gone.yaml"), 1, "gone.yaml"),
    ],
)
def test_refusals_say_what_would_help_and_change_nothing(arguments: tuple[str, ...], code: int, said: str) -> None:
    before = told("agents", "list"), told("people", "list"), told("credentials", "list")
    result = run(*arguments)
    assert (result.exit_code, said.lower() in " ".join(result.output.split()).lower()) == (code, True), result.output
    assert (told("agents", "list"), told("people", "list"), told("credentials", "list")) == before


@pytest.mark.usefixtures("here")
def test_a_removed_client_was_known_and_the_services_of_a_disabled_person_are_told() -> None:
    assert run("clients", "add", "ide", "--redirect-uri", "http://127.0.0.1/cb").exit_code == 0
    removed = run("clients", "remove", "ide")
    assert (removed.exit_code, "known here" in removed.output) == (0, False)
    disabled = run("people", "disable", "alice")
    assert (disabled.exit_code, "`ostiary revoke --service batch`" in disabled.stderr) == (0, True)
    assert "goes on" not in run("people", "disable", "bob").output


@pytest.mark.usefixtures("here")
def test_a_revocation_prints_what_was_hit_and_whether_the_name_is_known() -> None:
    known = run("revoke", "--agent", "lint", "--reason", "odd")
    assert known.exit_code == 0
    assert known.stdout.splitlines() == [
        "revoked agent agent:local:lint",
        "1 agent (agent:local:lint), 0 grants ended",
    ]
    unknown = run("revoke", "--third-party", "vendor")
    assert unknown.exit_code == 0
    assert "nothing of that name is known here" in unknown.stderr
    mistaken = run("revoke", "--agent", "batch")
    assert (mistaken.exit_code, "`ostiary revoke --service batch`" in mistaken.stderr) == (0, True)
    service = run("revoke", "--service", "batch")
    assert (service.exit_code, service.stdout.splitlines()[0]) == (0, "revoked client service:local:batch")
    assert "known here" not in service.stderr
    token = run("revoke", "--token", "some-jti")
    assert (token.exit_code, "tokens are not kept" in token.stderr) == (0, True)
    answer = told("revoke", "--token", "some-jti")
    assert [(each["kind"], each["value"]) for each in answer["revoked"]] == [("token", "some-jti")]
    assert answer["running"] is False


def test_a_credential_is_read_from_standard_input_or_the_environment_and_shown_nowhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAIL_TOKEN", CANARY + "-env")
    results = [
        run("credentials", "set", "mail", stdin=CANARY + "\n"),
        run("credentials", "set", "mail", "--from-env", "MAIL_TOKEN", "--json"),
        run("credentials", "list"),
        run("credentials", "list", "--json"),
        run("credentials", "set", "mail", stdin=CANARY + "\nsecond line\n"),
    ]
    assert [result.exit_code for result in results] == [0, 0, 0, 0, 1]
    assert [result.output for result in results if CANARY in result.output] == []
    assert all(CANARY.encode() not in file.read_bytes() for file in here.rglob("*") if file.is_file())
    from ostiary.config import load
    from ostiary.registry.reading import open_reading
    from ostiary.store.credentials import all_values

    with open_reading(load(here / "ostiary.yaml")) as control:
        assert all_values(control.store) == {"mail": CANARY + "-env"}


@pytest.mark.usefixtures("here")
def test_the_secret_of_a_client_alone_is_on_standard_output() -> None:
    result = run("clients", "add", "web", "--redirect-uri", "https://web.test/cb", "--confidential")
    secret = result.stdout.strip()
    assert (result.exit_code, len(secret) >= 32) == (0, True)
    assert secret not in run("clients", "list", "--json").output
    assert run("clients", "add", "ide", "--redirect-uri", "http://127.0.0.1/cb").stdout == ""


def test_what_only_looks_leaves_no_record(here: Path) -> None:
    for group in ("people", "agents", "services", "clients", "credentials"):
        assert run(group, "list").exit_code == 0
    assert not (here / "var" / "audit").exists()


def test_names_that_clients_chose_move_no_cursor() -> None:
    assert plain("a\x1b[2Jb\r\nc\u202e[bold]").plain == "a·[2Jb··c·[bold]"


@pytest.mark.usefixtures("here")
def test_commands_at_the_same_time_wait_for_one_another() -> None:
    command = [sys.executable, "-c", "from ostiary.cli import app; app()", "people", "confirm"]
    under_way = [
        subprocess.Popen([*command, name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for name in ("alice", "bob", "carol", "dave")
    ]
    ended = [(process.communicate(timeout=60)[0], process.returncode) for process in under_way]
    assert [code for _, code in ended] == [0] * 4, ended


def test_a_store_that_stays_in_use_is_told_as_that(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "LOCK_WAIT_S", 0.1)
    with StoreLock(StorePath(database=here / "var" / "ostiary.db")):
        result = run("people", "confirm", "bob")
    assert (result.exit_code, "one gateway or command uses a store at a time" in result.output) == (1, True)


# With one ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(here: Path) -> Iterator[Desk]:
    """A desk whose acts are asked for over its admin socket, as of a running gateway."""
    with Desk(here) as opened:
        routes = registry_routes(
            opened.control,
            answering=admin._answering,
            body_of=admin._body,
            operator=admin._operator,
        )
        server = admin.make_server(Starlette(routes=routes), unix=True)
        bound = bind_unix(opened.store.path.socket)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        try:
            yield opened
        finally:
            server.should_exit = True
            thread.join()
            bound.close()


def test_the_running_gateway_does_the_same_and_records_who_asked(desk: Desk) -> None:
    answer = told(*ADD)
    assert (answer["running"], answer["agent"]["state"]) == (True, "live")
    assert told("people", "confirm", "bob")["person"]["confirmed"] == NOW
    assert told("revoke", "--owner", "alice")["running"] is True
    assert "in force" in run("agents", "suspend", "nightly").stderr
    uids = {record["by"]["uid"] for record in desk.records()}
    assert uids == {os.getuid()}
    assert desk.events() == [
        "agent_registered",
        "person_confirmed",
        "revoked",
        "revoked",
        "agent_suspended",
    ]


NO_FILE = [
    *(("people", "list"), ("agents", "list"), ("services", "list"), ("clients", "list"), ("credentials", "list")),
    *(("keys", "list"), ("keys", "rotate"), ("revoke", "--agent", "lint"), ("audit", "tail"), ("audit", "verify")),
    ("tokens", "issue", "--agent", "lint", "--server", "notes"),
]


@pytest.mark.parametrize("arguments", NO_FILE, ids=" ".join)
def test_a_file_that_is_not_there_leads_to_no_gateway(desk: Desk, arguments: tuple[str, ...]) -> None:
    result = run(*arguments, "--config", "gone.yaml")
    assert (result.exit_code, "gone.yaml" in result.output) == (1, True), result.output
    assert desk.records() == []


def test_a_file_that_is_wrong_leads_to_the_gateway_that_it_names(desk: Desk) -> None:
    desk.file.write_text(HOUSE + "nonsense: 1\n", encoding="utf-8")
    assert run("agents", "list").exit_code == 0


@pytest.mark.usefixtures("desk")
def test_a_gateway_that_has_started_meanwhile_is_asked() -> None:
    socket = locate_store(Path("ostiary.yaml")).socket
    away = socket.rename(socket.with_name("away"))

    def do_here() -> dict[str, Any]:
        away.rename(socket)
        raise StoreInUseError("the store is in use")

    answer, running = ask_or(locate_store(Path("ostiary.yaml")), "POST", "/people/confirm", {"name": "bob"}, do_here)
    assert (answer["person"]["name"], running) == ("bob", True)


TWICE: list[tuple[str, str]] = [
    ("/people/disable", '{"name": "bob", "name": "alice"}'),
    ("/agents/add", '{"name": "n", "section": {"owner": "alice", "owner": "dave"}}'),
    ("/people/confirm", '{"name": "bob"} {}'),
]


@pytest.mark.parametrize(("path", "body"), TWICE)
def test_a_body_that_can_be_read_in_two_ways_is_refused(desk: Desk, path: str, body: str) -> None:
    transport = httpx2.HTTPTransport(uds=str(desk.store.path.socket))
    with httpx2.Client(transport=transport, base_url="http://admin") as client:
        assert client.post(path, content=body).status_code == 400
        assert client.post("/people/confirm", content='{"name": "bob"}').status_code == 200
    assert desk.events() == ["person_confirmed"]


@pytest.mark.usefixtures("desk")
def test_the_running_gateway_refuses_with_the_same_words() -> None:
    for arguments, said in [
        (("agents", "hand-over", "lint", "--to", "dave"), "change agents.lint.owner"),
        (("people", "confirm", "mallory"), "nobody is known as mallory"),
        ((*ADD, "--expires", "soon"), "is not a date"),
    ]:
        result = run(*arguments)
        assert (result.exit_code, said in result.output) == (1, True), result.output


def test_the_admin_socket_shows_no_credential(desk: Desk) -> None:
    assert run("credentials", "set", "mail", stdin=CANARY).exit_code == 0
    results = [run("credentials", "list", "--json"), run("credentials", "set", "mail", stdin=CANARY + "\x07")]
    assert [result.exit_code for result in results] == [0, 1]
    assert CANARY not in "".join(result.output for result in results)
    assert CANARY not in json.dumps(desk.records())
    assert len(desk.rows(tables.credentials)) == 1


# The guide -----------------------------------------------------------------------------------------------------------

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "agents-and-owners.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_commands_of_the_guide_do_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, blocks("yaml")[0])
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    for line in lines:
        result = run(*shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.output)
        if line.endswith("people enable alice"):
            states = {each["name"]: (each["owner"], each["state"]) for each in told("agents", "list")["agents"]}
            assert states == {"release-bot": ("alice", "live"), "nightly": ("bob", "live")}
    assert len(lines) == 18
    assert [each["name"] for each in told("agents", "list")["agents"]] == ["release-bot"]
