"""Pages that name things are held to the code that defines them."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.kit.guides import blocks
from typer.core import TyperArgument, TyperGroup

from ostiary._core import Journal
from ostiary.cli import app
from ostiary.cli.schema import document_schema
from ostiary.config import load
from ostiary.oauth import web

ROOT = Path(__file__).resolve().parents[2]
Json = dict[str, Any]
ROW = re.compile(r"^\| `([^`]+)` \|", re.MULTILINE)


def rows(page: str, heading: str) -> list[str]:
    """The first cells, in code type, of the table under `heading` in a page."""
    section = re.split(rf"^## {re.escape(heading)}$", (ROOT / page).read_text(), flags=re.MULTILINE)[1]
    return ROW.findall(re.split(r"^## ", section, flags=re.MULTILINE)[0])


def requirement_names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0] for requirement in requirements}


def test_every_rust_dependency_has_its_reason() -> None:
    used: set[str] = set()
    for manifest in (ROOT / "crates").glob("*/Cargo.toml"):
        data = tomllib.loads(manifest.read_text())
        used |= set(data.get("dependencies", {})) | set(data.get("dev-dependencies", {}))
    assert rows("docs/design/dependencies.md", "Rust") == sorted(n for n in used if not n.startswith("ostiary-"))


def test_every_rust_dependency_is_used_by_the_crate_that_has_it() -> None:
    unused = []
    for manifest in (ROOT / "crates").glob("*/Cargo.toml"):
        data = tomllib.loads(manifest.read_text())
        folders = {"dependencies": ("src",), "dev-dependencies": ("src", "tests")}
        for table, places in folders.items():
            files = [file for place in places for file in (manifest.parent / place).rglob("*.rs")]
            code = "\n".join(file.read_text() for file in files)
            unused += [n for n in data.get(table, {}) if not re.search(rf"\b{n.replace('-', '_')}(::|;| as )", code)]
    assert unused == []


def test_every_python_dependency_has_its_reason() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = data["project"]
    used = requirement_names(project["dependencies"]) | requirement_names(project["optional-dependencies"]["demo"])
    assert rows("docs/design/dependencies.md", "Python") == sorted(used)


def test_every_tool_has_its_reason() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    used = set().union(*(requirement_names(group) for group in data["dependency-groups"].values()))
    assert rows("docs/design/dependencies.md", "Tools") == sorted(used)


def test_the_reasons_page_lists_exactly_the_reasons_of_the_engine_with_their_answers() -> None:
    table = (ROOT / "crates" / "core" / "src" / "deny.rs").read_text().split("pub const ALL", 1)[1].split("];", 1)[0]
    coded = []
    for word, kind, arguments in re.findall(r'"(\w+)",\s*(plain|rpc)\(([^)]*)\)', table):
        status, _, code = arguments.partition(", ")
        coded.append((word, status, code if kind == "rpc" else "-"))
    page = (ROOT / "docs" / "reference" / "reasons.md").read_text()
    told = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (-?\d*) \|", page, re.MULTILINE)
    assert told == coded


def test_every_word_of_the_authorization_server_is_a_reason() -> None:
    """The data plane records a refusal under the word that the client is told, if it is one of its reasons."""
    page = (ROOT / "docs" / "reference" / "reasons.md").read_text()
    reasons = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    source = "".join(path.read_text() for path in sorted((ROOT / "src" / "ostiary" / "oauth").glob("*.py")))
    said = {word for words in re.findall(r'OAuthError\(\s*"(\w+)"|\berror="(\w+)"', source) for word in words if word}
    assert len(said) > 10
    assert {web.REASONS.get(word, word) for word in said - web.ASKS_FOR_A_PAGE} <= reasons


def test_the_records_page_lists_exactly_the_fields_of_a_record() -> None:
    source = (ROOT / "crates" / "core" / "src" / "audit" / "record.rs").read_text()
    draft = source.split("pub fn draft", 1)[1].split("line.finish()", 1)[0]
    # `line.text("act", …)` names its field; `line.hash()`, `line.rules(…)` are named after theirs.
    written = [name or method for method, name in re.findall(r'line\.(\w+)\((?:"(\w+)")?', draft)]
    assert rows("docs/reference/records.md", "Fields") == written


def resolved(node: Json, definitions: Json) -> Json:
    """A schema without its indirections: references followed, and the one alternative to null taken."""
    for option in node.get("anyOf", []):
        if option.get("type") != "null":
            own = {key: value for key, value in node.items() if key in ("default", "description")}
            return {**resolved(option, definitions), **own}
    if "$ref" in node:
        target = resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
        return {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    return node


def config_rows(schema: Json) -> list[str]:
    """One line for each value that a configuration can hold; `NAME` stands for a key of one's own, `[]` for an item."""
    lines: list[str] = []

    def walk(key: str, node: Json, *, required: bool) -> None:
        node = resolved(node, schema["$defs"])
        children = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        named = [resolved(child, schema["$defs"]) for child in children if isinstance(child, dict)]
        items = resolved(node.get("items", {}), schema["$defs"])
        sections = [resolved(option, schema["$defs"]) for option in node.get("oneOf", ())]
        if key != "policy" and "properties" in node:
            for name, child in node["properties"].items():
                walk(f"{key}.{name}".lstrip("."), child, required=name in node.get("required", ()))
        elif named and "properties" in named[0]:
            walk(f"{key}.NAME", named[0], required=False)
        elif "properties" in items:
            walk(f"{key}[]", items, required=False)
        else:
            default = json.dumps(node["default"]) if node.get("default") not in (None, [], {}) else ""
            told = "required" if required else f"`{default}`" if default else ""
            lines.append(f"| `{key}` | {told} | {node.get('description', '')} |")
        for section in sections:  # a word, or a mapping
            if "properties" in section:
                walk(key, section, required=False)

    walk("", schema, required=True)
    return lines


def test_the_config_page_lists_exactly_the_keys_of_the_schema_in_its_words() -> None:
    page = (ROOT / "docs" / "reference" / "config.md").read_text()
    assert re.findall(r"^\| `.*$", page, re.MULTILINE) == config_rows(document_schema())


def program(command: Any, name: str) -> dict[str, set[str]]:
    """Every command that does something, with its arguments and the long names of its options."""
    if isinstance(command, TyperGroup):
        found: dict[str, set[str]] = {}
        for word, child in command.commands.items():
            found |= program(child, f"{name} {word}")
        return found
    names = {
        (parameter.metavar or parameter.name or "").strip("[]").upper()
        if isinstance(parameter, TyperArgument)
        else max(parameter.opts, key=len)
        for parameter in command.params
    }
    return {name: names - {"--help"}}


def test_the_commands_page_lists_every_command_with_its_options() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    told = {
        command: set(re.findall(r"`([^`]+)`", options))
        for command, options in re.findall(r"^\| `(ostiary [a-z -]+)` \|([^|]*)\|", page, re.MULTILINE)
    }
    assert told == program(typer.main.get_command(app), "ostiary")


GUIDES = tuple(str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs" / "guides").glob("*.md")))
CONFIGURATIONS = [
    pytest.param(text, id=f"{page}-{number}")
    for page in ("README.md", *GUIDES, "docs/reference/config.md")
    for number, text in enumerate(blocks(page, "yaml"), start=1)
]


@pytest.mark.parametrize("text", CONFIGURATIONS)
def test_every_configuration_in_the_pages_can_be_used(text: str, tmp_path: Path) -> None:
    (tmp_path / "ostiary.yaml").write_text(text)
    load(tmp_path / "ostiary.yaml", partial=True)


def test_the_record_can_be_verified_with_the_lines_on_the_page(tmp_path: Path) -> None:
    lines, folder = blocks("docs/reference/records.md", "python")[0], tmp_path / "audit"
    journal = Journal(str(folder), "http://127.0.0.1:8811", None)
    for number in range(3):
        journal.append(json.dumps({"kind": "admin", "event": f"number {number}"}))
    journal.close()

    def verify() -> int:
        return subprocess.run([sys.executable, "-c", lines, folder], capture_output=True, check=False).returncode

    assert verify() == 0
    segment = next(folder.glob("*.jsonl"))
    segment.write_text(segment.read_text().replace("number 1", "number 9"))
    assert verify() == 1


PAGES = sorted(p.relative_to(ROOT) for p in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", (ROOT / page).read_text())
    assert [target for target in targets if not (ROOT / page).parent.joinpath(target).exists()] == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
