"""`check`, `init` and `schema` as people and scripts meet them."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import typer
from tests.kit.configs import EXAMPLE, with_sections, write
from typer.testing import CliRunner, Result

from ostiary.cli import check, init, schema
from ostiary.cli.schema import document_schema
from ostiary.config import Document, load
from ostiary.faults import NOT_IN_THIS_VERSION, to_data
from ostiary.policy.criteria import CRITERIA
from ostiary.yamlsource import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

APP = typer.Typer()
for command in (check, init, schema):
    command.register(APP)

CORE = pytest.mark.skipif(importlib.util.find_spec("ostiary._core") is None, reason="the native part is not built")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(APP, [str(argument) for argument in arguments])


def test_check_shows_each_problem_with_its_line_and_a_caret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, with_sections(servers="servers:\n  notes: {url: http://h/mcp, owner: alise, pins: off}\n"))
    monkeypatch.chdir(tmp_path)
    result = run("check", "ostiary.yaml")
    assert (result.exit_code, result.output) == (
        1,
        """\
error: `alise` is not declared in `people`
  at ostiary.yaml:4:37  (servers.notes.owner)
   |
4  |   notes: {url: http://h/mcp, owner: alise, pins: off}
   |                                     ^
   = help: did you mean `alice`?

ostiary.yaml cannot be used: 1 error.
""",
    )


def test_check_points_right_in_a_long_line_and_past_wide_characters(tmp_path: Path) -> None:
    people = "people: {alice: {email: " + "日本" * 20 + "@example.com, colour: red, subject: " + "x" * 200 + "}}\n"
    lines = run("check", write(tmp_path, with_sections(people=people))).output.splitlines()
    caret = next(at for at, line in enumerate(lines) if line.endswith("^"))
    from rich.cells import cell_len

    shown = lines[caret - 1]
    before = shown[: shown.index("colour")]
    assert cell_len(before) == lines[caret].index("^")
    assert len(shown) <= 110


def test_check_never_shows_a_line_with_a_secret(tmp_path: Path) -> None:
    text = with_sections(store="store: {key: hunter2, colour: red}\n")
    result = run("check", write(tmp_path, text))
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    assert "`colour` is not a key of this place" in result.output
    assert "hunter2" not in run("check", write(tmp_path, text), "--json").output


def test_check_as_json_is_one_object(tmp_path: Path) -> None:
    result = run("check", write(tmp_path, with_sections(audit="audit: {durability: disc}\n")), "--json")
    assert (result.exit_code, json.loads(result.output)) == (
        1,
        {
            "ok": False,
            "problems": [
                {
                    "file": "ostiary.yaml",
                    "line": 4,
                    "column": 21,
                    "key": "audit.durability",
                    "message": "`disc` is not `by_class`, `disk` or `os`",
                    "hint": "did you mean `disk`?",
                }
            ],
            "warnings": [],
            "digest": None,
        },
    )


def test_check_of_a_file_that_is_not_there_is_wrong_use(tmp_path: Path) -> None:
    assert run("check", tmp_path / "gone.yaml").exit_code == 2


@CORE
def test_check_of_a_good_file_tells_warnings_and_the_digest(tmp_path: Path) -> None:
    path = write(tmp_path, EXAMPLE)
    result = run("check", path)
    assert (result.exit_code, result.output.splitlines()[-1]) == (0, f"{path} can be used: 1 warning.")
    found = json.loads(run("check", path, "--json").output)
    assert (found["ok"], len(found["digest"]), [warning["key"] for warning in found["warnings"]]) == (
        True,
        64,
        ["servers.notes.pins"],
    )


@CORE
@pytest.mark.parametrize(
    ("reference", "said", "hint"),
    [
        ("env:NOT_SET_HERE", "the variable `NOT_SET_HERE` is not set here, or is empty", "set it"),
        ("env:EMPTY", "the variable `EMPTY` is not set here, or is empty", "set it"),
        ("file:gone.txt", "the file `gone.txt` cannot be read here, or is empty", "write it"),
        ("env:SET", None, None),
        ("file:jwks.json", None, None),
    ],
)
def test_check_warns_of_a_client_secret_that_is_not_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str, said: str | None, hint: str | None
) -> None:
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("SET", "hunter2")
    provider = (
        f"identity: {{providers: {{s.so: {{issuer: https://a.test, client_id: a, client_secret: {reference}}}}}}}\n"
    )
    result = run("check", write(tmp_path, with_sections(identity=provider)), "--json")
    told = [(w["line"], w["column"], w["message"], w["hint"]) for w in json.loads(result.output)["warnings"]][1:]
    place = (4, provider.index(reference) + 1)
    wanted = f"{said}: without it nobody can sign in at `s.so`", f"{hint} where the gateway runs"
    assert (result.exit_code, told) == (0, [] if said is None else [(*place, *wanted)])


def test_the_module_is_the_command(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-m", "ostiary", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert (ran.returncode, "Usage: ostiary" in ran.stdout) == (0, True), ran.stderr


@CORE
def test_check_reports_what_only_the_core_can_know(tmp_path: Path) -> None:
    rule = "policy:\n  - name: odd\n    deny:\n      or:\n        - argument/a: {matches: '\\p{NoSuchClass}'}\n"
    found = json.loads(run("check", write(tmp_path, with_sections(policy=rule)), "--json").output)
    assert [(problem["file"], problem["line"]) for problem in found["problems"]] == [("ostiary.yaml", 8)]


def test_init_writes_a_file_that_passes_and_never_overwrites(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "house"
    assert run("init", folder).exit_code == 0
    written = (folder / "ostiary.yaml").read_bytes()
    assert [warning.key for warning in load(folder / "ostiary.yaml").warnings] == ["servers.notes.pins"]
    again = run("init", folder)
    assert (again.exit_code, "nothing was written" in again.output) == (1, True)
    assert (folder / "ostiary.yaml").read_bytes() == written


def test_what_init_leaves_commented_out_can_be_used_too(tmp_path: Path) -> None:
    run("init", tmp_path)
    written = (tmp_path / "ostiary.yaml").read_text(encoding="utf-8")
    commented = re.sub(r"^# (?=identity:| )", "", written, flags=re.MULTILINE)
    assert commented.count("\n") == written.count("\n")
    config = load(write(tmp_path, commented))
    assert (list(config.providers), list(config.issuers)) == (["sso"], ["corp"])


def test_init_does_not_write_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "ostiary.yaml").symlink_to(tmp_path / "elsewhere")
    assert run("init", tmp_path).exit_code == 1
    assert not (tmp_path / "elsewhere").exists()


def test_init_without_a_folder_writes_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(run("init", "--json").output) == {"written": "ostiary.yaml"}


def data_of(text: str) -> Any:
    """Return a document as a JSON parser would give it."""
    node = read_bytes(text.encode(), "f.yaml", [])
    assert node is not None
    return json.loads(json.dumps(to_data(node)))


def test_the_schema_is_one_and_takes_the_example(tmp_path: Path) -> None:
    run("init", tmp_path)
    printed = json.loads(run("schema").output)
    assert printed == document_schema()
    jsonschema.Draft202012Validator.check_schema(printed)
    validator = jsonschema.Draft202012Validator(printed)
    for text in (EXAMPLE, SIGN_IN, with_sections(), (tmp_path / "ostiary.yaml").read_text(encoding="utf-8")):
        assert [error.message for error in validator.iter_errors(data_of(text))] == []


SIGN_IN = with_sections(
    identity="identity: {providers: {sso: {issuer: https://sso.test, client_id: gw, client_secret: env:SECRET}}, "
    "issuers: {corp: {issuer: https://a.test, jwks: {url: https://a.test/k}, algorithms: [RS256], type: human}}}\n",
    oauth="oauth: {dynamic_registration: off, default_ceiling: [read], access_token_ttl: 5m}\n",
    agents="agents: {bot: {owner: alice, clients: {local: [ide]}, credentials: [{private_key_jwt: {jwks: {file: k}}}, "
    "{federated: {preset: github-actions, subject: s}}]}}\n",
    servers="servers: {notes: {url: http://h/mcp, owner: alice, pins: off, identity: {credential: store:NOTES}}}\n",
)


@pytest.mark.parametrize(
    "change",
    [
        ("client_secret: env:SECRET", "client_secret: hunter2"),
        ("issuer: https://sso.test, ", ""),
        ("jwks: {url: https://a.test/k}", "jwks: {url: https://a.test/k, file: k}"),
        ("jwks: {url: https://a.test/k}", "jwks: {}"),
        ("dynamic_registration: off", "dynamic_registration: limited"),
        ("default_ceiling: [read]", "default_ceiling: []"),
        ("{private_key_jwt: {jwks: {file: k}}}", "{}"),
        ("preset: github-actions", "preset: gitlab"),
        ("subject: s}", "subject: 'repo:*'}"),
        ("credential: store:NOTES", "credential: hunter2"),
        ("identity: {credential: store:NOTES}", "identity: credential"),
        ("identity: {credential: store:NOTES}", "identity: {header: Authorization}"),
    ],
)
def test_the_schema_sees_what_is_wrong_with_sign_in(change: tuple[str, str]) -> None:
    text = SIGN_IN.replace(*change)
    assert text != SIGN_IN
    assert list(jsonschema.Draft202012Validator(document_schema()).iter_errors(data_of(text)))


@pytest.mark.parametrize(
    "text",
    [
        EXAMPLE.replace("admin:", "adminn:"),
        EXAMPLE.replace("pins: off", "pins: required"),
        EXAMPLE.replace("class: read}, read_file", "class: write}, read_file"),
        EXAMPLE.replace("algorithms: [RS256]", "algorithms: [none]"),
        EXAMPLE.replace("release-bot:", "release/bot:"),
        EXAMPLE.replace("groups: {has: dev}", "group: {has: dev}"),
        EXAMPLE.replace("{groups: {has: dev}}", "{groups: {has: dev}, user: a}"),
        EXAMPLE.replace("name: no-etc, ", ""),
    ],
)
def test_the_schema_refuses_what_an_editor_can_see(text: str) -> None:
    validator = jsonschema.Draft202012Validator(document_schema())
    assert text != EXAMPLE
    assert list(validator.iter_errors(data_of(text)))


def test_every_key_and_criterion_is_described_in_the_schema() -> None:
    found = document_schema()
    assert set(found["properties"]) == set(Document.model_fields)
    criteria = found["$defs"]["Criterion"]
    assert {*criteria["properties"], *(name.strip("^").split("/")[0] for name in criteria["patternProperties"])} == set(
        CRITERIA
    )
    sections = {name: section for name, section in found["$defs"].items() if name.endswith("Section")}
    bare = [
        f"{name}.{key}"
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if "description" not in value and "description" not in sections.get(value.get("$ref", "").split("/")[-1], {})
    ]
    assert bare == []


def test_no_key_is_both_served_and_of_a_later_version() -> None:
    assert not {path[0] for path in NOT_IN_THIS_VERSION if len(path) == 1} & set(Document.model_fields)
